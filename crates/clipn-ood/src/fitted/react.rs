use std::sync::Arc;

use super::moments::dot;
use super::scorer::{FeatureScorer, FitTensor, FittedImage};
use crate::scores::logsumexp;

/// ReAct: the energy of `W min(v, t)`, with t a percentile of all entries of the features of the bank (Sun
/// et al., 2021, <https://arxiv.org/abs/2111.12797>, in the form of OpenOOD). CLIP's features have both
/// signs, so that only the positive side is clipped.
#[derive(Debug)]
pub(super) struct React {
    /// `[K, D]`, with the scale of the logits.
    pub(super) weights: Arc<Vec<f64>>,
    pub(super) threshold: f64,
}

impl FeatureScorer for React {
    fn value(&self, image: &FittedImage<'_>) -> f64 {
        let clip = |value: &f64| value.min(self.threshold);
        let clipped: Vec<f64> = image.feature.iter().map(clip).collect();
        let rows = self.weights.chunks_exact(clipped.len());
        let logits: Vec<f64> = rows.map(|row| dot(row, &clipped)).collect();
        logsumexp(logits.iter().copied())
    }

    fn tensors(&self) -> Vec<FitTensor> {
        vec![FitTensor::new("react.threshold", [1], vec![self.threshold])]
    }
}

/// Percentile of values with linear interpolation, NumPy's default. The values are reordered.
pub(super) fn percentile(values: &mut [f32], percentile: f64) -> f64 {
    let Some(last) = values.len().checked_sub(1) else {
        return f64::NAN;
    };
    let position = percentile / 100.0 * last as f64;
    let index = (position.floor() as usize).min(last);
    let (_, low, above) = values.select_nth_unstable_by(index, f32::total_cmp);
    let low = f64::from(*low);
    let high = above
        .iter()
        .copied()
        .reduce(f32::min)
        .map_or(low, f64::from);
    low + (high - low) * (position - index as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_interpolate_as_in_numpy() {
        // numpy.percentile([4, 1, 3, 2], p), NumPy 2.
        for (p, expected) in [(0.0, 1.0), (50.0, 2.5), (90.0, 3.7), (100.0, 4.0)] {
            let value = percentile(&mut [4.0, 1.0, 3.0, 2.0], p);
            assert!((value - expected).abs() < 1e-12, "{p}: {value}");
        }
        assert!(percentile(&mut [], 50.0).is_nan());
    }
}
