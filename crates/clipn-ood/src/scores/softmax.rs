//! Softmax, log-sum-exp and logistic functions shared by the scores. The `f32` forms follow the
//! published code (subtract the maximum, exponentiate, sum, divide); the `f64` forms keep relative
//! precision in both tails.
use clipn_base::simd::vectorized;
use num_traits::Float;

use super::exp::exp;

/// Number of parallel accumulators in reductions: one AVX-512 register of `f32`. The order of a sum
/// depends on it, and so is the same at every SIMD level.
const LANES: usize = 16;

/// Maximum of finite values; minus infinity without values.
pub(super) fn max_value<T: Float>(values: &[T]) -> T {
    values.iter().copied().fold(T::neg_infinity(), T::max)
}

/// Softmax of finite values, `[K]`.
pub(super) fn softmax(values: &[f32]) -> Vec<f32> {
    let mut p = vec![0.0; values.len()];
    vectorized(
        #[inline(always)]
        || {
            let top = max_of_lanes(values);
            for (p, &v) in p.iter_mut().zip(values) {
                *p = exp(v - top);
            }
            let sum = sum_of(&p, |p| p);
            for p in &mut p {
                *p /= sum;
            }
        },
    );
    p
}

/// Maximum softmax probability of finite values.
pub(super) fn max_probability(values: &[f32]) -> f32 {
    vectorized(
        #[inline(always)]
        || {
            let top = max_of_lanes(values);
            // The largest exponential is exp(0) = 1.
            1.0 / sum_of(values, |v| exp(v - top))
        },
    )
}

/// Sum of `exp(v - top)` over finite values.
pub(super) fn sum_exp(values: &[f32], top: f32) -> f32 {
    vectorized(
        #[inline(always)]
        || sum_of(values, |v| exp(v - top)),
    )
}

/// Multiplies probabilities of classes, `p [K]`, by [`two_way_softmax`] of their finite logits.
pub(super) fn multiply_by_agreement(p: &mut [f32], yes: &[f32], no: &[f32]) {
    vectorized(
        #[inline(always)]
        || {
            for ((p, &y), &n) in p.iter_mut().zip(yes).zip(no) {
                *p *= two_way_softmax(y, n);
            }
        },
    );
}

/// Sum of values.
pub(super) fn sum(values: &[f32]) -> f32 {
    vectorized(
        #[inline(always)]
        || sum_of(values, |v| v),
    )
}

/// Whether all values are finite.
pub(super) fn all_finite<T: Float>(values: &[T]) -> bool {
    vectorized(
        #[inline(always)]
        || {
            // Without an early exit inside of a chunk, so that it is vectorized.
            let is_finite = |chunk: &[T]| chunk.iter().fold(true, |all, v| all & v.is_finite());
            values.chunks(4 * LANES).all(is_finite)
        },
    )
}

/// Maximum of finite values in parallel lanes; minus infinity without values.
#[inline(always)]
fn max_of_lanes(values: &[f32]) -> f32 {
    let larger = |a: f32, b: f32| if b > a { b } else { a };
    let mut lanes = [f32::NEG_INFINITY; LANES];
    let chunks = values.chunks_exact(LANES);
    let rest = chunks.remainder();
    for chunk in chunks {
        for (lane, &v) in lanes.iter_mut().zip(chunk) {
            *lane = larger(*lane, v);
        }
    }
    lanes
        .iter()
        .chain(rest)
        .copied()
        .fold(f32::NEG_INFINITY, larger)
}

/// Sum of a function of the values in parallel lanes.
#[inline(always)]
fn sum_of(values: &[f32], f: impl Fn(f32) -> f32) -> f32 {
    let mut lanes = [0.0; LANES];
    let chunks = values.chunks_exact(LANES);
    let rest = chunks.remainder();
    for chunk in chunks {
        for (lane, &v) in lanes.iter_mut().zip(chunk) {
            *lane += f(v);
        }
    }
    for (lane, &v) in lanes.iter_mut().zip(rest) {
        *lane += f(v);
    }
    // Halves are added, so that this is vectorized too.
    let mut width = LANES / 2;
    while width > 0 {
        for i in 0..width {
            lanes[i] += lanes[i + width];
        }
        width /= 2;
    }
    lanes[0]
}

