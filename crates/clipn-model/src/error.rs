use std::fmt;
use std::path::PathBuf;

use clipn_checkpoint::CheckpointError;
use thiserror::Error;

use crate::precision::Precision;

/// Error of a model's config, weights or inputs.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ModelError {
    /// A name that is neither a known architecture nor a file.
    #[error("unknown model `{name}`, and no file has that name; known models: {known}")]
    UnknownModel {
        /// The given name.
        name: String,
        /// Names of the embedded architectures, separated by commas.
        known: String,
    },
    /// The demonstration model is named, but this build does not embed it.
    #[error(
        "the model `{name}` is not in this build, which was compiled without the feature `mini`"
    )]
    MiniNotEmbedded {
        /// Name of the demonstration model.
        name: &'static str,
    },
    /// A config file cannot be read.
    #[error("cannot read model config {}", path.display())]
    ReadConfig {
        /// The config file.
        path: PathBuf,
        /// Error of the operating system.
        source: std::io::Error,
    },
    /// A tower that computes no features of patches.
    #[error("the image tower computes no local features")]
    NoLocalFeatures,
    /// A config is malformed or has an invalid value.
    #[error("invalid model config {origin}: {reason}")]
    BadConfig {
        /// The file or the name of the embedded architecture.
        origin: String,
        /// The key and the invalid value.
        reason: String,
    },
    /// A config requires a computation that this version does not implement.
    #[error(
        "unsupported {what} in model config {origin}; expected a plain CLIP with a ViT or ResNet"
    )]
    UnsupportedConfig {
        /// The file or the name of the embedded architecture.
        origin: String,
        /// The key with its value.
        what: String,
    },
    /// The weights need a preprocessing of images that clipn does not compute.
    #[error(
        "unsupported preprocessing {what} (config {origin}); expected that of CLIP: the short side \
         resized with bicubic interpolation, the center cropped, values scaled and normalized"
    )]
    UnsupportedPreprocessing {
        /// The file, or the location of the config in a file of weights.
        origin: String,
        /// The key with its value.
        what: String,
    },
    /// Weights without a config, and no architecture given.
    #[error("unknown architecture of the weights {}: {reason}", path.display())]
    NoConfig {
        /// The weights.
        path: PathBuf,
        /// Why no config was found.
        reason: NoConfigReason,
    },
    /// The given architecture differs from the config of the weights.
    #[error(
        "model `{model}` differs from the config of the weights {}: {}",
        path.display(), differences.join(", ")
    )]
    ConfigMismatch {
        /// The weights.
        path: PathBuf,
        /// The given architecture.
        model: String,
        /// The differing keys, each with the value of the weights and the given one.
        differences: Vec<String>,
    },
    /// The weights cannot be read.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The weights do not fit the config.
    #[error(
        "the weights {} do not fit the model `{model}`: {details}",
        path.display()
    )]
    WeightsMismatch {
        /// The weights file.
        path: PathBuf,
        /// The model's name.
        model: String,
        /// Counts and first names of missing, unexpected and wrongly shaped tensors.
        details: String,
    },
    /// The parameters of a ResNet are requested for the config of a ViT.
    #[error("expected a ResNet as the image tower of the model `{model}`, got a ViT")]
    NotAResNet {
        /// The model's name.
        model: String,
    },
    /// An image tower is requested in a precision that it does not have.
    #[error(
        "unsupported precision {precision} for the image tower of the model `{model}`: a ResNet \
         is supported only in f32"
    )]
    UnsupportedPrecision {
        /// The model's name.
        model: String,
        /// The requested precision.
        precision: Precision,
    },
    /// The device of the towers does not compute in the precision of the weights.
    #[error("{device} does not compute in {precision}")]
    PrecisionOnDevice {
        /// Name of the device.
        device: String,
        /// The precision of the weights.
        precision: Precision,
    },
    /// Training would update an image tower that can only be frozen.
    #[error(
        "cannot train the image tower of the model `{model}`: a ResNet is supported only frozen"
    )]
    UntrainableResNet {
        /// The model's name.
        model: String,
    },
    /// The number of "no" prompts in the weights differs from the requested one.
    #[error("expected {expected} \"no\" prompts in the weights {}, got {found}", path.display())]
    NoPromptCount {
        /// The weights file.
        path: PathBuf,
        /// The requested number.
        expected: usize,
        /// The number in the weights.
        found: usize,
    },
    /// An array of the wrong length.
    #[error("expected {expected} values for {what}, got {found}")]
    InputLength {
        /// Content of the array.
        what: &'static str,
        /// The right length.
        expected: usize,
        /// The length of the array.
        found: usize,
    },
    /// Pixels that are not a whole number of images, or images without pixels.
    #[error("{values} pixel values are not a whole number of 3×{height}×{width} images")]
    PixelCount {
        /// Number of values.
        values: usize,
        /// Height of an image.
        height: usize,
        /// Width of an image.
        width: usize,
    },
    /// Images smaller than the tower can encode.
    #[error("expected images of at least {min}×{min} pixels, got {height}×{width}")]
    ImageTooSmall {
        /// Minimum height and width in pixels: a ViT's patch, or 31 for a ResNet.
        min: usize,
        /// Height of the images.
        height: usize,
        /// Width of the images.
        width: usize,
    },
    /// Texts longer than the context of the model.
    #[error("expected texts of at most {max} tokens (the context length), got {found}")]
    TextTooLong {
        /// The context length.
        max: usize,
        /// Number of tokens per text.
        found: usize,
    },
    /// Another number of selected prompts than texts.
    #[error("expected one prompt per text ({texts} texts), got {prompts}")]
    PromptCount {
        /// Number of texts.
        texts: usize,
        /// Number of prompts.
        prompts: usize,
    },
    /// A tower that another crate implements failed, for example because its device has no memory.
    #[error("the tower failed")]
    Tower {
        /// Error of the implementation.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A token id outside the vocabulary.
    #[error("token id {id} in text {row} is outside the vocabulary of {vocab_size} ids")]
    TokenOutOfRange {
        /// The id.
        id: u32,
        /// The row in the batch.
        row: usize,
        /// Number of rows of the token embedding.
        vocab_size: usize,
    },
    /// A "no" prompt that the model does not have.
    #[error("\"no\" prompt index {index} is out of range for {count} prompts")]
    PromptOutOfRange {
        /// The given index, from 0.
        index: usize,
        /// Number of "no" prompts.
        count: usize,
    },
}

