use super::grouped::{Mass, ln_mean_probability, mean_probability};
use super::softmax::logsumexp;
use super::{Atd, LogitsRow, Score};

/// Factor between cosine similarities and logits in the code of OLE.
const OLE_SCALE: f64 = 50.0;

/// Outlier label exposure (OLE): ATD at a logit scale of 50, with all negatives as one group in the
/// denominator of `p`.
///
/// `S = sum_k p_k q_k`, with `p` the softmax over the classes and the negatives and `q_k` the
/// probability of "yes" against "no" for class `k`, both of 50 times the cosines. Source: Ding and
/// Pang, 2024, <https://arxiv.org/abs/2406.01170>. The score uses the negatives that it is given;
/// the paper's choice of outliers is not part of it. It is known by name but not part of
/// [`all`](super::all); [`AtdNeg`](super::AtdNeg) is its form with groups.
#[derive(Debug, Clone, Copy)]
pub struct Ole;

impl Score for Ole {
    fn name(&self) -> &'static str {
        "ole"
    }

    fn display_name(&self) -> &'static str {
        "OLE"
    }

    fn uses_no(&self) -> bool {
        true
    }

    fn uses_negatives(&self) -> bool {
        true
    }

    fn faithful(&self, row: LogitsRow<'_, f32>) -> f32 {
        let (Some((yes, no)), Some(negatives)) = (row.finite_pair(), row.finite_negatives()) else {
            return f32::NAN;
        };
        let factor = (OLE_SCALE / row.scale) as f32;
        let rescale = |values: &[f32]| values.iter().map(|v| v * factor).collect::<Vec<f32>>();
        let (yes, no, negatives) = (rescale(yes), rescale(no), rescale(negatives.logits));
        let classes = mean_probability(Mass::new(&yes), None, std::iter::once(&negatives[..]));
        Atd.faithful(LogitsRow::new(&yes, &no)) * classes
    }

    fn stable(&self, row: LogitsRow<'_, f64>) -> f64 {
        let (Some((yes, no)), Some(negatives)) = (row.finite_pair(), row.finite_negatives()) else {
            return f64::NAN;
        };
        let factor = OLE_SCALE / row.scale;
        let rescale = |values: &[f64]| values.iter().map(|v| v * factor).collect::<Vec<f64>>();
        let (yes, no) = (rescale(yes), rescale(no));
        let negatives = logsumexp(negatives.logits.iter().map(|v| v * factor));
        let classes = ln_mean_probability(
            logsumexp(yes.iter().copied()),
            f64::NEG_INFINITY,
            std::iter::once(negatives),
        );
        Atd.stable(LogitsRow::new(&yes, &no)) + classes
    }

    fn from_stable(&self, value: f64) -> f64 {
        value.exp()
    }

    fn to_stable(&self, value: f64) -> f64 {
        value.ln()
    }
}
