use super::row::argmax;
use super::softmax::{ln_sigmoid, two_way_softmax};
use super::{LogitsRow, Score};

/// Competing-to-win (CTW): `q_c`, the probability of "yes" against "no" for the class `c` with the
/// highest "yes" logit.
///
/// Source: CLIPN (Wang et al., 2023, <https://arxiv.org/abs/2308.12213>); the hand-crafted code
/// calls it `YN`.
#[derive(Debug, Clone, Copy)]
pub struct Ctw;

impl Score for Ctw {
    fn name(&self) -> &'static str {
        "ctw"
    }

    fn display_name(&self) -> &'static str {
        "CTW"
    }

    fn uses_no(&self) -> bool {
        true
    }

    fn is_probability(&self) -> bool {
        true
    }

    fn faithful(&self, row: LogitsRow<'_, f32>) -> f32 {
        row.finite_pair().map_or(f32::NAN, |(yes, no)| {
            let winner = argmax(yes);
            two_way_softmax(yes[winner], no[winner])
        })
    }

    fn stable(&self, row: LogitsRow<'_, f64>) -> f64 {
        row.finite_pair().map_or(f64::NAN, |(yes, no)| {
            let winner = argmax(yes);
            ln_sigmoid(yes[winner] - no[winner])
        })
    }

    fn from_stable(&self, value: f64) -> f64 {
        value.exp()
    }

    fn to_stable(&self, value: f64) -> f64 {
        value.ln()
    }
}
