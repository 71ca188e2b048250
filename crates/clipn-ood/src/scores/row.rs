use num_traits::Float;

use super::LOGIT_SCALE;
use super::softmax::{Usable, agreement, softmax};

/// The logits of one image, `scale` times its cosine with each class's text.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LogitsRow<'a, T> {
    /// Against the "yes" text of each class, `[K]`.
    pub yes: &'a [T],
    /// Against the "no" text of each class, `[K]`; may be empty for scores that do not use it.
    pub no: &'a [T],
    /// The factor between cosines and logits.
    pub scale: f64,
}

impl<'a, T: Float> LogitsRow<'a, T> {
    /// Pairs the "yes" and "no" logits of one image, `[K]` each, [`LOGIT_SCALE`] times the cosines.
    pub fn new(yes: &'a [T], no: &'a [T]) -> Self {
        Self {
            yes,
            no,
            scale: LOGIT_SCALE,
        }
    }

    /// The same logits as so many times the cosines.
    #[must_use]
    pub fn with_scale(self, scale: f64) -> Self {
        Self { scale, ..self }
    }

    /// The "yes" logits where there is at least one class and all are finite.
    pub(super) fn usable_yes(&self) -> Usable<&'a [T]> {
        (!self.yes.is_empty() && self.yes.iter().all(|v| v.is_finite())).then_some(self.yes)
    }

    /// Both kinds of logits where they pair up and all are finite.
    pub(super) fn usable(&self) -> Usable<(&'a [T], &'a [T])> {
        let yes = self.usable_yes()?;
        (self.no.len() == yes.len() && self.no.iter().all(|v| v.is_finite()))
            .then_some((yes, self.no))
    }
}

/// Softmax over the classes of the "yes" logits, `p [K]`, in the published `f32` arithmetic. NaN where
/// the logits are not all finite.
pub fn softmax_yes(row: LogitsRow<'_, f32>) -> Vec<f32> {
    match row.usable_yes() {
        Some(yes) => softmax(yes),
        None => vec![f32::NAN; row.yes.len()],
    }
}

/// Probability of "yes" against "no" for each class, `q [K]`, as the published two-way softmax in `f32`. A class whose
/// logits are not both finite, or that has no "no" logit, gets NaN.
pub fn q(row: LogitsRow<'_, f32>) -> Vec<f32> {
    let no = row.no.iter().copied().chain(std::iter::repeat(f32::NAN));
    let pairs = row.yes.iter().copied().zip(no);
    pairs
        .map(|(yes, no)| {
            if yes.is_finite() && no.is_finite() {
                agreement(yes, no)
            } else {
                f32::NAN
            }
        })
        .collect()
}

/// The class of the highest "yes" logit, the first of equals; NaN never wins, and no classes give 0.
pub fn predict<T: Float>(row: LogitsRow<'_, T>) -> usize {
    argmax(row.yes)
}

/// The `k` highest values of `p [K]` with their class indices, highest first, the lower index first among equals, NaN
/// last. Fewer where there are fewer classes.
pub fn top_k(p: &[f32], k: usize) -> Vec<(usize, f32)> {
    let mut ranked: Vec<(usize, f32)> = p.iter().copied().enumerate().collect();
    let order = |a: &(usize, f32), b: &(usize, f32)| {
        let by_value =
            b.1.partial_cmp(&a.1)
                .unwrap_or_else(|| a.1.is_nan().cmp(&b.1.is_nan()));
        by_value.then(a.0.cmp(&b.0))
    };
    if k < ranked.len() {
        ranked.select_nth_unstable_by(k, order);
        ranked.truncate(k);
    }
    ranked.sort_unstable_by(order);
    ranked
}

/// Index of the first greatest value; 0 where there is none.
pub(super) fn argmax<T: Float>(values: &[T]) -> usize {
    let mut best = 0;
    for (index, &value) in values.iter().enumerate() {
        if value > values[best] || (values[best].is_nan() && !value.is_nan()) {
            best = index;
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ties_go_to_the_first() {
        assert_eq!(predict(LogitsRow::new(&[1.0, 3.0, 3.0], &[])), 1);
        assert_eq!(
            predict(LogitsRow::new(&[f64::NAN, f64::NEG_INFINITY, -5.0], &[])),
            2
        );
        assert_eq!(predict::<f32>(LogitsRow::new(&[], &[])), 0);
        assert_eq!(
            top_k(&[0.2, 0.4, 0.4, 0.0], 3),
            [(1, 0.4), (2, 0.4), (0, 0.2)]
        );
        assert_eq!(top_k(&[0.2], 5), [(0, 0.2)]);
        assert_eq!(top_k(&[0.2, 0.4], 0), []);
        assert_eq!(top_k(&[f32::NAN, 0.1, 0.3], 2), [(2, 0.3), (1, 0.1)]);
    }

    #[test]
    fn no_logits_may_be_missing() {
        let row = LogitsRow::new(&[1.0_f32, 2.0], &[]);
        assert!(q(row).iter().all(|v| v.is_nan()));
        assert_eq!(softmax_yes(row).len(), 2);
        let row = LogitsRow::new(&[1.0_f32, f32::NAN], &[1.0, 0.0]);
        assert_eq!(q(row)[0], 0.5);
        assert!(q(row)[1].is_nan() && softmax_yes(row)[0].is_nan());
    }
}
