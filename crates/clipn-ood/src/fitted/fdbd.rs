use std::sync::Arc;

use super::FdbdNorm;
use super::moments::norm;
use super::scorer::{FeatureScorer, FitTensor, FittedImage};

/// fDBD: the sum over classes of the distance to the decision boundary, `|l_c - l_max| / ‖w_max - w_c‖`,
/// relative to the distance of the feature from the mean feature (Liu and Qin, 2024,
/// <https://arxiv.org/abs/2312.11536>, in the form of OpenOOD). A class with the same weights as the
/// predicted one has no boundary with it and adds nothing.
#[derive(Debug)]
pub(super) struct Fdbd {
    /// `[K, D]`, with the scale of the logits.
    pub(super) weights: Arc<Vec<f64>>,
    /// `[D]`.
    pub(super) mean: Vec<f64>,
    pub(super) norm: FdbdNorm,
}

impl FeatureScorer for Fdbd {
    fn value(&self, image: &FittedImage<'_>) -> f64 {
        let dim = image.feature.len();
        let best = &self.weights[image.class * dim..][..dim];
        let boundaries = image.logits.iter().zip(self.weights.chunks_exact(dim));
        let distances = boundaries.map(|(logit, weights)| {
            let difference: Vec<f64> = best.iter().zip(weights).map(|(a, b)| a - b).collect();
            let length = norm(&difference);
            if length == 0.0 {
                return 0.0;
            }
            (image.logits[image.class] - logit) / length
        });
        let divisor = match self.norm {
            FdbdNorm::Feature => norm(image.feature),
            FdbdNorm::Mean => {
                let pairs = image.feature.iter().zip(&self.mean);
                norm(&pairs.map(|(a, b)| a - b).collect::<Vec<f64>>())
            }
        };
        distances.sum::<f64>() / divisor
    }

    fn tensors(&self) -> Vec<FitTensor> {
        let dim = self.mean.len();
        vec![FitTensor::new("fdbd.mean", [dim], self.mean.clone())]
    }
}
