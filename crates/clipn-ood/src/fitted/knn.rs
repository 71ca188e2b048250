use std::sync::Arc;

use super::bank::{FeatureBank, openood_normalized};
use super::neighbors::{candidates, largest, product_error};
use super::scorer::{FeatureScorer, FittedImage};

/// KNN: minus the squared distance of the normalized feature to its K-th nearest neighbor among the
/// normalized features of the bank (Sun et al., 2022, <https://arxiv.org/abs/2204.06507>, in the form of
/// OpenOOD).
///
/// Products in `f32` select the candidates; their distances are computed in `f64`.
#[derive(Debug)]
pub(super) struct Knn {
    pub(super) bank: Arc<FeatureBank>,
    pub(super) k: usize,
}

impl FeatureScorer for Knn {
    fn value(&self, image: &FittedImage<'_>) -> f64 {
        let normalized = openood_normalized(image.feature);
        let error = product_error(image.feature.len());
        let distance = |index: usize| -> f64 {
            let pairs = normalized.iter().zip(self.bank.normalized_row(index));
            -pairs.map(|(a, b)| (a - b) * (a - b)).sum::<f64>()
        };
        let distances = candidates(image.cosines, self.k, error).into_iter();
        let nearest = largest(distances.map(distance).collect(), self.k);
        nearest.into_iter().fold(f64::INFINITY, f64::min)
    }
}
