//! Bundles: a classifier for deployment in one file, `*.clipn`.
//!
//! A bundle contains the "yes" and "no" rows of the classes, the templates that they were built
//! with, the identity of their model, the preprocessing, and optionally a calibrated threshold and
//! the image tower. Labeling images needs nothing else but the image tower. The file format is
//! safetensors.
//!
//! ```
//! use clipn_detect::bundle::Bundle;
//! use clipn_model::PretrainedWeights;
//!
//! # let folder = tempfile::tempdir()?;
//! # let path = folder.path().join("shop.clipn");
//! Bundle::build(["school bus", "pizza"], &PretrainedWeights::mini()?)?.write(&path)?;
//! assert_eq!(Bundle::open(&path)?.classifier().class_names(), ["school bus", "pizza"]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod builder;
mod error;
mod file;
mod identity;
mod weights;

pub use builder::BundleBuilder;
pub use error::BundleError;
pub use identity::ModelIdentity;

use clipn_checkpoint::Checkpoint;
use clipn_image::Preprocessing;
use clipn_model::{ModelWeights, Precision};
use clipn_ood::calibration::Calibration;
use clipn_ood::scores::{MaxLogit, Score, ScoreInputs};
use clipn_text::prompts::{PromptVariant, TemplateSet};

use crate::classifier::{ClassPrompts, Classifier, ClassifierError};

/// Classifier with everything that a decision depends on.
#[derive(Debug, Clone)]
pub struct Bundle {
    classifier: Classifier,
    prompts: ClassPrompts,
    identity: ModelIdentity,
    preprocessing: Preprocessing,
    calibration: Option<Calibration>,
    tower: TowerSource,
}

/// Location of the image tower.
#[derive(Debug, Clone)]
enum TowerSource {
    /// In another file: only its identity is known.
    External,
    /// Part of opened weights.
    InMemory(Box<ModelWeights>),
    /// In the file that the bundle was read from.
    InFile(Box<Checkpoint>),
}

impl Bundle {
    /// Creates a bundle of a classifier that was built with these prompts and with the text towers of
    /// the model `identity`. [`BundleBuilder`] does it in one step.
    pub fn new(
        classifier: Classifier,
        prompts: ClassPrompts,
        identity: ModelIdentity,
        preprocessing: Preprocessing,
    ) -> Self {
        Self {
            classifier,
            prompts,
            identity,
            preprocessing,
            calibration: None,
            tower: TowerSource::External,
        }
    }

    /// Returns the classifier: class names and the rows W_yes and W_no.
    pub fn classifier(&self) -> &Classifier {
        &self.classifier
    }

    /// Returns the prompts that the classifier was built with, to add classes to it.
    pub fn prompts(&self) -> &ClassPrompts {
        &self.prompts
    }

    /// Returns the templates of the [prompts](Self::prompts).
    pub fn templates(&self) -> &TemplateSet {
        self.prompts.templates()
    }

    /// Returns the variant of the [prompts](Self::prompts): which templates the "no" tower encoded.
    pub fn prompt_variant(&self) -> PromptVariant {
        self.prompts.variant()
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

    /// The score of a new calibration if none is named: that of the calibration that is replaced, else of the rule
    /// that suits these inputs, else MaxLogit.
    pub fn default_score(&self, inputs: &ScoreInputs) -> &'static dyn Score {
        let calibrated = self.calibration().map(Calibration::rule);
        match calibrated.or_else(|| inputs.default_rule()) {
            Some(rule) => rule.score(),
            None => &MaxLogit,
        }
    }

    /// Whether the bundle contains the image tower.
    pub fn has_image_tower(&self) -> bool {
        !matches!(self.tower, TowerSource::External)
    }

    /// Sets the precision that images are encoded with [default: that of the weights that the
    /// classifier was built with]. Scores differ a little between precisions, so that a calibrated
    /// threshold fits only its own.
    #[must_use]
    pub fn with_precision(mut self, precision: Precision) -> Self {
        self.identity.precision = precision;
        self
    }

    /// Sets the calibration.
    #[must_use]
    pub fn with_calibration(self, calibration: Calibration) -> Self {
        Self {
            calibration: Some(calibration),
            ..self
        }
    }

    /// Replaces the templates, which only say how the classes were encoded: their rows stay as they are.
    #[must_use]
    pub fn with_templates(self, templates: TemplateSet) -> Self {
        Self {
            prompts: ClassPrompts::new(templates, self.prompts.variant()),
            ..self
        }
    }

    /// Replaces the prompts that the classifier was built with.
    #[must_use]
    pub fn with_prompts(self, prompts: ClassPrompts) -> Self {
        Self { prompts, ..self }
    }

    /// Replaces the classifier, one that was built with the same [prompts](Self::prompts), and removes the calibration,
    /// which is only valid for the classes that it was computed with.
    ///
    /// # Errors
    /// [`BundleError::Classifier`] if the classifier belongs to a model with another feature dimension.
    pub fn with_classifier(self, classifier: Classifier) -> Result<Self, BundleError> {
        let (expected, found) = (classifier.dim(), self.identity.config.embed_dim);
        if expected != found {
            return Err(ClassifierError::FeatureDimension { expected, found }.into());
        }
        Ok(Self {
            classifier,
            calibration: None,
            ..self
        })
    }
}
