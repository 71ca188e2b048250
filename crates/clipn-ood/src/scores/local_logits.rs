/// Logits of P patches of one image, row by row of their grid.
///
/// ```
/// use clipn_ood::scores::{LMcm, LocalLogits, LogitsRow, Score};
///
/// // Two patches of an image, and two classes.
/// let local = LocalLogits::new(&[20.0, 20.0, 10.0, 30.0]);
/// let row = LogitsRow::new(&[20.0, 21.0], &[]).with_local(local);
/// assert!(LMcm.faithful(row) > 0.54);
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LocalLogits<'a, T> {
    /// "Yes" logits, `[P, K]`.
    pub yes: &'a [T],
    /// "No" logits, `[P, K]`, or empty; no score uses them.
    pub no: &'a [T],
    /// Log-sum-exp of the logits of all negatives, `[P]`, or empty; no score uses it.
    pub negatives: &'a [T],
    /// Number of patches in a row of the grid; 0 if it is not known.
    pub columns: usize,
}

impl<T> Default for LocalLogits<'_, T> {
    /// No patches.
    fn default() -> Self {
        Self::new(&[])
    }
}

impl<'a, T> LocalLogits<'a, T> {
    /// Creates the logits from those of "yes", `[P, K]`.
    pub fn new(yes: &'a [T]) -> Self {
        Self {
            yes,
            no: &[],
            negatives: &[],
            columns: 0,
        }
    }
}
