use num_traits::Float;

use super::{AtdNeg, LogitsRow, NegativeLogits, Score};

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

    fn is_probability(&self) -> bool {
        true
    }

    fn faithful(&self, row: LogitsRow<'_, f32>) -> f32 {
        rescaled(row, |row| AtdNeg.faithful(row)).unwrap_or(f32::NAN)
    }

    fn stable(&self, row: LogitsRow<'_, f64>) -> f64 {
        rescaled(row, |row| AtdNeg.stable(row)).unwrap_or(f64::NAN)
    }

    fn from_stable(&self, value: f64) -> f64 {
        value.exp()
    }

    fn to_stable(&self, value: f64) -> f64 {
        value.ln()
    }
}

/// Passes the row at the scale of OLE, with its negatives in one group, to `compute`.
fn rescaled<T: Float>(row: LogitsRow<'_, T>, compute: impl Fn(LogitsRow<'_, T>) -> T) -> Option<T> {
    let ((yes, no), negatives) = (row.finite_pair()?, row.finite_negatives()?);
    let factor = T::from(OLE_SCALE / row.scale)?;
    let rescale = |values: &[T]| values.iter().map(|v| *v * factor).collect::<Vec<T>>();
    let (yes, no, negatives) = (rescale(yes), rescale(no), rescale(negatives.logits));
    let ends = [negatives.len()];
    let negatives = NegativeLogits::new(&negatives, &ends);
    Some(compute(LogitsRow::new(&yes, &no).with_negatives(negatives)))
}
