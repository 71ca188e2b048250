use super::softmax::{
    ln_sigmoid, logsumexp, max_value, multiply_by_agreement, sigmoid, softmax, sum,
};
use super::{LogitsRow, Score};

/// Agreeing-to-differ (ATD): `sum_j p_j q_j`, with `p` the softmax of the "yes" logits and `q_j`
/// the probability of "yes" against "no" for class `j`.
///
/// It is the part of the probability mass that the "no" tower agrees with. The rest, `1 - ATD`, is
/// the probability of the extra class "none of these". Source: CLIPN (Wang et al., 2023,
/// <https://arxiv.org/abs/2308.12213>); the hand-crafted code calls it `C+1`.
#[derive(Debug, Clone, Copy)]
pub struct Atd;

impl Score for Atd {
    fn name(&self) -> &'static str {
        "atd"
    }

    fn display_name(&self) -> &'static str {
        "ATD"
    }

    fn uses_no(&self) -> bool {
        true
    }

    fn is_probability(&self) -> bool {
        true
    }

    fn faithful(&self, row: LogitsRow<'_, f32>) -> f32 {
        joint_probabilities(row).map_or(f32::NAN, |joint_probabilities| sum(&joint_probabilities))
    }

    /// Computes `ln(1 - u)` with `u = sum_j p_j (1 - q_j)` if `u < 0.5`, otherwise the difference
    /// of two log-sum-exps. Each form is precise where the other suffers from cancellation.
    fn stable(&self, row: LogitsRow<'_, f64>) -> f64 {
        row.finite_pair().map_or(f64::NAN, |(yes, no)| {
            let rejected = rejection_probability(yes, no);
            if rejected < 0.5 {
                return (-rejected).ln_1p();
            }
            let joint_probabilities = yes.iter().zip(no).map(|(y, n)| y + ln_sigmoid(y - n));
            logsumexp(joint_probabilities) - logsumexp(yes.iter().copied())
        })
    }

    fn from_stable(&self, value: f64) -> f64 {
        value.exp()
    }

    fn to_stable(&self, value: f64) -> f64 {
        value.ln()
    }
}

/// Computes `p_j q_j` for each class in the published `f32` arithmetic, `[K]`; `None` for an
/// unusable row.
pub(super) fn joint_probabilities(row: LogitsRow<'_, f32>) -> Option<Vec<f32>> {
    let (yes, no) = row.finite_pair()?;
    let mut p = softmax(yes);
    multiply_by_agreement(&mut p, yes, no);
    Some(p)
}

/// Computes the probability of the extra class, `sum_j p_j (1 - q_j)`, with full relative precision
/// however small it is.
fn rejection_probability(yes: &[f64], no: &[f64]) -> f64 {
    let top = max_value(yes);
    let (mut rejected, mut total) = (0.0, 0.0);
    for (y, n) in yes.iter().zip(no) {
        let weight = (y - top).exp();
        rejected += weight * sigmoid(n - y);
        total += weight;
    }
    rejected / total
}
