use std::sync::Arc;

use super::gaussian::ClassGaussians;
use super::scorer::{FeatureScorer, FitTensor, FittedImage};

/// MDS: `max_c -(v - μ_c)ᵀ Σ⁻¹ (v - μ_c)` with the class means and one covariance of the class-centered
/// features, divided by n (Lee et al., 2018, <https://arxiv.org/abs/1807.03888>, in the form of OpenOOD).
/// OpenOOD estimates the covariance in `f32`, here it is `f64`.
#[derive(Debug)]
pub(super) struct Mds {
    pub(super) classes: Arc<ClassGaussians>,
}

impl FeatureScorer for Mds {
    fn value(&self, image: &FittedImage<'_>) -> f64 {
        -self.classes.distance(image.feature)
    }

    fn tensors(&self) -> Vec<FitTensor> {
        self.classes.tensors()
    }
}
