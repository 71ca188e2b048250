//! A classifier for deployment in one file, `*.clipn`: the rows of its classes, what they were asked with, the identity of
//! the image tower that they belong to (or that tower itself), preprocessing, and a calibrated threshold. The file is
//! safetensors, and nothing else is needed to label pictures but the image tower.

mod build;
mod error;
mod file;
mod identity;

pub use error::BundleError;
pub use identity::ModelIdentity;

use clipn_ood::calibration::Calibration;
use clipn_checkpoint::{Checkpoint, Tensor};
use crate::classifier::{Classifier, Wording};
use clipn_image::Preprocessing;
use clipn_model::{ImageWeights, Weights};
use clipn_text::prompts::TemplateSet;

/// A classifier with everything that a decision depends on.
#[derive(Debug, Clone)]
pub struct Bundle {
    classifier: Classifier,
    templates: TemplateSet,
    wording: Wording,
    identity: ModelIdentity,
    preprocessing: Preprocessing,
    calibration: Option<Calibration>,
    tower: Tower,
}

/// Where the image tower is.
#[derive(Debug, Clone)]
enum Tower {
    /// Elsewhere: only its identity is known.
    Apart,
    /// Among the tensors of weights, to be written along.
    Here(Vec<(String, Tensor)>),
    /// In the bundle's own file.
    InFile(Box<Checkpoint>),
}

impl Bundle {
    /// A bundle of a classifier that was built with the text towers of the weights of that identity.
    pub fn new(
        classifier: Classifier,
        templates: TemplateSet,
        wording: Wording,
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
            tower: Tower::Apart,
        }
    }

    /// W_yes, W_no and the class names.
    pub fn classifier(&self) -> &Classifier {
        &self.classifier
    }

    /// What the classes were asked with.
    pub fn templates(&self) -> &TemplateSet {
        &self.templates
    }

    /// Which lines the "no" tower has read.
    pub fn wording(&self) -> Wording {
        self.wording
    }

    /// Which model the rows belong to.
    pub fn identity(&self) -> &ModelIdentity {
        &self.identity
    }

    /// How pictures become tensors.
    pub fn preprocessing(&self) -> &Preprocessing {
        &self.preprocessing
    }

    /// The threshold, where one was calibrated.
    pub fn calibration(&self) -> Option<&Calibration> {
        self.calibration.as_ref()
    }

    /// Whether the image tower lies in the bundle too.
    pub fn has_image_tower(&self) -> bool {
        !matches!(self.tower, Tower::Apart)
    }

    /// The same bundle with a threshold.
    #[must_use]
    pub fn with_calibration(self, calibration: Calibration) -> Self {
        Self {
            calibration: Some(calibration),
            ..self
        }
    }

    /// The same bundle with other classes; a threshold belongs to the classes that it was calibrated with, and goes.
    #[must_use]
    pub fn with_classifier(self, classifier: Classifier) -> Self {
        Self {
            classifier,
            calibration: None,
            ..self
        }
    }

    /// The same bundle with the image tower in it, so that it needs no other file.
    ///
    /// # Errors
    /// [`BundleError::OtherModel`] as [`Bundle::check`].
    pub fn with_image_tower(self, weights: &Weights) -> Result<Self, BundleError> {
        self.check(weights)?;
        Ok(Self {
            tower: Tower::Here(weights.image_tensors()),
            ..self
        })
    }

    /// Holds weights against the identity: reads the whole image tower.
    ///
    /// # Errors
    /// [`BundleError::OtherModel`] where they are not those that the rows belong to.
    pub fn check(&self, weights: &Weights) -> Result<(), BundleError> {
        let differing = self.identity.differences(weights);
        if differing.is_empty() {
            return Ok(());
        }
        Err(BundleError::OtherModel {
            path: weights.path().to_owned(),
            differing: differing.join(", "),
        })
    }

    /// Holds the text towers of weights against the identity too, as for further classes.
    ///
    /// # Errors
    /// As [`check`](Self::check): models that differ in nothing but what their "no" has learned have the same image tower.
    pub fn check_texts(&self, weights: &Weights) -> Result<(), BundleError> {
        self.check(weights)?;
        if weights.text_towers_hash() == self.identity.text_towers {
            return Ok(());
        }
        let differing = "the values of the text towers".to_owned();
        Err(BundleError::OtherModel {
            path: weights.path().to_owned(),
            differing,
        })
    }

    /// The weights of the image tower that lies in the bundle's file, held against the identity; `None` where it is elsewhere.
    ///
    /// # Errors
    /// Tensors that are missing, of another shape, or not those of the identity.
    pub fn image_weights(&self) -> Result<Option<ImageWeights>, BundleError> {
        let Tower::InFile(checkpoint) = &self.tower else {
            return Ok(None);
        };
        let path = checkpoint.path();
        let weights =
            ImageWeights::new(self.identity.config.clone(), Checkpoint::clone(checkpoint))?;
        if weights.image_tower_hash() != self.identity.image_tower {
            let reason = "its image tower is not the one that it names".to_owned();
            return Err(BundleError::Damaged {
                path: path.to_owned(),
                reason,
            });
        }
        Ok(Some(weights))
    }
}
