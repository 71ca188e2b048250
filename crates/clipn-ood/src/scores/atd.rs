use super::softmax::{agreement, greatest, ln_sigmoid, logsumexp, sigmoid, softmax};
use super::{LogitsRow, Score};

/// Agreeing-to-differ: `sum_j p_j q_j`, the share of the softmax `p` that the "no" side agrees to, `q_j` being the
/// probability of "yes" against "no" (CLIPN; `C+1` in the hand-crafted code). The rest, `1 - ATD`, is the probability
/// of the extra class "none of these".
#[derive(Debug, Clone, Copy)]
pub struct Atd;

impl Score for Atd {
    fn name(&self) -> &'static str {
        "atd"
    }

    fn title(&self) -> &'static str {
        "ATD"
    }

    fn uses_no(&self) -> bool {
        true
    }

    fn faithful(&self, row: LogitsRow<'_, f32>) -> f32 {
        agreed(row).map_or(f32::NAN, |agreed| agreed.iter().sum())
    }

    /// `ln(1 - u)` with `u = sum_j p_j (1 - q_j)` while `u` is the smaller part, and the difference of two
    /// log-sum-exps where the score itself is: each is precise where the other cancels.
    fn stable(&self, row: LogitsRow<'_, f64>) -> f64 {
        row.usable().map_or(f64::NAN, |(yes, no)| {
            let rejected = rejected_share(yes, no);
            if rejected < 0.5 {
                return (-rejected).ln_1p();
            }
            let agreed = yes.iter().zip(no).map(|(y, n)| y + ln_sigmoid(y - n));
            logsumexp(agreed) - logsumexp(yes.iter().copied())
        })
    }

    fn from_stable(&self, value: f64) -> f64 {
        value.exp()
    }

    fn to_stable(&self, value: f64) -> f64 {
        value.ln()
    }
}

/// `p_j q_j` for each class in the published `f32` arithmetic, `[K]`.
pub(super) fn agreed(row: LogitsRow<'_, f32>) -> Option<Vec<f32>> {
    let (yes, no) = row.usable()?;
    let mut p = softmax(yes);
    for ((p, &y), &n) in p.iter_mut().zip(yes).zip(no) {
        *p *= agreement(y, n);
    }
    Some(p)
}

/// `sum_j p_j (1 - q_j)`, the probability of the extra class, with relative precision however small it is.
fn rejected_share(yes: &[f64], no: &[f64]) -> f64 {
    let top = greatest(yes);
    let (mut rejected, mut all) = (0.0, 0.0);
    for (y, n) in yes.iter().zip(no) {
        let weight = (y - top).exp();
        rejected += weight * sigmoid(n - y);
        all += weight;
    }
    rejected / all
}
