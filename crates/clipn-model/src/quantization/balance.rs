//! Balancing: moves factors between the channels of layers, so that no channel needs a much larger
//! range than the others when its values are quantized together with them.
//!
//! Channel j of a layer norm is divided by a factor that the following weights are multiplied by,
//! as in SmoothQuant (<https://arxiv.org/abs/2211.10438>), and so are the values of attention
//! against its output projection. The factors need no calibration data: the range of a channel
//! follows from the gain and bias of its layer norm, after which values have a variance of 1. They
//! are powers of two, so that the function of the block in f32 stays the same to the bit.

use crate::params::{BlockParams, LinearParams, NormParams};

/// Standard deviations within which the values of a layer norm are assumed to lie.
const DEVIATIONS: f32 = 3.0;

/// Maximum exponent of a factor, so that no weight overflows.
const MAX_EXPONENT: f32 = 20.0;

impl BlockParams<f32> {
    /// Returns a block that computes the same, to the bit, with channels of about the same range, so
    /// that little is lost when they are quantized together.
    ///
    /// Factors, which are powers of two, move from the gains and biases of layer norms to the
    /// weights after them, and from the values of attention to its output projection.
    #[must_use]
    pub fn balanced(&self) -> Self {
        let mut own = self.clone();
        balance_norm(&mut own.ln_1, &mut own.in_proj);
        balance_values(&own.ln_1, &mut own.in_proj, &mut own.out_proj);
        balance_norm(&mut own.ln_2, &mut own.c_fc);
        own
    }
}

/// Balances the channels of a layer norm against the inputs of the layer after it.
fn balance_norm(norm: &mut NormParams<f32>, layer: &mut LinearParams<f32>) {
    let (gain, bias) = (norm.weight.make_mut(), norm.bias.make_mut());
    let ranges: Vec<f32> = gain
        .iter()
        .zip(&*bias)
        .map(|(gain, bias)| DEVIATIONS * gain.abs() + bias.abs())
        .collect();
    let factors = factors(&ranges, &column_maxima(&layer.weight, ranges.len()));
    for ((gain, bias), factor) in gain.iter_mut().zip(bias).zip(&factors) {
        *gain /= factor;
        *bias /= factor;
    }
    scale_columns(layer.weight.make_mut(), &factors);
}

/// Balances the values of attention against the inputs of its output projection. The weights of
/// attention sum to one, so that an output is within the range of its values.
fn balance_values(
    norm: &NormParams<f32>,
    in_proj: &mut LinearParams<f32>,
    out_proj: &mut LinearParams<f32>,
) {
    let width = norm.weight.len();
    let first = 2 * width;
    let weights = &mut in_proj.weight.make_mut()[first * width..];
    let biases = &mut in_proj.bias.make_mut()[first..];
    let ranges: Vec<f32> = weights
        .chunks_exact(width)
        .zip(&*biases)
        .map(|(row, bias)| {
            let (mut variance, mut mean) = (0.0, *bias);
            for ((w, gain), shift) in row.iter().zip(&*norm.weight).zip(&*norm.bias) {
                variance += (w * gain) * (w * gain);
                mean += w * shift;
            }
            DEVIATIONS * variance.sqrt() + mean.abs()
        })
        .collect();
    let factors = factors(&ranges, &column_maxima(&out_proj.weight, width));
    let rows = weights.chunks_exact_mut(width).zip(biases);
    for ((row, bias), factor) in rows.zip(&factors) {
        row.iter_mut().for_each(|weight| *weight /= factor);
        *bias /= factor;
    }
    scale_columns(out_proj.weight.make_mut(), &factors);
}

/// Returns the power of two next to √(range / largest weight) of each channel; 1 where there is
/// none.
fn factors(ranges: &[f32], largest_weights: &[f32]) -> Vec<f32> {
    let factor = |(range, weight): (&f32, &f32)| {
        let exponent = (0.5 * (range / weight).log2()).round();
        match exponent.is_finite() {
            true => exponent.clamp(-MAX_EXPONENT, MAX_EXPONENT).exp2(),
            false => 1.0,
        }
    };
    ranges.iter().zip(largest_weights).map(factor).collect()
}

/// Returns the largest magnitude of each column of a matrix, `[rows, columns]`.
fn column_maxima(weight: &[f32], columns: usize) -> Vec<f32> {
    let mut maxima = vec![0.0f32; columns];
    for row in weight.chunks_exact(columns.max(1)) {
        for (maximum, value) in maxima.iter_mut().zip(row) {
            *maximum = maximum.max(value.abs());
        }
    }
    maxima
}

fn scale_columns(weight: &mut [f32], factors: &[f32]) {
    for row in weight.chunks_exact_mut(factors.len().max(1)) {
        for (weight, factor) in row.iter_mut().zip(factors) {
            *weight *= factor;
        }
    }
}