/// Logarithm of the maximum softmax probability of finite values at a temperature: `-ln(1 + sum of
/// the other exponentials)`, which is precise for probabilities close to 1. `winner` is the index
/// of the maximum.
pub(super) fn ln_max_probability(values: &[f64], winner: usize, temperature: f64) -> f64 {
    let top = values[winner];
    let others = values
        .iter()
        .enumerate()
        .filter(|(index, _)| *index != winner);
    -others
        .map(|(_, v)| ((v - top) / temperature).exp())
        .sum::<f64>()
        .ln_1p()
}

/// Log-sum-exp, `ln(sum_j exp(v_j))`, of finite values in `f32`.
pub(super) fn logsumexp_f32(values: &[f32]) -> f32 {
    vectorized(
        #[inline(always)]
        || {
            let top = max_of_lanes(values);
            sum_of(values, |v| exp(v - top)).ln() + top
        },
    )
}

/// Log-sum-exp, `ln(sum_j exp(v_j))`, of finite values.
///
/// ```
/// use clipn_ood::scores::logsumexp;
///
/// assert_eq!(logsumexp([0.0_f64; 4].into_iter()), 4.0_f64.ln());
/// ```
#[must_use]
pub fn logsumexp<T: Float>(values: impl Iterator<Item = T> + Clone) -> T {
    let top = values.clone().fold(T::neg_infinity(), T::max);
    values.fold(T::zero(), |sum, v| sum + (v - top).exp()).ln() + top
}

/// Probability of `yes` in the two-way softmax of finite `yes` and `no` (`q_j` in the paper). The
/// larger of both exponentials is exp(0) = 1.
#[inline(always)]
pub(super) fn two_way_softmax(yes: f32, no: f32) -> f32 {
    let smaller = exp(-(yes - no).abs());
    let numerator = if yes >= no { 1.0 } else { smaller };
    numerator / (1.0 + smaller)
}

/// Logistic function, `1 / (1 + exp(-x))`, with relative precision in both tails.
///
/// ```
/// use clipn_ood::scores::sigmoid;
///
/// assert_eq!(sigmoid(0.0), 0.5);
/// ```
#[must_use]
pub fn sigmoid(x: f64) -> f64 {
    if x >= 0.0 {
        1.0 / (1.0 + (-x).exp())
    } else {
        let e = x.exp();
        e / (1.0 + e)
    }
}

/// `ln(sigmoid(x))` with relative precision in both tails.
pub(super) fn ln_sigmoid<T: Float>(x: T) -> T {
    if x >= T::zero() {
        -(-x).exp().ln_1p()
    } else {
        x - x.exp().ln_1p()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tails_keep_their_precision() {
        assert_eq!(ln_sigmoid(800.0_f64), 0.0);
        assert!((ln_sigmoid(40.0_f64) / -(-40.0_f64).exp() - 1.0).abs() < 1e-15);
        assert_eq!(ln_sigmoid(-1e4_f64), -1e4);
        assert!((ln_sigmoid(0.0_f64) + std::f64::consts::LN_2).abs() < 1e-16);
        assert!((sigmoid(-40.0) / (-40.0_f64).exp() - 1.0).abs() < 1e-15);
        assert_eq!(
            logsumexp([1e4, 1e4].into_iter()),
            1e4 + std::f64::consts::LN_2
        );
        assert_eq!(two_way_softmax(1e4, -1e4), 1.0);
        assert_eq!(two_way_softmax(-1e4, 1e4), 0.0);
    }
}