impl ModelError {
    /// Returns what a Rust program can do about the error, if there is something to advise.
    pub fn hint(&self) -> Option<&'static str> {
        Some(match self {
            Self::UnknownModel { .. } => {
                "use a name of ModelConfig::embedded_names, or the path of a config"
            }
            Self::MiniNotEmbedded { .. } => "enable the feature `mini`",
            Self::NoConfig { reason, .. } => match reason {
                NoConfigReason::Bundle => "open the file as a classifier bundle",
                NoConfigReason::ConfigInDirectory { .. } => {
                    "open the directory instead of the file"
                }
                NoConfigReason::Absent => {
                    "pass the architecture; InferredArchitecture lists those that fit"
                }
            },
            Self::ConfigMismatch { .. } => "pass no architecture, or that of the weights",
            Self::UntrainableResNet { .. } => "keep the image tower frozen, or train a ViT",
            Self::TokenOutOfRange { .. } => "use the tokenizer of the model",
            _ => return None,
        })
    }
}

/// Reason why weights have no config.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum NoConfigReason {
    /// The file is a classifier bundle, not weights.
    Bundle,
    /// A config is beside the file. It belongs to the directory, not to every file in it.
    ConfigInDirectory {
        /// File name of the config.
        config: &'static str,
    },
    /// There is no config in or beside the weights.
    Absent,
}

impl fmt::Display for NoConfigReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bundle => f.write_str("the file is a bundle"),
            Self::ConfigInDirectory { config } => {
                write!(f, "the config is in {config} beside the file")
            }
            Self::Absent => f.write_str("no config in or beside the weights"),
        }
    }
}

/// Checks the length of an input array; `what` names it in the error. For implementations of the
/// tower traits.
///
/// # Errors
/// [`ModelError::InputLength`] if the lengths differ.
pub fn check_length(what: &'static str, found: usize, expected: usize) -> Result<(), ModelError> {
    if found == expected {
        Ok(())
    } else {
        Err(ModelError::InputLength {
            what,
            expected,
            found,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_give_the_expected_and_the_actual_value() {
        let no_config = ModelError::NoConfig {
            path: PathBuf::from("a.pt"),
            reason: NoConfigReason::ConfigInDirectory {
                config: "open_clip_config.json",
            },
        };
        let too_small = ModelError::ImageTooSmall {
            min: 31,
            height: 30,
            width: 64,
        };
        for (error, message) in [
            (
                no_config,
                "unknown architecture of the weights a.pt: \
                 the config is in open_clip_config.json beside the file",
            ),
            (
                too_small,
                "expected images of at least 31×31 pixels, got 30×64",
            ),
            (
                check_length("the gradient", 3, 4).unwrap_err(),
                "expected 4 values for the gradient, got 3",
            ),
        ] {
            assert_eq!(error.to_string(), message);
        }
    }
}
