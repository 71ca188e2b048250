use num_traits::Float;

use super::softmax::max_value;
use super::{LogitsRow, Score};

/// Envisioned outlier exposure (EOE): `max_k p_k - beta max_j p_j` over the classes k and the
/// negatives j, with `p` the softmax of their cosine similarities at temperature 1.
///
/// The negatives, the labels that the paper lets a language model envision, form one group. Source:
/// Cao et al., 2024, <https://arxiv.org/abs/2406.00806>. The score is known by name but not part of
/// [`all`](super::all).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Eoe {
    beta: f64,
}

impl Eoe {
    /// Weight of the negatives in the paper.
    const BETA: f64 = 0.25;

    /// The score of the paper, with a weight `beta` of 0.25.
    pub const fn published() -> Self {
        Self { beta: Self::BETA }
    }

    /// Creates the score with another finite weight. Its name is `eoe-custom`, which
    /// [`by_name`](super::by_name) does not find.
    pub fn new(beta: f64) -> Self {
        Self { beta }
    }

    /// The maxima have the same denominator, so that one pass over the exponentials suffices.
    fn compute<T: Float>(&self, row: LogitsRow<'_, T>) -> Option<T> {
        let (yes, negatives) = (row.finite_yes()?, row.finite_negatives()?);
        let (scale, beta) = (T::from(row.scale)?, T::from(self.beta)?);
        let (best, worst) = (max_value(yes) / scale, max_value(negatives.logits) / scale);
        let top = best.max(worst);
        let all = yes.iter().chain(negatives.logits);
        let sum = all.fold(T::zero(), |sum, v| sum + (*v / scale - top).exp());
        Some(((best - top).exp() - beta * (worst - top).exp()) / sum)
    }
}

impl Score for Eoe {
    fn name(&self) -> &'static str {
        if *self == Self::published() {
            "eoe"
        } else {
            "eoe-custom"
        }
    }

    fn display_name(&self) -> &'static str {
        "EOE"
    }

    fn uses_no(&self) -> bool {
        false
    }

    fn uses_negatives(&self) -> bool {
        true
    }

    fn faithful(&self, row: LogitsRow<'_, f32>) -> f32 {
        self.compute(row).unwrap_or(f32::NAN)
    }

    /// Same as [`Score::faithful`] in `f64`: the difference may be negative, so it has no logarithm,
    /// and at temperature 1 it does not saturate.
    fn stable(&self, row: LogitsRow<'_, f64>) -> f64 {
        self.compute(row).unwrap_or(f64::NAN)
    }

    fn from_stable(&self, value: f64) -> f64 {
        value
    }

    fn to_stable(&self, value: f64) -> f64 {
        value
    }
}
