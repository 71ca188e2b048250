use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use clipn_base::progress::{NoProgress, Progress};
use clipn_checkpoint::{CheckpointError, Dtype, FloatType, Tensor, TensorEntry, to_transformers};
use clipn_image::Preprocessing;

use crate::config::{ModelConfig, ParameterCounts, TensorSpec, is_no_side};
use crate::convert::output::OutputPath;
use crate::convert::quantize::quantized;
use crate::convert::write::{Writer, written_files};
use crate::convert::{ConversionTarget, ConvertError};
use crate::pretrained::PretrainedWeights;
use crate::weights::{LogitScale, ModelWeights, TrainingVocabulary, WeightsMetadata};

/// Names of tensors that other programs store but that are not parameters: sizes, which the config
/// contains, and the mask of causal attention.
const NON_PARAMETERS: [&str; 4] = [
    "attn_mask",
    "input_resolution",
    "context_length",
    "vocab_size",
];

/// Conversion of weights: output format and settings.
///
/// ```no_run
/// use clipn_model::{PretrainedWeights, WeightsConversion, ConversionTarget};
///
/// let weights = PretrainedWeights::open("epoch_10.pt")?;
/// let config = clipn_model::ModelConfig::embedded("ViT-B-16")?;
/// let conversion = WeightsConversion {
///     replace: true,
///     ..WeightsConversion::new(ConversionTarget::Clipn)
/// };
/// let summary = conversion.run(&weights, Some(config), "clipn.safetensors")?;
/// println!("{} tensors", summary.tensors);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WeightsConversion {
    /// Output format.
    pub to: ConversionTarget,
    /// Floating-point type of the output; `None` keeps the type of each tensor.
    pub float: Option<FloatType>,
    /// Whether a single file contains the weights of matrix products in 8-bit integers with a factor
    /// per output, for towers in [`Precision::Int8`](crate::Precision::Int8).
    pub int8: bool,
    /// Whether a single file contains only the rows of the token embeddings that belong to the
    /// training vocabulary.
    pub only_training_vocabulary: bool,
    /// Name of the embedded template set to store in a single file; `None` keeps that of the
    /// weights.
    pub templates: Option<String>,
    /// Logit scale to store in a single file; `None` keeps that of the weights.
    pub logit_scale: Option<LogitScale>,
    /// Whether existing weights at the output path are replaced.
    pub replace: bool,
}

/// Summary of a conversion.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ConversionSummary {
    /// Output format.
    pub to: ConversionTarget,
    /// Architecture.
    pub config: ModelConfig,
    /// Written files with their sizes in bytes, weights first.
    pub files: Vec<(PathBuf, u64)>,
    /// Number of tensors written.
    pub tensors: usize,
    /// Number of tensors by element type.
    pub dtypes: BTreeMap<String, usize>,
    /// Number of parameters written.
    pub parameters: ParameterCounts,
    /// Parts of the input that are not in the output.
    pub omitted: Vec<OmittedPart>,
    /// Number of words of training, if the input has them.
    pub training_words: Option<usize>,
}

/// Metadata that directories for other programs do not have; `None` without any.
fn omitted_metadata(metadata: &WeightsMetadata) -> Option<OmittedPart> {
    let WeightsMetadata {
        templates,
        logit_scale,
        training_vocabulary,
        no_scale: _,
    } = metadata;
    let entries: Vec<String> = [
        templates.as_ref().map(|name| format!("templates {name}")),
        logit_scale.map(|scale| format!("logit scale {scale}")),
        training_vocabulary
            .as_ref()
            .map(|words| format!("the {} words of training", words.len())),
    ]
    .into_iter()
    .flatten()
    .collect();
    (!entries.is_empty()).then_some(OmittedPart::Metadata { entries })
}

/// Names and tensors.
type Tensors = Vec<(String, Tensor)>;

/// Part of the input that a conversion omits.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum OmittedPart {
    /// The "no" side, which CLIP does not have.
    NoTextTower {
        /// Number of tensors.
        tensors: usize,
        /// Number of parameters.
        parameters: usize,
    },
    /// Sizes, which the config contains, and masks, which are stored as tensors.
    Settings {
        /// Names of the tensors.
        names: Vec<String>,
    },
    /// Metadata that only this project's files have.
    Metadata {
        /// What is recorded, such as `templates simple`.
        entries: Vec<String>,
    },
}

