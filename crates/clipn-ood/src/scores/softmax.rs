//! Softmax, log-sum-exp and logistic functions shared by the scores. The `f32` forms follow the
//! published code (subtract the maximum, exponentiate, sum, divide); the `f64` forms keep relative
//! precision in both tails.
use num_traits::Float;

/// Maximum of finite values; minus infinity without values.
pub(super) fn max_value<T: Float>(values: &[T]) -> T {
    values.iter().copied().fold(T::neg_infinity(), T::max)
}

/// Softmax of finite values, `[K]`.
pub(super) fn softmax(values: &[f32]) -> Vec<f32> {
    let top = max_value(values);
    let mut p: Vec<f32> = values.iter().map(|v| (v - top).exp()).collect();
    let sum: f32 = p.iter().sum();
    for v in &mut p {
        *v /= sum;
    }
    p
}

/// Maximum softmax probability of finite values.
pub(super) fn max_probability(values: &[f32]) -> f32 {
    let top = max_value(values);
    // The largest exponential is exp(0) = 1.
    1.0 / values.iter().map(|v| (v - top).exp()).sum::<f32>()
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

/// Log-sum-exp, `ln(sum_j exp(v_j))`, of finite values.
pub(super) fn logsumexp<T: Float>(values: impl Iterator<Item = T> + Clone) -> T {
    let top = values.clone().fold(T::neg_infinity(), T::max);
    values.fold(T::zero(), |sum, v| sum + (v - top).exp()).ln() + top
}

/// Probability of `yes` in the two-way softmax of finite `yes` and `no` (`q_j` in the paper).
pub(super) fn two_way_softmax(yes: f32, no: f32) -> f32 {
    let top = yes.max(no);
    let (yes, no) = ((yes - top).exp(), (no - top).exp());
    yes / (yes + no)
}

/// Logistic function, `1 / (1 + exp(-x))`, with relative precision in both tails.
pub(super) fn sigmoid(x: f64) -> f64 {
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
