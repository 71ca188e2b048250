use std::sync::{Arc, OnceLock};

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
    weights: Arc<Vec<f64>>,
    /// `[D]`.
    mean: Vec<f64>,
    norm: FdbdNorm,
    /// Lengths of the differences between the weights of a class and those of all, `[K][K]`, computed when
    /// the class is first predicted.
    lengths: Vec<OnceLock<Vec<f64>>>,
}

impl Fdbd {
    pub(super) fn new(weights: Arc<Vec<f64>>, mean: Vec<f64>, norm: FdbdNorm) -> Self {
        let classes = weights.len() / mean.len().max(1);
        Self {
            weights,
            mean,
            norm,
            lengths: vec![OnceLock::new(); classes],
        }
    }

    fn lengths(&self, class: usize) -> &[f64] {
        self.lengths[class].get_or_init(|| {
            let dim = self.mean.len();
            let own = &self.weights[class * dim..][..dim];
            let length = |other: &[f64]| {
                let difference: Vec<f64> = own.iter().zip(other).map(|(a, b)| a - b).collect();
                norm(&difference)
            };
            self.weights.chunks_exact(dim).map(length).collect()
        })
    }
}

impl FeatureScorer for Fdbd {
    fn value(&self, image: &FittedImage<'_>) -> f64 {
        let boundaries = image.logits.iter().zip(self.lengths(image.class));
        let distances = boundaries.map(|(logit, length)| {
            if *length == 0.0 {
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
