use super::row::argmax;
use super::softmax::{ln_sigmoid, logsumexp, max_value};
use super::{LogitsRow, Score};

/// Concept matching with agents (CMA): the maximum over the classes of the softmax of the cosine
/// similarities over the classes and the negatives, at temperature 1.
///
/// The negatives, the paper's "agents", form one group. At temperature 1 all terms are of like
/// size, so the number of the negatives weighs more than their similarity. Source: Lee et al., 2025,
/// <https://arxiv.org/abs/2405.16766>. The paper takes five prompts such as `a photo of a
/// thing.`, repeated until they are as many as the classes. The score is known by name but not part
/// of [`all`](super::all).
#[derive(Debug, Clone, Copy)]
pub struct Cma;

impl Score for Cma {
    fn name(&self) -> &'static str {
        "cma"
    }

    fn display_name(&self) -> &'static str {
        "CMA"
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
        let (Some(yes), Some(negatives)) = (row.finite_yes(), row.finite_negatives()) else {
            return f32::NAN;
        };
        let cosine = |v: f32| v / row.scale as f32;
        let winner = cosine(max_value(yes));
        let top = winner.max(cosine(max_value(negatives.logits)));
        let all = yes.iter().chain(negatives.logits);
        let sum: f32 = all.map(|v| (cosine(*v) - top).exp()).sum();
        (winner - top).exp() / sum
    }

    /// Computes the logarithm as `ln(sigmoid(a - b))`, with a the best class's cosine and b the
    /// log-sum-exp of all others.
    fn stable(&self, row: LogitsRow<'_, f64>) -> f64 {
        let (Some(yes), Some(negatives)) = (row.finite_yes(), row.finite_negatives()) else {
            return f64::NAN;
        };
        let winner = argmax(yes);
        let others = yes[..winner].iter().chain(&yes[winner + 1..]);
        let others = others.chain(negatives.logits).map(|v| v / row.scale);
        ln_sigmoid(yes[winner] / row.scale - logsumexp(others))
    }

    fn from_stable(&self, value: f64) -> f64 {
        value.exp()
    }

    fn to_stable(&self, value: f64) -> f64 {
        value.ln()
    }
}
