//! Bundle file format: a safetensors file with these tensors, and the rest as JSON under the
//! metadata key `bundle`.
//!
//! - `classifier.yes` `[K, D]`, `classifier.no` `[K, D]` unless the model has not learned "no",
//!   `classifier.scale` `[1]`, and `classifier.no_scale` `[1]` unless it is 1;
//! - with negatives, `negatives.rows` `[M, D]` in f16 and `negatives.group_ends` `[G]`;
//! - with fitted scores, their state `fit.*` in f64, and the features that are compared with, `fit.bank`
//!   `[B, D]` in f16, with `fit.bank_energies` `[B]`;
//! - with a calibration, `calibration.scores` `[N]` and `calibration.threshold` `[1]`;
//! - with an image tower, its `visual.*`.
//!
//! Numbers that affect decisions are tensors, which keep every bit.

use std::collections::BTreeMap;
use std::path::Path;

use clipn_checkpoint::{Buffer, Checkpoint, Tensor, WeightsFormat, write_safetensors};
use clipn_image::Preprocessing;
use clipn_model::{BUNDLE_KEY, Precision, Real};
use clipn_ood::calibration::{Calibration, CalibrationMetadata};
use clipn_ood::fitted::FitSummary;
use clipn_ood::scores::is_built_in;
use clipn_text::prompts::{PromptVariant, TemplateSet};
use serde::{Deserialize, Serialize};

use crate::bundle::{Bundle, BundleError, ModelIdentity, TowerSource};
use crate::classifier::{ClassPrompts, Classifier};
use crate::fitting::{read_fit, write_fit};
use crate::negatives::{Negatives, NegativesMetadata};

/// Version of bundles with "no" rows.
const VERSION: u64 = 1;
/// Version of bundles without "no" rows or with negatives, which earlier versions of clipn cannot read.
const VERSION_WITHOUT_NO: u64 = 2;
/// Version of bundles whose classes have sentences of their own, which earlier versions of clipn would
/// ignore.
const VERSION_WITH_SENTENCES: u64 = 3;
/// Version of bundles in another precision than f32, which earlier versions of clipn would ignore.
const VERSION_WITH_PRECISION: u64 = 4;
/// Version of bundles with scores that were fitted to images, which earlier versions of clipn do not know.
const VERSION_WITH_FIT: u64 = 5;
/// Version of bundles whose "no" logits have a factor of their own, which earlier versions of clipn would
/// ignore.
const VERSION_WITH_NO_SCALE: u64 = 6;
/// Latest version.
const LATEST_VERSION: u64 = VERSION_WITH_NO_SCALE;

const YES: &str = "classifier.yes";
const NO: &str = "classifier.no";
const SCALE: &str = "classifier.scale";
const NO_SCALE: &str = "classifier.no_scale";
/// Prefix of the tensors of negatives.
const NEGATIVES: &str = "negatives";
/// Prefix of the tensors of fitted scores.
const FIT: &str = "fit";
const SCORES: &str = "calibration.scores";
const THRESHOLD: &str = "calibration.threshold";

/// Part of the description that is read first, to check the version.
#[derive(Deserialize)]
struct Versioned {
    version: u64,
}

/// Description stored as JSON.
#[derive(Serialize, Deserialize)]
struct Description {
    version: u64,
    clipn: String,
    class_names: Vec<String>,
    templates: TemplateSet,
    #[serde(rename = "wording")]
    prompt_variant: PromptVariant,
    model: ModelIdentity,
    preprocessing: Preprocessing,
    calibration: Option<CalibrationMetadata>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    negatives: Option<NegativesMetadata>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    fit: Option<FitSummary>,
}

impl Bundle {
    /// Whether `checkpoint` is a bundle: a safetensors file with a bundle description.
    pub fn is_bundle(checkpoint: &Checkpoint) -> bool {
        checkpoint.format() == WeightsFormat::Safetensors
            && checkpoint.metadata().contains_key(BUNDLE_KEY)
    }

