use num_traits::Float;

use super::softmax::{all_finite, softmax, two_way_softmax};
use super::{FittedValues, LOGIT_SCALE, LocalLogits, NegativeLogits};

/// Logits of one image: `scale` times the cosine similarity with the text feature of each class.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LogitsRow<'a, T> {
    /// "Yes" logits, `[K]`.
    pub yes: &'a [T],
    /// "No" logits, `[K]`, or empty for scores that do not use them.
    pub no: &'a [T],
    /// Logits of the negatives, or empty for scores that do not use them.
    pub negatives: NegativeLogits<'a, T>,
    /// Logits of patches of the image, or empty for scores that do not use them.
    pub local: LocalLogits<'a, T>,
    /// Values of the scores that are fitted to images, or `None` if there are none.
    pub fitted: Option<&'a FittedValues>,
    /// Factor between cosine similarities and logits.
    pub scale: f64,
}

impl<'a, T> LogitsRow<'a, T> {
    /// Creates a row from the "yes" and "no" logits of one image, `[K]` each, without negatives or
    /// patches, and with the factor [`LOGIT_SCALE`].
    pub fn new(yes: &'a [T], no: &'a [T]) -> Self {
        Self {
            yes,
            no,
            negatives: NegativeLogits::default(),
            local: LocalLogits::default(),
            fitted: None,
            scale: LOGIT_SCALE,
        }
    }

    /// Replaces the negatives.
    #[must_use]
    pub fn with_negatives(self, negatives: NegativeLogits<'a, T>) -> Self {
        Self { negatives, ..self }
    }

    /// Replaces the logits of the patches.
    #[must_use]
    pub fn with_local(self, local: LocalLogits<'a, T>) -> Self {
        Self { local, ..self }
    }

    /// Sets the values of the fitted scores.
    #[must_use]
    pub fn with_fitted(self, fitted: impl Into<Option<&'a FittedValues>>) -> Self {
        Self {
            fitted: fitted.into(),
            ..self
        }
    }

    /// Replaces the factor between cosine similarities and logits; the logits stay the same.
    #[must_use]
    pub fn with_scale(self, scale: f64) -> Self {
        Self { scale, ..self }
    }
}

impl<'a, T: Float> LogitsRow<'a, T> {
    /// Whether there is a class and all logits, of the negatives and patches too, are finite. Rows of damaged weights
    /// are not, and no decision can be based on them.
    pub fn is_finite(&self) -> bool {
        let LocalLogits {
            yes, no, negatives, ..
        } = self.local;
        let rest = [self.no, self.negatives.logits, yes, no, negatives];
        self.finite_yes().is_some() && rest.into_iter().all(all_finite)
    }

    /// The "yes" logits if there is at least one class and all are finite.
    pub(super) fn finite_yes(&self) -> Option<&'a [T]> {
        (!self.yes.is_empty() && all_finite(self.yes)).then_some(self.yes)
    }

    /// The "yes" and "no" logits if both have the same length and all are finite.
    pub(super) fn finite_pair(&self) -> Option<(&'a [T], &'a [T])> {
        let yes = self.finite_yes()?;
        (self.no.len() == yes.len() && all_finite(self.no)).then_some((yes, self.no))
    }

    /// The "yes" logits of each patch, `[K]`, if there is at least one patch and all are finite.
    pub(super) fn finite_local(&self) -> Option<std::slice::ChunksExact<'a, T>> {
        let classes = self.yes.len();
        let local = self.local.yes;
        let is_usable = classes > 0
            && !local.is_empty()
            && local.len().is_multiple_of(classes)
            && all_finite(local);
        is_usable.then(|| local.chunks_exact(classes))
    }

    /// The negatives if there is at least one, all are finite and their groups are valid.
    pub(super) fn finite_negatives(&self) -> Option<NegativeLogits<'a, T>> {
        let negatives = self.negatives;
        (!negatives.is_empty() && negatives.has_valid_groups() && all_finite(negatives.logits))
            .then_some(negatives)
    }
}

/// Computes the softmax of the "yes" logits over the classes, `p [K]`, in the published `f32`
/// arithmetic. All values are NaN unless all logits are finite.
pub fn softmax_yes(row: LogitsRow<'_, f32>) -> Vec<f32> {
    match row.finite_yes() {
        Some(yes) => softmax(yes),
        None => vec![f32::NAN; row.yes.len()],
    }
}

/// Computes the probability of "yes" against "no" for each class, `[K]` (`q` in the paper), with
/// the published two-way softmax in `f32`. It is NaN for a class without a "no" logit or with a
/// logit that is not finite.
pub fn agreement(row: LogitsRow<'_, f32>) -> Vec<f32> {
    let no = row.no.iter().copied().chain(std::iter::repeat(f32::NAN));
    let pairs = row.yes.iter().copied().zip(no);
    pairs
        .map(|(yes, no)| {
            if yes.is_finite() && no.is_finite() {
                two_way_softmax(yes, no)
            } else {
                f32::NAN
            }
        })
        .collect()
}

/// Returns the class with the highest "yes" logit. Ties go to the first class, NaN never wins, and
/// the result is 0 without classes.
pub fn predict<T: PartialOrd + Copy>(row: LogitsRow<'_, T>) -> usize {
    argmax(row.yes)
}

/// Returns the `k` highest values of `p [K]` with their class indices, or all of them if there are
/// fewer. The highest comes first; ties go to the lower index, and NaN comes last.
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

/// Index of the first maximum, or 0 without values. NaN never wins.
pub(crate) fn argmax<T: PartialOrd + Copy>(values: &[T]) -> usize {
    let is_nan = |value: T| value.partial_cmp(&value).is_none();
    let mut best = 0;
    for (index, &value) in values.iter().enumerate() {
        if value > values[best] || (is_nan(values[best]) && !is_nan(value)) {
            best = index;
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ties_go_to_the_first_class() {
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
    fn missing_no_logits_give_nan() {
        let row = LogitsRow::new(&[1.0_f32, 2.0], &[]);
        assert!(agreement(row).iter().all(|v| v.is_nan()));
        assert_eq!(softmax_yes(row).len(), 2);
        let row = LogitsRow::new(&[1.0_f32, f32::NAN], &[1.0, 0.0]);
        assert_eq!(agreement(row)[0], 0.5);
        assert!(agreement(row)[1].is_nan() && softmax_yes(row)[0].is_nan());
    }
}