impl fmt::Display for OmittedPart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            OmittedPart::NoTextTower {
                tensors,
                parameters,
            } => {
                write!(
                    f,
                    "the \"no\" side ({tensors} tensors, {parameters} parameters), which CLIP does not have"
                )
            }
            OmittedPart::Settings { names } => {
                write!(f, "{}, which are not parameters", names.join(", "))
            }
            OmittedPart::Metadata { entries } => {
                write!(
                    f,
                    "{}, which other programs do not read",
                    entries.join(", ")
                )
            }
        }
    }
}

impl WeightsConversion {
    /// Creates a conversion to `to` that keeps all types and metadata and replaces nothing.
    pub fn new(to: ConversionTarget) -> Self {
        Self {
            to,
            float: None,
            int8: false,
            only_training_vocabulary: false,
            templates: None,
            logit_scale: None,
            replace: false,
        }
    }

    /// Writes the weights to `out`, without progress. See
    /// [`run_with_progress`](Self::run_with_progress).
    ///
    /// # Errors
    /// Same as [`run_with_progress`](Self::run_with_progress).
    pub fn run(
        &self,
        from: &PretrainedWeights,
        model: Option<ModelConfig>,
        out: impl AsRef<Path>,
    ) -> Result<ConversionSummary, ConvertError> {
        self.run_with_progress(from, model, out, &NoProgress)
    }

    /// Writes the weights to `out`. The output is written beside `out` and then renamed, so it is
    /// either complete or absent. `model` is the architecture of weights without a config. Tensors
    /// are streamed from the mapped file.
    ///
    /// # Errors
    /// See [`ConvertError`]: the weights do not fit their config or lack the requested training
    /// vocabulary, `out` is not usable or exists, a value exceeds the range of the requested type,
    /// the output format has no such tower, or `progress` is canceled.
    pub fn run_with_progress(
        &self,
        from: &PretrainedWeights,
        model: Option<ModelConfig>,
        out: impl AsRef<Path>,
        progress: &dyn Progress,
    ) -> Result<ConversionSummary, ConvertError> {
        let out = out.as_ref();
        let index_and_files = [
            &[from.checkpoint().path().to_owned()],
            from.checkpoint().shard_paths(),
        ]
        .concat();
        let output = OutputPath::check(out, self.to, self.replace, &index_and_files)?;
        let weights = from.weights(model)?;
        let config = weights.config();
        let own = from.preprocessing()?;
        let pixels = own.unwrap_or_else(|| Preprocessing::clip(config.vision.image_size));
        if self.to.is_directory() {
            self.check_tower(&weights)?;
        }
        let (mut kept_tensors, mut omitted) = self.kept_tensors(&weights)?;
        if self.to.is_directory() {
            omitted.extend(omitted_metadata(&from.metadata()));
        }
        if self.int8 && !self.to.is_directory() {
            kept_tensors = quantized(&weights, kept_tensors)?;
        }
        let lens = kept_tensors
            .iter()
            .map(|(name, tensor)| (name.as_str(), tensor.len()));
        let parameters = ParameterCounts::from_tensors(lens);
        let entries = self
            .entries(kept_tensors)
            .map_err(ConvertError::Checkpoint)?;
        let mut dtypes = BTreeMap::new();
        for entry in &entries {
            let dtype = match (entry.cast_to, entry.tensor.row_scales()) {
                (None, Some(_)) => Dtype::I8,
                _ => entry.dtype(),
            };
            *dtypes.entry(dtype.to_string()).or_insert(0) += 1;
        }
        let tensors = entries.len();
        let writer = Writer {
            config,
            pixels: &pixels,
            metadata: WeightsMetadata {
                templates: self.templates.clone(),
                logit_scale: self.logit_scale,
                training_vocabulary: None,
                no_scale: None,
            },
            out,
            progress,
        };
        match self.to {
            ConversionTarget::Clipn => {
                output.check_target()?;
                writer.file(from.checkpoint(), entries)?;
            }
            ConversionTarget::OpenClip => {
                output.write_directory(|directory| writer.hub(directory, entries))?;
            }
            to @ (ConversionTarget::Transformers
            | ConversionTarget::Transformers4
            | ConversionTarget::Transformers5) => {
                output.write_directory(|directory| writer.transformers(directory, entries, to))?;
            }
        }
        let files = written_files(out, self.to)?;
        let (to, config) = (self.to, config.clone());
        Ok(ConversionSummary {
            to,
            config,
            files,
            tensors,
            dtypes,
            parameters,
            omitted,
            training_words: weights.training_vocabulary().map(TrainingVocabulary::len),
        })
    }

