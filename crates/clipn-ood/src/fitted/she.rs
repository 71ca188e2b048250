use super::moments::dot;
use super::scorer::{FeatureScorer, FitTensor, FittedImage};

/// SHE: the inner product of the feature with the stored pattern of the predicted class, the mean of its
/// rightly classified images (Zhang et al., 2023, <https://openreview.net/forum?id=KkazG4lgKL>, in the
/// form of OpenOOD). A class without any has the mean of all its images.
#[derive(Debug)]
pub(super) struct She {
    /// `[K, D]`.
    pub(super) patterns: Vec<f64>,
    pub(super) dim: usize,
}

impl FeatureScorer for She {
    fn value(&self, image: &FittedImage<'_>) -> f64 {
        let pattern = &self.patterns[image.class * self.dim..][..self.dim];
        dot(pattern, image.feature)
    }

    fn tensors(&self) -> Vec<FitTensor> {
        let shape = [self.patterns.len() / self.dim, self.dim];
        let patterns = self.patterns.clone();
        vec![FitTensor::new("she.patterns", shape, patterns).with_class_axes(1)]
    }
}
