use std::fmt;
use std::str::FromStr;

use crate::pretrained::image_processor::{PREPROCESSOR_FILE, PROCESSOR_FILE};
use crate::pretrained::{hub, transformers};
use crate::unknown_name::UnknownName;

/// Output format of a conversion.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ConversionTarget {
    /// A safetensors file with all three towers under open_clip's names, and with config and
    /// preprocessing in its metadata.
    Clipn,
    /// An open_clip hub directory with the CLIP part of the model: image tower, "yes" tower and
    /// logit scale.
    OpenClip,
    /// A `CLIPModel` directory for Hugging Face `transformers`, with the same part. The preprocessing
    /// is written in the form of version 4 and in that of version 5.
    Transformers,
    /// Same as [`Transformers`](Self::Transformers) with the preprocessing in the form of version 4
    /// only, `preprocessor_config.json`, which version 5 reads too. `CLIPProcessor` of 4.40 to 4.55
    /// fails if the other form is there.
    Transformers4,
    /// Same as [`Transformers`](Self::Transformers) with the preprocessing in the form of version 5
    /// only, `processor_config.json`, as `CLIPProcessor.save_pretrained` writes it.
    Transformers5,
}

impl ConversionTarget {
    /// All formats.
    pub const ALL: [ConversionTarget; 5] = [
        ConversionTarget::Clipn,
        ConversionTarget::OpenClip,
        ConversionTarget::Transformers,
        ConversionTarget::Transformers4,
        ConversionTarget::Transformers5,
    ];

    /// Returns whether the output is a directory rather than a file.
    pub fn is_directory(self) -> bool {
        self != ConversionTarget::Clipn
    }

    /// Returns whether the output is for Hugging Face `transformers`.
    pub fn is_transformers(self) -> bool {
        matches!(
            self,
            Self::Transformers | Self::Transformers4 | Self::Transformers5
        )
    }

    /// Returns the name that [`FromStr`] parses, such as `open-clip`.
    pub fn as_str(self) -> &'static str {
        match self {
            ConversionTarget::Clipn => "clipn",
            ConversionTarget::OpenClip => "open-clip",
            ConversionTarget::Transformers => "transformers",
            ConversionTarget::Transformers4 => "transformers-4",
            ConversionTarget::Transformers5 => "transformers-5",
        }
    }

    /// Returns a noun phrase for messages, such as `an open_clip hub directory`.
    pub fn description(self) -> &'static str {
        match self {
            ConversionTarget::Clipn => "a safetensors file with its config",
            ConversionTarget::OpenClip => "an open_clip hub directory",
            ConversionTarget::Transformers => "a transformers CLIPModel directory",
            ConversionTarget::Transformers4 => "a CLIPModel directory of transformers 4",
            ConversionTarget::Transformers5 => "a CLIPModel directory of transformers 5",
        }
    }

    /// Returns the names of the files in the directory, weights first; empty for a single file.
    pub(super) fn files(self) -> &'static [&'static str] {
        match self {
            ConversionTarget::Clipn => &[],
            ConversionTarget::OpenClip => &[hub::WEIGHTS_FILE, hub::CONFIG_FILE],
            ConversionTarget::Transformers => &[
                transformers::WEIGHTS_FILE,
                transformers::CONFIG_FILE,
                PREPROCESSOR_FILE,
                PROCESSOR_FILE,
            ],
            ConversionTarget::Transformers4 => &[
                transformers::WEIGHTS_FILE,
                transformers::CONFIG_FILE,
                PREPROCESSOR_FILE,
            ],
            ConversionTarget::Transformers5 => &[
                transformers::WEIGHTS_FILE,
                transformers::CONFIG_FILE,
                PROCESSOR_FILE,
            ],
        }
    }
}

impl fmt::Display for ConversionTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for ConversionTarget {
    type Err = UnknownName;

    fn from_str(name: &str) -> Result<Self, UnknownName> {
        Self::ALL
            .into_iter()
            .find(|format| format.as_str() == name)
            .ok_or_else(|| {
                let known = "one of clipn, open-clip, transformers, transformers-4, transformers-5";
                UnknownName::new("format", name, known)
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_format_has_a_name() {
        for format in ConversionTarget::ALL {
            assert_eq!(format.to_string().parse(), Ok(format));
        }
        assert_eq!(
            "onnx".parse::<ConversionTarget>().unwrap_err().to_string(),
            "unknown format `onnx`; expected one of clipn, open-clip, transformers, \
             transformers-4, transformers-5"
        );
    }
}
