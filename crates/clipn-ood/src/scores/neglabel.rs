use super::grouped::{Mass, ln_mean_probability, mean_probability};
use super::softmax::logsumexp;
use super::{LogitsRow, Score};

/// NegLabel: the probability of the classes together against the negatives, a mean over the groups
/// g of negatives.
///
/// `S = 1/G sum_g [ sum_k exp(yes_k) / (sum_k exp(yes_k) + sum_(j in g) exp(negative_j)) ]`. Below
/// 0.5, the negatives of a typical group together outweigh the classes, so the meaning of that
/// middle depends on the size of the groups. Source: Jiang et al., 2024,
/// <https://arxiv.org/abs/2403.20078>; CSP (<https://arxiv.org/abs/2410.08611>) is the same score
/// with other negatives. Their code permutes the negatives and drops the last M mod G before it
/// forms the groups; here the caller forms them.
///
/// The sum over the classes is computed once, so the cost is O(K + M) for any number of groups.
#[derive(Debug, Clone, Copy)]
pub struct NegLabel;

impl Score for NegLabel {
    fn name(&self) -> &'static str {
        "neglabel"
    }

    fn display_name(&self) -> &'static str {
        "NegLabel"
    }

    fn uses_no(&self) -> bool {
        false
    }

    fn uses_negatives(&self) -> bool {
        true
    }

    fn is_probability(&self) -> bool {
        true
    }

    fn faithful(&self, row: LogitsRow<'_, f32>) -> f32 {
        match (row.finite_yes(), row.finite_negatives()) {
            (Some(yes), Some(negatives)) => {
                mean_probability(Mass::new(yes), None, negatives.groups())
            }
            _ => f32::NAN,
        }
    }

    /// Computes `ln(1 - u)` with the mean probability u of the negatives if `u < 0.5`, otherwise a
    /// log-sum-exp over the groups, so that neither tail saturates.
    fn stable(&self, row: LogitsRow<'_, f64>) -> f64 {
        match (row.finite_yes(), row.finite_negatives()) {
            (Some(yes), Some(negatives)) => ln_mean_probability(
                logsumexp(yes.iter().copied()),
                f64::NEG_INFINITY,
                negatives.groups(),
            ),
            _ => f64::NAN,
        }
    }

    fn from_stable(&self, value: f64) -> f64 {
        value.exp()
    }

    fn to_stable(&self, value: f64) -> f64 {
        value.ln()
    }
}
