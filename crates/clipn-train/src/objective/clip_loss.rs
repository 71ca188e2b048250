//! The contrastive loss of CLIP.

use rayon::prelude::*;

use clipn_model::Real;

use crate::objective::Objective;
use crate::objective::error::ObjectiveError;
use crate::objective::features::{FeatureGradients, GradientMask, LossAndGradients, PairFeatures};
use crate::objective::matmul::{combine, combine_transposed, matmul_transposed};

/// Symmetric cross-entropy between images and texts ([CLIP](https://arxiv.org/abs/2103.00020),
/// figure 3).
///
/// With logits x_ij = s·f_i·g_j, the total is one half of the mean over rows plus one half of the
/// mean over columns of −log softmax at the diagonal. "No" features are ignored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Clip;

impl<T: Real> Objective<T> for Clip {
    fn name(&self) -> &'static str {
        "clip"
    }

    fn uses_no(&self) -> bool {
        false
    }

    fn evaluate(
        &self,
        features: &PairFeatures<'_, T>,
        scale: T,
        mask: &GradientMask,
    ) -> Result<LossAndGradients<T>, ObjectiveError> {
        let features = &PairFeatures {
            no: None,
            ..*features
        };
        features.check(mask)?;
        let PairFeatures {
            dim, image, yes, ..
        } = *features;
        let rows = features.rows();
        let products = matmul_transposed(image, yes, dim);
        let logit = |i: usize, j: usize| scale * products[i * rows + j];
        let by_image = log_sums(rows, logit);
        let by_text = log_sums(rows, |j, i| logit(i, j));
        let mean = |log_sums: &[T]| {
            let terms = log_sums
                .iter()
                .enumerate()
                .map(|(i, &log_sum)| real(log_sum - logit(i, i)));
            terms.sum::<f64>() / rows as f64
        };
        let (image_loss, text_loss) = (mean(&by_image), mean(&by_text));
        let total = 0.5 * (image_loss + text_loss);
        if !total.is_finite() {
            return Err(features.not_finite(scale));
        }
        let (d_x, d_scale) = logit_gradients(&products, scale, &by_image, &by_text);
        let gradients = FeatureGradients {
            image: mask
                .image
                .then(|| combine(&d_x, yes, dim, mask.rows.clone(), scale)),
            yes: mask
                .yes
                .then(|| combine_transposed(&d_x, image, dim, mask.rows.clone(), scale)),
            no: None,
            scale: d_scale,
        };
        Ok(LossAndGradients {
            total,
            terms: vec![("image", image_loss), ("text", text_loss)],
            gradients,
        })
    }
}

/// Returns log Σ_j e^x(i, j) of each row. Rounding never puts it below the row's maximum.
fn log_sums<T: Real>(rows: usize, x: impl Fn(usize, usize) -> T + Sync) -> Vec<T> {
    let log_sum = |i: usize| {
        let max = (0..rows).map(|j| x(i, j)).fold(T::neg_infinity(), T::max);
        max + (0..rows).map(|j| (x(i, j) - max).exp()).sum::<T>().ln()
    };
    (0..rows).into_par_iter().map(log_sum).collect()
}

/// Returns d total / d x, `[N, N]`, and d total / d scale.
fn logit_gradients<T: Real>(
    products: &[T],
    scale: T,
    by_image: &[T],
    by_text: &[T],
) -> (Vec<T>, T) {
    let rows = by_image.len();
    let half_mean = T::from_f64(0.5 / rows as f64);
    let mut d_x = vec![T::zero(); products.len()];
    let sums: Vec<f64> = d_x
        .par_chunks_mut(rows)
        .enumerate()
        .map(|(i, row)| {
            let mut d_scale = 0.0;
            for (j, d_x) in row.iter_mut().enumerate() {
                let dot = products[i * rows + j];
                let x = scale * dot;
                let probabilities = (x - by_image[i]).exp() + (x - by_text[j]).exp();
                let target = if i == j { T::from_f64(2.0) } else { T::zero() };
                *d_x = half_mean * (probabilities - target);
                d_scale += real(*d_x) * real(dot);
            }
            d_scale
        })
        .collect();
    (d_x, T::from_f64(sums.iter().sum()))
}

fn real<T: Real>(value: T) -> f64 {
    value.to_f64().unwrap_or(f64::NAN)
}
