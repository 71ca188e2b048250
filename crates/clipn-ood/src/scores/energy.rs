use super::softmax::{logsumexp, logsumexp_f32};
use super::{LOGIT_SCALE, LogitsRow, Score};

/// Energy: `ln(sum_j exp(yes_j))`, the negated free energy (Liu et al., 2020,
/// <https://arxiv.org/abs/2010.03759>).
#[derive(Debug, Clone, Copy)]
pub struct Energy;

impl Score for Energy {
    fn name(&self) -> &'static str {
        "energy"
    }

    fn display_name(&self) -> &'static str {
        "Energy"
    }

    fn uses_no(&self) -> bool {
        false
    }

    fn faithful(&self, row: LogitsRow<'_, f32>) -> f32 {
        row.finite_yes().map_or(f32::NAN, logsumexp_f32)
    }

    fn stable(&self, row: LogitsRow<'_, f64>) -> f64 {
        row.finite_yes()
            .map_or(f64::NAN, |yes| logsumexp(yes.iter().copied()))
    }

    fn from_stable(&self, value: f64) -> f64 {
        value
    }

    fn to_stable(&self, value: f64) -> f64 {
        value
    }
}

/// Energy of the hand-crafted variant: `ln(sum_j exp(100 yes_j - 100))`.
///
/// The logits already include the factor of 100, so the score is in effect 100 times MaxLogit. It
/// exists to reproduce that variant's results and is not part of [`all`](super::all).
#[derive(Debug, Clone, Copy)]
pub struct HandcraftedEnergy;

impl Score for HandcraftedEnergy {
    fn name(&self) -> &'static str {
        "energy-handcrafted"
    }

    fn display_name(&self) -> &'static str {
        "Energy (hand-crafted)"
    }

    fn uses_no(&self) -> bool {
        false
    }

    fn faithful(&self, row: LogitsRow<'_, f32>) -> f32 {
        let scale = LOGIT_SCALE as f32;
        row.finite_yes().map_or(f32::NAN, |yes| {
            logsumexp(yes.iter().map(|v| scale * v - scale))
        })
    }

    fn stable(&self, row: LogitsRow<'_, f64>) -> f64 {
        row.finite_yes().map_or(f64::NAN, |yes| {
            logsumexp(yes.iter().map(|v| LOGIT_SCALE * v - LOGIT_SCALE))
        })
    }

    fn from_stable(&self, value: f64) -> f64 {
        value
    }

    fn to_stable(&self, value: f64) -> f64 {
        value
    }
}
