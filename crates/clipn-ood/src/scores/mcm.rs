use super::row::argmax;
use super::softmax::{ln_max_probability, max_probability};
use super::{LogitsRow, Score};

/// Maximum concept matching (MCM): the maximum softmax probability of the cosine similarities at
/// temperature 1.
///
/// It is MSP without the scale factor of the logits, so it does not saturate. Source: Ming et al.,
/// 2022, <https://arxiv.org/abs/2211.13445>.
#[derive(Debug, Clone, Copy)]
pub struct Mcm;

impl Score for Mcm {
    fn name(&self) -> &'static str {
        "mcm"
    }

    fn display_name(&self) -> &'static str {
        "MCM"
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
        row.finite_yes().map_or(f32::NAN, |yes| {
            let cosines: Vec<f32> = yes.iter().map(|v| v / row.scale as f32).collect();
            max_probability(&cosines)
        })
    }

    fn stable(&self, row: LogitsRow<'_, f64>) -> f64 {
        row.finite_yes().map_or(f64::NAN, |yes| {
            ln_max_probability(yes, argmax(yes), row.scale)
        })
    }

    fn from_stable(&self, value: f64) -> f64 {
        value.exp()
    }

    fn to_stable(&self, value: f64) -> f64 {
        value.ln()
    }
}
