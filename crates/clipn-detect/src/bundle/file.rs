//! The file: tensors `classifier.yes`, `classifier.no` `[K, D]` and `classifier.scale`, with a calibration
//! `calibration.scores` `[N]` and `calibration.threshold`, with an image tower its `visual.*`; the rest as JSON under
//! `bundle` of the metadata. Numbers on which decisions turn are tensors, whose every bit is kept.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::{Bundle, BundleError, ModelIdentity, Tower};
use clipn_ood::calibration::{Calibration, Facts};
use clipn_checkpoint::{Buffer, Checkpoint, FileKind, Tensor, write_safetensors};
use crate::classifier::{Classifier, Wording};
use clipn_image::Preprocessing;
use clipn_model::{Real, names};
use clipn_text::prompts::TemplateSet;

const VERSION: u64 = 1;

use clipn_model::BUNDLE_KEY;
const YES: &str = "classifier.yes";
const NO: &str = "classifier.no";
const SCALE: &str = "classifier.scale";
const SCORES: &str = "calibration.scores";
const THRESHOLD: &str = "calibration.threshold";

/// What a file must tell before anything else of it is believed.
#[derive(Deserialize)]
struct Versioned {
    version: u64,
}

/// The JSON.
#[derive(Serialize, Deserialize)]
struct Head {
    version: u64,
    clipn: String,
    class_names: Vec<String>,
    templates: TemplateSet,
    wording: Wording,
    model: ModelIdentity,
    preprocessing: Preprocessing,
    calibration: Option<Facts>,
}

impl Bundle {
    /// Whether the file is a bundle: a safetensors file that says so.
    pub fn is_bundle(checkpoint: &Checkpoint) -> bool {
        checkpoint.kind() == FileKind::Safetensors && checkpoint.metadata().contains_key(BUNDLE_KEY)
    }

    /// Reads a bundle. An image tower in it stays in the file until it is used.
    ///
    /// # Errors
    /// See [`BundleError`]: not a file or not a bundle, of a later version, or damaged.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, BundleError> {
        let path = path.as_ref();
        // A folder of weights is opened as these; a bundle is one file.
        if path.is_dir() {
            return Err(BundleError::NotABundle {
                path: path.to_owned(),
            });
        }
        Self::read(Checkpoint::open(path)?)
    }

    /// As [`open`](Self::open), of bytes in memory; `path` only names them in errors.
    ///
    /// # Errors
    /// As there, but for those of the file system.
    pub fn from_bytes(path: &Path, bytes: Vec<u8>) -> Result<Self, BundleError> {
        Self::read(Checkpoint::from_bytes(path, bytes)?)
    }

    fn read(checkpoint: Checkpoint) -> Result<Self, BundleError> {
        let path = checkpoint.path().to_owned();
        let damaged = |reason: String| BundleError::Damaged {
            path: path.clone(),
            reason,
        };
        if !Self::is_bundle(&checkpoint) {
            return Err(BundleError::NotABundle { path });
        }
        let json = checkpoint.metadata().get(BUNDLE_KEY).map_or("", String::as_str);
        let no_head =
            |error: serde_json::Error| damaged(format!("its description cannot be read: {error}"));
        let Versioned { version } = serde_json::from_str(json).map_err(no_head)?;
        if version != VERSION {
            return Err(BundleError::Version {
                path,
                found: version,
                known: VERSION,
            });
        }
        let head: Head = serde_json::from_str(json).map_err(no_head)?;
        head.model.config.check(&path.display().to_string())?;
        head.preprocessing
            .check()
            .map_err(|error| damaged(error.to_string()))?;
        let (classes, dim) = (head.class_names.len(), head.model.config.embed_dim);
        let tensor = |name: &str, shape: &[usize]| match checkpoint.get(name) {
            Some(tensor) if tensor.shape() == shape => Ok(tensor),
            Some(tensor) => Err(damaged(format!(
                "{name} is {:?} instead of {shape:?}",
                tensor.shape()
            ))),
            None => Err(damaged(format!("{name} is missing"))),
        };
        let number = |name: &str| match f64::buffer(tensor(name, &[1])?).first() {
            Some(value) if value.is_finite() => Ok(*value),
            _ => Err(damaged(format!("{name} is not a finite number"))),
        };
        let row = |name: &str| match f32::buffer(tensor(name, &[classes, dim])?) {
            rows if rows.iter().all(|value| value.is_finite()) => Ok(rows.into_vec()),
            _ => Err(damaged(format!("{name} holds NaN or infinity"))),
        };
        let scale = number(SCALE)?;
        let classifier = Classifier::new(head.class_names, row(YES)?, row(NO)?)?.with_scale(scale);
        let calibration = match head.calibration {
            Some(facts) => {
                let scores: Buffer<f64> = match checkpoint.get(SCORES) {
                    Some(tensor) if tensor.shape().len() == 1 => f64::buffer(tensor),
                    _ => return Err(damaged(format!("{SCORES} is missing or not a list"))),
                };
                Some(Calibration::from_parts(
                    scores.into_vec(),
                    number(THRESHOLD)?,
                    facts,
                )?)
            }
            None => None,
        };
        let config = &head.model.config;
        let has_tower = names::vision(&config.vision, config.embed_dim)
            .first()
            .is_some_and(|(name, _)| checkpoint.get(name).is_some());
        Ok(Self {
            classifier,
            templates: head.templates,
            wording: head.wording,
            identity: head.model,
            preprocessing: head.preprocessing,
            calibration,
            tower: if has_tower {
                Tower::InFile(Box::new(checkpoint))
            } else {
                Tower::Apart
            },
        })
    }

    /// Writes the bundle, beside `path` first and then renamed over it.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn write(&self, path: impl AsRef<Path>) -> Result<(), BundleError> {
        let head = Head {
            version: VERSION,
            clipn: env!("CARGO_PKG_VERSION").to_owned(),
            class_names: self.classifier.class_names().to_vec(),
            templates: self.templates.clone(),
            wording: self.wording,
            model: self.identity.clone(),
            preprocessing: self.preprocessing.clone(),
            calibration: self
                .calibration
                .as_ref()
                .map(|calibration| calibration.facts().clone()),
        };
        let unwritable = |error: serde_json::Error| BundleError::Damaged {
            path: path.as_ref().to_owned(),
            reason: error.to_string(),
        };
        let json = serde_json::to_string(&head).map_err(unwritable)?;
        let (classifier, rows) = (
            &self.classifier,
            [self.classifier.len(), self.classifier.dim()],
        );
        let mut tensors = vec![
            (
                YES.to_owned(),
                Tensor::from_f32(&rows, classifier.yes().to_vec())?,
            ),
            (
                NO.to_owned(),
                Tensor::from_f32(&rows, classifier.no().to_vec())?,
            ),
            (
                SCALE.to_owned(),
                Tensor::from_f64(&[1], &[classifier.scale()])?,
            ),
        ];
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
            Tower::Apart => {}
            Tower::Here(tower) => tensors.extend(tower.iter().cloned()),
            Tower::InFile(checkpoint) => {
                let config = &self.identity.config;
                let of_tower =
                    |(name, _): names::Named| Some((name.clone(), checkpoint.get(&name)?.clone()));
                tensors.extend(
                    names::vision(&config.vision, config.embed_dim)
                        .into_iter()
                        .filter_map(of_tower),
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