    /// Reads a bundle. An image tower in it stays in the memory-mapped file until it is used.
    ///
    /// # Errors
    /// [`BundleError::NotFound`], [`BundleError::NotABundle`] for other files and for directories,
    /// [`BundleError::UnsupportedVersion`], [`BundleError::Corrupt`], and other variants for I/O errors
    /// and invalid parts.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, BundleError> {
        let path = path.as_ref();
        // `Checkpoint::open` accepts a directory of weights, but a bundle is one file.
        if path.is_dir() {
            return Err(BundleError::NotABundle {
                path: path.to_owned(),
                found: Some("a directory".to_owned()),
            });
        }
        Self::read(Checkpoint::open(path)?)
    }

    /// Reads a bundle from memory. `path` is only used in errors.
    ///
    /// # Errors
    /// Same as [`open`](Self::open), except for I/O errors.
    pub fn from_bytes(path: impl AsRef<Path>, bytes: Vec<u8>) -> Result<Self, BundleError> {
        Self::read(Checkpoint::from_bytes(path.as_ref(), bytes)?)
    }

    fn read(checkpoint: Checkpoint) -> Result<Self, BundleError> {
        let path = checkpoint.path().to_owned();
        let corrupt = |reason: String| BundleError::Corrupt {
            path: path.clone(),
            reason,
        };
        if !Self::is_bundle(&checkpoint) {
            let found = Some(format!("weights, {}", checkpoint.format()));
            return Err(BundleError::NotABundle { path, found });
        }
        let json = checkpoint.metadata().get(BUNDLE_KEY).unwrap_or_default();
        let invalid_json =
            |error: serde_json::Error| corrupt(format!("invalid description: {error}"));
        let Versioned { version } = serde_json::from_str(json).map_err(invalid_json)?;
        if !(VERSION..=LATEST_VERSION).contains(&version) {
            return Err(BundleError::UnsupportedVersion {
                path,
                found: version,
                supported: LATEST_VERSION,
            });
        }
        let description: Description = serde_json::from_str(json).map_err(invalid_json)?;
        description
            .model
            .config
            .validate(&path.display().to_string())?;
        description
            .preprocessing
            .validate()
            .map_err(|error| corrupt(error.to_string()))?;
        let (classes, dim) = (
            description.class_names.len(),
            description.model.config.embed_dim,
        );
        let tensor = |name: &str, shape: &[usize]| match checkpoint.get(name) {
            Some(tensor) if tensor.shape() == shape => Ok(tensor),
            Some(tensor) => Err(corrupt(format!(
                "expected shape {shape:?} for {name}, got {:?}",
                tensor.shape()
            ))),
            None => Err(corrupt(format!("{name} is missing"))),
        };
        let number = |name: &str| match f64::load(tensor(name, &[1])?).first() {
            Some(value) if value.is_finite() => Ok(*value),
            _ => Err(corrupt(format!("{name} is not finite"))),
        };
        let rows = |name: &str| match f32::load(tensor(name, &[classes, dim])?) {
            values if values.iter().all(|value| value.is_finite()) => Ok(values.into_vec()),
            _ => Err(corrupt(format!("{name} contains NaN or infinite values"))),
        };
        let scale = number(SCALE)?;
        let no_scale = match version {
            VERSION_WITH_NO_SCALE => number(NO_SCALE)?,
            _ => 1.0,
        };
        if no_scale <= 0.0 {
            return Err(corrupt(format!("{NO_SCALE} is {no_scale}, not positive")));
        }
        let yes = rows(YES)?;
        let no = match version {
            // Version 1 stored a copy of the "yes" rows for a model that has not learned "no".
            VERSION => Some(rows(NO)?).filter(|no| *no != yes),
            VERSION_WITH_NO_SCALE => Some(rows(NO)?),
            _ if checkpoint.get(NO).is_some() => Some(rows(NO)?),
            _ => None,
        };
        let negatives = match description.negatives {
            Some(metadata) => Some(Negatives::from_tensors(&checkpoint, NEGATIVES, metadata)?),
            None => None,
        };
        let classifier = Classifier::new(description.class_names, yes, no)?
            .with_scale(scale)
            .with_no_scale(no_scale)
            .with_negatives(negatives)?;
        let classifier = match description.fit {
            Some(summary) => {
                let fit = read_fit(&checkpoint, FIT, summary, &classifier)
                    .map_err(|error| corrupt(error.to_string()))?;
                classifier.with_fit(fit)?
            }
            None => classifier,
        };
        let calibration = match description.calibration {
            Some(metadata) => {
                let scores: Buffer<f64> = match checkpoint.get(SCORES) {
                    Some(tensor) if tensor.shape().len() == 1 => f64::load(tensor),
                    _ => {
                        return Err(corrupt(format!(
                            "{SCORES} is missing or not one-dimensional"
                        )));
                    }
                };
                Some(Calibration::from_parts(
                    scores.into_vec(),
                    number(THRESHOLD)?,
                    metadata,
                )?)
            }
            None => None,
        };
        let config = &description.model.config;
        let has_tower = config
            .vision
            .tensors(config.embed_dim)
            .first()
            .is_some_and(|spec| checkpoint.get(&spec.name).is_some());
        Ok(Self {
            classifier,
            prompts: ClassPrompts::new(description.templates, description.prompt_variant),
            identity: description.model,
            preprocessing: description.preprocessing,
            calibration,
            tower: if has_tower {
                TowerSource::InFile(Box::new(checkpoint))
            } else {
                TowerSource::External
            },
        })
    }

    /// Lowest version of the format that can express the bundle.
    fn version(&self) -> u64 {
        if self.has_no_scale() {
            VERSION_WITH_NO_SCALE
        } else if self.classifier.fit().is_some() {
            VERSION_WITH_FIT
        } else if self.identity.precision != Precision::F32 || self.has_quantized_tower() {
            VERSION_WITH_PRECISION
        } else if self.prompts.templates().sentences().is_some() {
            VERSION_WITH_SENTENCES
        } else if self.classifier.has_no() && self.classifier.negatives().is_none() {
            VERSION
        } else {
            VERSION_WITHOUT_NO
        }
    }

    fn has_no_scale(&self) -> bool {
        self.classifier.has_no() && self.classifier.no_scale() != 1.0
    }

    fn has_quantized_tower(&self) -> bool {
        match &self.tower {
            TowerSource::External => false,
            TowerSource::InMemory(weights) => weights.is_quantized(),
            TowerSource::InFile(checkpoint) => checkpoint
                .iter()
                .any(|(_, tensor)| tensor.row_scales().is_some()),
        }
    }

    /// Checks what [`open`](Self::open) and a detector require.
    fn check_readable(&self) -> Result<(), BundleError> {
        let classifier = &self.classifier;
        let unreadable = |problem| Err(BundleError::Unreadable { problem });
        let factors = [
            ("scale", classifier.scale()),
            ("no_scale", classifier.no_scale()),
        ];
        for (what, factor) in factors {
            if !(factor.is_finite() && factor > 0.0) {
                return unreadable(format!("expected a positive {what}, got {factor}"));
            }
        }
        let (dim, expected) = (classifier.dim(), self.identity.config.embed_dim);
        if dim != expected {
            return unreadable(format!(
                "expected features of dimension {expected}, as of the model, got {dim}"
            ));
        }
        if let Some(calibration) = &self.calibration {
            // Patches depend on the image tower, which may be elsewhere.
            let inputs = classifier.score_inputs().with_local(true);
            if let Err(error) = inputs.check(calibration.score()) {
                return unreadable(format!("its calibration does not fit: {error}"));
            }
        }
        Ok(())
    }

    /// Writes the bundle atomically: to a temporary file in the same directory, which is then
    /// renamed to `path`.
    ///
    /// # Errors
    /// [`BundleError::Checkpoint`] for I/O errors, [`BundleError::CustomScore`] if the calibration is that
    /// of a score which is not built in, [`BundleError::Unreadable`] for factors of logits that are not finite and
    /// positive, for a classifier of another model, and for the calibration of a score that the classifier lacks inputs of, [`BundleError::Serialize`] if the description cannot be written as
    /// JSON. After an error, `path` is unchanged.
    pub fn write(&self, path: impl AsRef<Path>) -> Result<(), BundleError> {
        if let Some(calibration) = &self.calibration
            && !is_built_in(calibration.score())
        {
            let score = calibration.score().name();
            return Err(BundleError::CustomScore { score });
        }
        self.check_readable()?;
        let description = Description {
            version: self.version(),
            clipn: env!("CARGO_PKG_VERSION").to_owned(),
            class_names: self.classifier.class_names().to_vec(),
            templates: self.prompts.templates().clone(),
            prompt_variant: self.prompts.variant(),
            model: self.identity.clone(),
            preprocessing: self.preprocessing.clone(),
            calibration: self
                .calibration
                .as_ref()
                .map(|calibration| calibration.metadata().clone()),
            negatives: self.classifier.negatives().map(Negatives::metadata),
            fit: self.classifier.fit().map(|fit| fit.summary().clone()),
        };
        let json = serde_json::to_string(&description).map_err(|error| BundleError::Serialize {
            source: error.into(),
        })?;
        let (classifier, rows) = (
            &self.classifier,
            [self.classifier.len(), self.classifier.dim()],
        );
        let mut tensors = vec![
            (
                YES.to_owned(),
                Tensor::from_f32(&rows, classifier.yes_weights().to_vec())?,
            ),
            (
                SCALE.to_owned(),
                Tensor::from_f64(&[1], &[classifier.scale()])?,
            ),
        ];
        if let Some(no) = classifier.no_weights() {
            tensors.push((NO.to_owned(), Tensor::from_f32(&rows, no.to_vec())?));
        }
        if self.has_no_scale() {
            let value = Tensor::from_f64(&[1], &[classifier.no_scale()])?;
            tensors.push((NO_SCALE.to_owned(), value));
        }
        if let Some(negatives) = classifier.negatives() {
            tensors.extend(negatives.to_tensors(NEGATIVES)?);
        }
        if let Some(fit) = classifier.fit() {
            tensors.extend(write_fit(fit, FIT)?);
        }
        if let Some(calibration) = &self.calibration {
            let scores = calibration.scores();
            tensors.push((
                SCORES.to_owned(),
                Tensor::from_f64(&[scores.len()], scores)?,
            ));
            tensors.push((
                THRESHOLD.to_owned(),
                Tensor::from_f64(&[1], &[calibration.threshold()])?,
            ));
        }
        match &self.tower {
            TowerSource::External => {}
            TowerSource::InMemory(weights) => tensors.extend(weights.image_tensors()),
            TowerSource::InFile(checkpoint) => {
                let config = &self.identity.config;
                tensors.extend(
                    config
                        .vision
                        .tensors(config.embed_dim)
                        .into_iter()
                        .filter_map(|spec| {
                            let tensor = checkpoint.get(&spec.name)?.clone();
                            Some((spec.name, tensor))
                        }),
                );
            }
        }
        Ok(write_safetensors(
            path.as_ref(),
            tensors,
            &BTreeMap::from([(BUNDLE_KEY.to_owned(), json)]),
        )?)
    }
}
