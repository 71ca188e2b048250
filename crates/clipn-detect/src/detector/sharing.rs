//! Several detectors with one image tower in memory.

use std::sync::Arc;

use crate::bundle::{Bundle, BundleError};
use crate::detector::{Detector, DetectorError};

impl Detector {
    /// Creates a detector from a bundle and the image tower of this detector, which stays in memory
    /// once. This detector must have been created from a bundle of the same model.
    ///
    /// ```
    /// use clipn_detect::bundle::Bundle;
    /// use clipn_detect::detector::Detector;
    /// use clipn_model::PretrainedWeights;
    ///
    /// let weights = PretrainedWeights::mini()?;
    /// let pets = Bundle::build(["cat", "dog"], &weights)?;
    /// let pets = Detector::new(pets, &weights.weights(None)?)?;
    /// let meals = pets.open_with_same_tower(Bundle::build(["pizza", "soup"], &weights)?)?;
    /// assert!(meals.shares_tower(&pets));
    /// assert_eq!(meals.classifier().class_names(), ["pizza", "soup"]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`BundleError::ModelMismatch`] if the bundle is of another model, or if this detector was not
    /// created from a bundle.
    pub fn open_with_same_tower(&self, bundle: Bundle) -> Result<Self, DetectorError> {
        if self.has_tower_of(&bundle) {
            return Self::from_bundle_and_tower(bundle, Arc::clone(&self.tower));
        }
        Err(BundleError::ModelMismatch {
            path: bundle.identity().source.clone().unwrap_or_default().into(),
            differences: vec!["different image tower weights".to_owned()],
        }
        .into())
    }

    /// Whether this detector was created from a bundle of the same image tower as this one.
    pub fn has_tower_of(&self, bundle: &Bundle) -> bool {
        self.bundle().is_some_and(|own| {
            let (own, other) = (own.identity(), bundle.identity());
            own.image_tower_hash == other.image_tower_hash
                && own.precision == other.precision
                && own.config.vision == other.config.vision
                && own.config.activation == other.config.activation
                && own.config.embed_dim == other.config.embed_dim
        })
    }

    /// Whether both detectors use the same image tower in memory.
    pub fn shares_tower(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.tower, &other.tower)
    }
}
