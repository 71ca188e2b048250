use std::sync::Arc;

use super::scorer::{FeatureScorer, FitTensor, FittedImage};
use super::subspace::Residuals;

/// ViM, virtual-logit matching: the energy minus `α ‖Nᵀ v‖`, with α the mean maximum logit over the mean
/// residual of the images (Wang et al., 2022, <https://arxiv.org/abs/2203.10807>, in the form of
/// OpenOOD). Both means are over the bank.
#[derive(Debug)]
pub(super) struct Vim {
    pub(super) residuals: Arc<Residuals>,
    pub(super) alpha: f64,
}

impl FeatureScorer for Vim {
    fn value(&self, image: &FittedImage<'_>) -> f64 {
        image.energy - self.alpha * self.residuals.length(image.feature)
    }

    fn tensors(&self) -> Vec<FitTensor> {
        let alpha = FitTensor::new("vim.alpha", [1], vec![self.alpha]);
        vec![self.residuals.tensor(), alpha]
    }
}
