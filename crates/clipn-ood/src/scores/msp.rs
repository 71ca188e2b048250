use super::row::argmax;
use super::softmax::{ln_max_probability, max_probability};
use super::{LogitsRow, Score};

/// Maximum softmax probability (MSP): `max_j p_j`, with `p` the softmax of the "yes" logits
/// (Hendrycks and Gimpel, 2017, <https://arxiv.org/abs/1610.02136>).
#[derive(Debug, Clone, Copy)]
pub struct Msp;

impl Score for Msp {
    fn name(&self) -> &'static str {
        "msp"
    }

    fn display_name(&self) -> &'static str {
        "MSP"
    }

    fn uses_no(&self) -> bool {
        false
    }

    fn min_classes(&self) -> usize {
        2
    }

    fn is_probability(&self) -> bool {
        true
    }

    fn faithful(&self, row: LogitsRow<'_, f32>) -> f32 {
        row.finite_yes().map_or(f32::NAN, max_probability)
    }

    fn stable(&self, row: LogitsRow<'_, f64>) -> f64 {
        row.finite_yes()
            .map_or(f64::NAN, |yes| ln_max_probability(yes, argmax(yes), 1.0))
    }

    fn from_stable(&self, value: f64) -> f64 {
        value.exp()
    }

    fn to_stable(&self, value: f64) -> f64 {
        value.ln()
    }
}
