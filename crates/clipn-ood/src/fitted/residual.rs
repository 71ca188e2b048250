use std::sync::Arc;

use super::scorer::{FeatureScorer, FitTensor, FittedImage};
use super::subspace::Residuals;

/// Residual: `-‖Nᵀ v‖`, minus the length of the feature outside the principal subspace of the images
/// (Wang et al., 2022, <https://arxiv.org/abs/2203.10807>, in the form of OpenOOD).
#[derive(Debug)]
pub(super) struct Residual {
    pub(super) residuals: Arc<Residuals>,
}

impl FeatureScorer for Residual {
    fn value(&self, image: &FittedImage<'_>) -> f64 {
        -self.residuals.length(image.feature)
    }

    fn tensors(&self) -> Vec<FitTensor> {
        vec![self.residuals.tensor()]
    }
}