    /// Checks that other programs can use the tensors of the image tower as they are.
    fn check_tower(&self, weights: &ModelWeights) -> Result<(), ConvertError> {
        let config = weights.config();
        if self.to.is_transformers() && config.vision.stages.is_some() {
            return Err(ConvertError::ResNetUnsupported {
                model: config.name.clone(),
            });
        }
        let expected = config.vision.tensors(config.embed_dim);
        let resized = expected.iter().find_map(|TensorSpec { name, shape }| {
            let stored = weights.checkpoint().get(name)?.shape();
            (stored != shape).then(|| (name.clone(), stored[0], shape[0]))
        });
        match resized {
            Some((tensor, stored, expected)) => Err(ConvertError::PositionCount {
                model: config.name.clone(),
                tensor,
                stored,
                expected,
            }),
            None => Ok(()),
        }
    }

    /// Returns the tensors to write and a description of those omitted.
    fn kept_tensors(
        &self,
        weights: &ModelWeights,
    ) -> Result<(Tensors, Vec<OmittedPart>), ConvertError> {
        let from = weights.checkpoint();
        let vocabulary_only = self.only_training_vocabulary && !self.to.is_directory();
        if vocabulary_only && weights.training_vocabulary().is_none() {
            return Err(ConvertError::NoTrainingVocabulary {
                path: from.path().to_owned(),
            });
        }
        let (mut kept_tensors, mut settings) = (Vec::new(), Vec::new());
        let (mut no_side, mut parameters) = (0, 0);
        for (name, tensor) in from.iter() {
            if NON_PARAMETERS.contains(&name.rsplit('.').next().unwrap_or(name)) {
                settings.push(name.to_owned());
            } else if self.to.is_directory() && is_no_side(name) {
                no_side += 1;
                parameters += tensor.len();
            } else {
                let tensor = weights
                    .with_token_rows(name, tensor, vocabulary_only)
                    .map_err(ConvertError::Checkpoint)?;
                kept_tensors.push((name.to_owned(), tensor));
            }
        }
        let mut omitted = Vec::new();
        if no_side > 0 {
            omitted.push(OmittedPart::NoTextTower {
                tensors: no_side,
                parameters,
            });
        }
        if !settings.is_empty() {
            omitted.push(OmittedPart::Settings { names: settings });
        }
        Ok((kept_tensors, omitted))
    }

    fn entries(&self, kept_tensors: Tensors) -> Result<Vec<TensorEntry>, CheckpointError> {
        let mut entries = Vec::with_capacity(kept_tensors.len());
        let mut push = |name, tensor: Tensor| {
            // Other programs do not read integers with factors.
            let is_scaled = self.to.is_directory() && tensor.row_scales().is_some();
            entries.push(TensorEntry {
                name,
                tensor,
                cast_to: self.float.or(is_scaled.then_some(FloatType::F32)),
            });
        };
        for (name, tensor) in kept_tensors {
            // A logit scale may be stored as `[1]`, which only some versions of open_clip read.
            let scalar =
                (self.to.is_directory() && name == "logit_scale").then(|| tensor.reshaped(&[]));
            let tensor = scalar.flatten().unwrap_or(tensor);
            match self.to {
                ConversionTarget::Clipn | ConversionTarget::OpenClip => push(name, tensor),
                ConversionTarget::Transformers
                | ConversionTarget::Transformers4
                | ConversionTarget::Transformers5 => {
                    to_transformers(&name, &tensor)?
                        .into_iter()
                        .for_each(|(name, tensor)| push(name, tensor));
                }
            }
        }
        Ok(entries)
    }
}
