use std::sync::Arc;

use super::gaussian::{ClassGaussians, Gaussian};
use super::scorer::{FeatureScorer, FitTensor, FittedImage};

/// RMDS: MDS minus the like term of one Gaussian of all features (Ren et al., 2021,
/// <https://arxiv.org/abs/2106.09022>, in the form of OpenOOD).
#[derive(Debug)]
pub(super) struct Rmds {
    pub(super) classes: Arc<ClassGaussians>,
    pub(super) background: Gaussian,
}

impl FeatureScorer for Rmds {
    fn value(&self, image: &FittedImage<'_>) -> f64 {
        self.background.distance(image.feature) - self.classes.distance(image.feature)
    }

    fn tensors(&self) -> Vec<FitTensor> {
        [self.classes.tensors(), self.background.tensors()].concat()
    }
}
