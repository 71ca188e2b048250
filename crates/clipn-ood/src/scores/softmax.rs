//! The sums that the scores share. The `f32` forms are the published code's (subtract the greatest, exponentiate, sum,
//! divide); the `f64` ones keep relative precision in both tails.
use num_traits::Float;

/// What remains of a row when it can be scored.
pub(super) type Usable<T> = Option<T>;

/// Greatest of finite values; minus infinity for none.
pub(super) fn greatest<T: Float>(values: &[T]) -> T {
    values.iter().copied().fold(T::neg_infinity(), T::max)
}

/// Softmax of finite values.
pub(super) fn softmax(values: &[f32]) -> Vec<f32> {
    let top = greatest(values);
    let mut p: Vec<f32> = values.iter().map(|v| (v - top).exp()).collect();
    let sum: f32 = p.iter().sum();
    for v in &mut p {
        *v /= sum;
    }
    p
}

/// Greatest softmax probability of finite values.
pub(super) fn greatest_probability(values: &[f32]) -> f32 {
    let top = greatest(values);
    // The greatest exponential is exp(0) = 1.
    1.0 / values.iter().map(|v| (v - top).exp()).sum::<f32>()
}

/// `ln` of the greatest softmax probability of finite values over `temperature`: minus `ln(1 + the others)`, precise
/// where the probability is next to 1.
pub(super) fn ln_greatest_probability(values: &[f64], winner: usize, temperature: f64) -> f64 {
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

/// `ln(sum(exp(values)))` of finite values.
pub(super) fn logsumexp<T: Float>(values: impl Iterator<Item = T> + Clone) -> T {
    let top = values.clone().fold(T::neg_infinity(), T::max);
    values.fold(T::zero(), |sum, v| sum + (v - top).exp()).ln() + top
}

/// Probability of `yes` in the two-way softmax of finite `yes` and `no`.
pub(super) fn agreement(yes: f32, no: f32) -> f32 {
    let top = yes.max(no);
    let (yes, no) = ((yes - top).exp(), (no - top).exp());
    yes / (yes + no)
}

/// The logistic function, `1 / (1 + exp(-x))`, with relative precision at both ends.
pub(super) fn sigmoid(x: f64) -> f64 {
    if x >= 0.0 {
        1.0 / (1.0 + (-x).exp())
    } else {
        let e = x.exp();
        e / (1.0 + e)
    }
}

/// `ln(sigmoid(x))`, with relative precision at both ends.
pub(super) fn ln_sigmoid(x: f64) -> f64 {
    if x >= 0.0 {
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
        assert_eq!(ln_sigmoid(800.0), 0.0);
        assert!((ln_sigmoid(40.0) / -(-40.0_f64).exp() - 1.0).abs() < 1e-15);
        assert_eq!(ln_sigmoid(-1e4), -1e4);
        assert!((ln_sigmoid(0.0) + std::f64::consts::LN_2).abs() < 1e-16);
        assert!((sigmoid(-40.0) / (-40.0_f64).exp() - 1.0).abs() < 1e-15);
        assert_eq!(
            logsumexp([1e4, 1e4].into_iter()),
            1e4 + std::f64::consts::LN_2
        );
        assert_eq!(agreement(1e4, -1e4), 1.0);
        assert_eq!(agreement(-1e4, 1e4), 0.0);
    }
}
