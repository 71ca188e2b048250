use super::grouped::{Mass, ln_mean_probability, mean_probability};
use super::row::argmax;
use super::{LogitsRow, Score};

/// CTW with negatives in the denominator:
/// `1/G sum_g [ exp(yes_c) / (exp(yes_c) + exp(no_c) + sum_(j in g) exp(negative_j)) ]`, with c the
/// class with the highest "yes" logit.
///
/// It is the probability of the predicted class against its "no" text and the negatives of a group.
/// This score is clipn's own: the counterpart of [`AtdNeg`](super::AtdNeg) for CTW.
#[derive(Debug, Clone, Copy)]
pub struct CtwNeg;

impl Score for CtwNeg {
    fn name(&self) -> &'static str {
        "ctw-neg"
    }

    fn display_name(&self) -> &'static str {
        "CTW-Neg"
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
        match (row.finite_pair(), row.finite_negatives()) {
            (Some((yes, no)), Some(negatives)) => {
                let winner = argmax(yes);
                let accepted = Mass::new(&yes[winner..=winner]);
                mean_probability(accepted, Some(no[winner]), negatives.groups())
            }
            _ => f32::NAN,
        }
    }

    /// Computes the logarithm in the form of [`NegLabel`](super::NegLabel).
    fn stable(&self, row: LogitsRow<'_, f64>) -> f64 {
        match (row.finite_pair(), row.finite_negatives()) {
            (Some((yes, no)), Some(negatives)) => {
                let winner = argmax(yes);
                ln_mean_probability(yes[winner], no[winner], negatives.groups())
            }
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
