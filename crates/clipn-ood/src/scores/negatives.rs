/// Logits of one image against negatives: texts that name none of the classes.
///
/// Groups partition the negatives: group g is `logits[group_ends[g - 1]..group_ends[g]]`, and the
/// first begins at 0. Scores such as [`NegLabel`](super::NegLabel) compare the classes with one
/// group at a time, so the size of the groups decides how much the negatives weigh. Valid group
/// ends are strictly ascending and end with M; a score that uses negatives is NaN otherwise.
///
/// ```
/// use clipn_ood::scores::{LogitsRow, NegLabel, NegativeLogits, Score};
///
/// // Three negatives in two groups: 20 and 18, then 24.
/// let negatives = NegativeLogits::new(&[20.0, 18.0, 24.0], &[2, 3]);
/// let row = LogitsRow::new(&[25.0, 21.0], &[]).with_negatives(negatives);
/// assert!(NegLabel.faithful(row) > 0.8);
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct NegativeLogits<'a, T> {
    /// Logits of all negatives, `[M]`, with the scale factor of the classes' logits.
    pub logits: &'a [T],
    /// End of each group in `logits`, `[G]`.
    pub group_ends: &'a [usize],
}

impl<T> Default for NegativeLogits<'_, T> {
    /// No negatives.
    fn default() -> Self {
        Self::new(&[], &[])
    }
}

impl<'a, T> NegativeLogits<'a, T> {
    /// Creates negatives from their logits, `[M]`, and the ends of their groups, `[G]`.
    pub fn new(logits: &'a [T], group_ends: &'a [usize]) -> Self {
        Self { logits, group_ends }
    }

    /// Returns the number of negatives M.
    pub fn len(&self) -> usize {
        self.logits.len()
    }

    /// Whether there are no negatives.
    pub fn is_empty(&self) -> bool {
        self.logits.is_empty()
    }

    /// Whether the group ends are strictly ascending from above 0 to M.
    pub fn has_valid_groups(&self) -> bool {
        let starts = std::iter::once(&0).chain(self.group_ends);
        let ascending = starts.zip(self.group_ends).all(|(start, end)| start < end);
        ascending && self.group_ends.last().copied().unwrap_or(0) == self.logits.len()
    }

    /// Iterates over the groups, or over nothing if the group ends are invalid.
    pub fn groups(self) -> impl Iterator<Item = &'a [T]> + Clone {
        let ends = if self.has_valid_groups() {
            self.group_ends
        } else {
            &[]
        };
        let starts = std::iter::once(0).chain(ends.iter().copied());
        starts
            .zip(ends)
            .map(move |(start, &end)| &self.logits[start..end])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_partition_the_negatives() {
        let groups = |ends: &[usize]| -> Vec<Vec<f32>> {
            let negatives = NegativeLogits::new(&[1.0, 2.0, 3.0], ends);
            negatives.groups().map(<[f32]>::to_vec).collect()
        };
        assert_eq!(groups(&[3]), [vec![1.0, 2.0, 3.0]]);
        assert_eq!(groups(&[1, 3]), [vec![1.0], vec![2.0, 3.0]]);
        assert!(NegativeLogits::<f32>::default().has_valid_groups());
        for invalid in [
            &[][..],
            &[2],
            &[4],
            &[0, 3],
            &[2, 2, 3],
            &[3, 1],
            &[1, 3, 9],
        ] {
            assert!(groups(invalid).is_empty(), "{invalid:?}");
        }
    }
}
