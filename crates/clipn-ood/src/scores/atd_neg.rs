use super::{Atd, LogitsRow, NegLabel, Score};

/// ATD with negatives in the denominator: `1/G sum_g sum_k p_k q_k`, with `p` the softmax over the
/// classes and the negatives of group g, and `q_k` the probability of "yes" against "no" for class
/// `k`.
///
/// It is the probability that neither a negative nor the "no" tower takes away. This score is
/// clipn's own: OLE's combination of ATD with outlier texts ([`Ole`](super::Ole)), with NegLabel's
/// groups and the usual logit scale. Since `q_k` does not depend on the group, it equals ATD times
/// NegLabel.
#[derive(Debug, Clone, Copy)]
pub struct AtdNeg;

impl Score for AtdNeg {
    fn name(&self) -> &'static str {
        "atd-neg"
    }

    fn display_name(&self) -> &'static str {
        "ATD-Neg"
    }

    fn uses_no(&self) -> bool {
        true
    }

    fn uses_negatives(&self) -> bool {
        true
    }

    fn is_probability(&self) -> bool {
        true
    }

    fn faithful(&self, row: LogitsRow<'_, f32>) -> f32 {
        Atd.faithful(row) * NegLabel.faithful(row)
    }

    fn stable(&self, row: LogitsRow<'_, f64>) -> f64 {
        Atd.stable(row) + NegLabel.stable(row)
    }

    fn from_stable(&self, value: f64) -> f64 {
        value.exp()
    }

    fn to_stable(&self, value: f64) -> f64 {
        value.ln()
    }
}
