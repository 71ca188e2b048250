//! Bundles: a classifier for deployment in one file, `*.clipn`.
//!
//! A bundle contains the "yes" and "no" rows of the classes, the templates that they were built
//! with, the identity of their model, the preprocessing, and optionally a calibrated threshold and
//! the image tower. Labeling images needs nothing else but the image tower. The file format is
//! safetensors. [`Bundle::build`] has an example.

mod build;
mod error;
mod file;
mod identity;

pub use error::BundleError;
pub use identity::ModelIdentity;

use crate::classifier::{Classifier, PromptVariant};
use clipn_checkpoint::{Checkpoint, Tensor};
use clipn_image::Preprocessing;
use clipn_model::{ImageWeights, Weights};
use clipn_ood::calibration::Calibration;
use clipn_text::prompts::TemplateSet;

/// Classifier with everything that a decision depends on.
#[derive(Debug, Clone)]
pub struct Bundle {
    classifier: Classifier,
    templates: TemplateSet,
    wording: PromptVariant,
    identity: ModelIdentity,
    preprocessing: Preprocessing,
    calibration: Option<Calibration>,
    tower: Tower,
}

/// Location of the image tower.
#[derive(Debug, Clone)]
enum Tower {
    /// In another file: only its identity is known.
    External,
    /// Tensors to write into the bundle file.
    Here(Vec<(String, Tensor)>),
    /// In the file that the bundle was read from.
    InFile(Box<Checkpoint>),
}

impl Bundle {
    /// Creates a bundle of a classifier that was built with the text towers of the model
    /// `identity`.
    pub fn new(
        classifier: Classifier,
        templates: TemplateSet,
        wording: PromptVariant,
        identity: ModelIdentity,
        preprocessing: Preprocessing,
    ) -> Self {
        Self {
            classifier,
            templates,
            wording,
            identity,
            preprocessing,
            calibration: None,
            tower: Tower::External,
        }
    }

    /// Returns the classifier: class names and the rows W_yes and W_no.
    pub fn classifier(&self) -> &Classifier {
        &self.classifier
    }

    /// Returns the templates that the classifier was built with.
    pub fn templates(&self) -> &TemplateSet {
        &self.templates
    }

    /// Returns which templates the "no" tower encoded.
    pub fn wording(&self) -> PromptVariant {
        self.wording
    }

    /// Returns the identity of the model that the classifier was built with.
    pub fn identity(&self) -> &ModelIdentity {
        &self.identity
    }

    /// Returns the image preprocessing.
    pub fn preprocessing(&self) -> &Preprocessing {
        &self.preprocessing
    }

    /// Returns the calibration, if there is one.
    pub fn calibration(&self) -> Option<&Calibration> {
        self.calibration.as_ref()
    }

    /// Whether the bundle contains the image tower.
    pub fn has_image_tower(&self) -> bool {
        !matches!(self.tower, Tower::External)
    }

    /// Sets the calibration.
    #[must_use]
    pub fn with_calibration(self, calibration: Calibration) -> Self {
        Self {
            calibration: Some(calibration),
            ..self
        }
    }

    /// Replaces the classifier and removes the calibration, which is only valid for the classes
    /// that it was computed with.
    #[must_use]
    pub fn with_classifier(self, classifier: Classifier) -> Self {
        Self {
            classifier,
            calibration: None,
            ..self
        }
    }

    /// Adds the image tower of `weights`, so that the bundle needs no other file.
    ///
    /// # Errors
    /// [`BundleError::ModelMismatch`], see [`Bundle::check`].
    pub fn with_image_tower(self, weights: &Weights) -> Result<Self, BundleError> {
        self.check(weights)?;
        Ok(Self {
            tower: Tower::Here(weights.image_tensors()),
            ..self
        })
    }

    /// Checks that `weights` have the image tower of the bundle's model. Reads and hashes the whole
    /// image tower.
    ///
    /// # Errors
    /// [`BundleError::ModelMismatch`] with the differences.
    pub fn check(&self, weights: &Weights) -> Result<(), BundleError> {
        let differing = self.identity.differences(weights);
        if differing.is_empty() {
            return Ok(());
        }
        Err(BundleError::ModelMismatch {
            path: weights.path().to_owned(),
            differing: differing.join(", "),
        })
    }

    /// Checks the image tower and the text towers of `weights`, as required before adding classes.
    ///
    /// # Errors
    /// [`BundleError::ModelMismatch`] with the differences. Models that differ only in their "no" text
    /// tower have the same image tower, so [`check`](Self::check) accepts them.
    pub fn check_text_towers(&self, weights: &Weights) -> Result<(), BundleError> {
        self.check(weights)?;
        if weights.text_towers_hash() == self.identity.text_towers {
            return Ok(());
        }
        let differing = "different text tower weights".to_owned();
        Err(BundleError::ModelMismatch {
            path: weights.path().to_owned(),
            differing,
        })
    }

    /// Returns the weights of the image tower in the bundle file, after a check against the
    /// identity. Returns `None` if the bundle was not read from a file with an image tower.
    ///
    /// # Errors
    /// A [`BundleError`] if tensors are missing or have an unexpected shape, and
    /// [`BundleError::Damaged`] if they do not match the identity.
    pub fn image_weights(&self) -> Result<Option<ImageWeights>, BundleError> {
        let Tower::InFile(checkpoint) = &self.tower else {
            return Ok(None);
        };
        let path = checkpoint.path();
        let weights =
            ImageWeights::new(self.identity.config.clone(), Checkpoint::clone(checkpoint))?;
        if weights.image_tower_hash() != self.identity.image_tower {
            let reason = "its image tower does not match its model identity".to_owned();
            return Err(BundleError::Damaged {
                path: path.to_owned(),
                reason,
            });
        }
        Ok(Some(weights))
    }
}
