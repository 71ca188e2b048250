//! Mean over groups of negatives of the probability that the classes have in the softmax over the
//! classes and one group, in both precisions. The cost is O(K + M).
use super::softmax::{ln_sigmoid, logsumexp, max_value, sigmoid, sum_exp};

/// Sum of exponentials, `mass * exp(top)`, in the published `f32` arithmetic.
#[derive(Debug, Clone, Copy)]
pub(super) struct Mass {
    pub(super) top: f32,
    pub(super) mass: f32,
}

impl Mass {
    /// Sum of the exponentials of at least one finite value.
    pub(super) fn new(values: &[f32]) -> Self {
        let top = max_value(values);
        let mass = sum_exp(values, top);
        Self { top, mass }
    }

    fn relative_to(self, top: f32) -> f32 {
        self.mass * (self.top - top).exp()
    }
}

/// Computes `mean_g a / (a + r + n_g)` from the masses of the accepted logits, of those that
/// are rejected beside every group, if any, and of the groups. NaN without groups.
pub(super) fn mean_probability<'a>(
    accepted: Mass,
    rejected: Option<f32>,
    groups: impl Iterator<Item = &'a [f32]>,
) -> f32 {
    let (mut sum, mut count) = (0.0_f32, 0.0_f32);
    for group in groups {
        let group_top = max_value(group);
        let top = group_top
            .max(accepted.top)
            .max(rejected.unwrap_or(f32::NEG_INFINITY));
        let accepted = accepted.relative_to(top);
        let negatives = sum_exp(group, top);
        let rejected = rejected.map_or(0.0, |v| (v - top).exp());
        sum += accepted / (accepted + rejected + negatives);
        count += 1.0;
    }
    sum / count
}

/// Logarithm of [`mean_probability`] from the log-sum-exps `accepted` and `rejected` (minus infinity
/// for none), and the logits of the groups. NaN without groups.
///
/// It is `ln(1 - u)` with the mean rejected probability u if `u < 0.5`, otherwise a log-sum-exp
/// over the groups. Each form is precise where the other suffers from cancellation.
pub(super) fn ln_mean_probability<'a>(
    accepted: f64,
    rejected: f64,
    groups: impl Iterator<Item = &'a [f64]>,
) -> f64 {
    let (mut u, mut count) = (0.0, 0.0);
    // Streaming log-sum-exp, so that nothing is allocated.
    let (mut top, mut sum) = (f64::NEG_INFINITY, 0.0);
    for group in groups {
        let group = logsumexp(group.iter().copied());
        let difference = accepted - ln_add_exp(rejected, group);
        u += sigmoid(-difference);
        count += 1.0;
        let term = ln_sigmoid(difference);
        if term > top {
            sum = sum * (top - term).exp() + 1.0;
            top = term;
        } else {
            sum += (term - top).exp();
        }
    }
    let u: f64 = u / count;
    if u < 0.5 {
        (-u).ln_1p()
    } else {
        top + (sum / count).ln()
    }
}

/// `ln(exp(a) + exp(b))`; `b` is finite.
fn ln_add_exp(a: f64, b: f64) -> f64 {
    a.max(b) + (-(a - b).abs()).exp().ln_1p()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_tails_keep_their_precision() {
        let none = f64::NEG_INFINITY;
        // One group is a two-way softmax.
        for d in [-900.0, -40.0, -0.1, 0.0, 0.1, 40.0, 700.0] {
            let value = ln_mean_probability(d, none, std::iter::once(&[0.0][..]));
            assert!(
                (value - ln_sigmoid(d)).abs() <= 1e-15 * ln_sigmoid(d).abs(),
                "{d}"
            );
        }
        // Two groups: the mean of sigmoid(50) and sigmoid(45).
        let value = ln_mean_probability(50.0, none, [&[0.0][..], &[5.0]].into_iter());
        let expected = -0.5 * ((-50.0_f64).exp() + (-45.0_f64).exp());
        assert!((value / expected - 1.0).abs() < 1e-14, "{value}");
        // Rejected logits count beside every group: exp(0) / (exp(0) + exp(0) + 2 exp(0)).
        let value = ln_mean_probability(0.0, 0.0, std::iter::once(&[2.0_f64.ln()][..]));
        assert!((value - 0.25_f64.ln()).abs() < 1e-15, "{value}");
        assert!(ln_mean_probability(0.0, none, std::iter::empty()).is_nan());
    }

    #[test]
    fn masses_far_apart_do_not_give_nan() {
        let accepted = Mass::new(&[-200.0, -201.0]);
        let groups = [&[0.0_f32, -300.0][..], &[-400.0]];
        assert_eq!(mean_probability(accepted, None, groups.into_iter()), 0.5);
        assert_eq!(
            mean_probability(accepted, Some(0.0), groups.into_iter()),
            0.0
        );
    }
}
