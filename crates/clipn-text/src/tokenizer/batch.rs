use super::{TokenizerError, VOCAB_SIZE};

/// Token ids of N texts, `[N, context_length]`, in row-major order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenBatch {
    ids: Vec<u32>,
    rows: usize,
    context_length: usize,
}

impl TokenBatch {
    /// Creates a batch from row-major ids, `[N, context_length]`. Without ids, the batch is empty.
    ///
    /// The ids may belong to another vocabulary than CLIP's; [`TokenBatch::check_vocabulary`]
    /// checks that they are CLIP's.
    ///
    /// # Errors
    /// [`TokenizerError::ZeroContextLength`] if `context_length` is 0, and
    /// [`TokenizerError::RaggedIds`] if the number of ids is not a multiple of it.
    pub fn new(ids: Vec<u32>, context_length: usize) -> Result<Self, TokenizerError> {
        if context_length == 0 {
            return Err(TokenizerError::ZeroContextLength);
        }
        if !ids.len().is_multiple_of(context_length) {
            return Err(TokenizerError::RaggedIds {
                ids: ids.len(),
                context_length,
            });
        }
        let rows = ids.len() / context_length;
        Ok(Self {
            ids,
            rows,
            context_length,
        })
    }

    /// Creates a batch from rows of the tokenizer. Unlike [`TokenBatch::new`], it allows a
    /// `context_length` of 0.
    pub(super) fn from_rows(ids: Vec<u32>, rows: usize, context_length: usize) -> Self {
        debug_assert_eq!(ids.len(), rows * context_length);
        Self {
            ids,
            rows,
            context_length,
        }
    }

    /// Number of texts, N.
    pub fn len(&self) -> usize {
        self.rows
    }

    /// Whether the batch contains no texts.
    pub fn is_empty(&self) -> bool {
        self.rows == 0
    }

    /// Number of ids per text.
    pub fn context_length(&self) -> usize {
        self.context_length
    }

    /// All ids, `[N, context_length]`, in row-major order.
    pub fn ids(&self) -> &[u32] {
        &self.ids
    }

    /// Ids of text `i`, `[context_length]`, or `None` if there are fewer texts.
    pub fn row(&self, i: usize) -> Option<&[u32]> {
        if i >= self.rows {
            return None;
        }
        let start = i.checked_mul(self.context_length)?;
        self.ids.get(start..start.checked_add(self.context_length)?)
    }

    /// Iterates over the rows in order, `[context_length]` each.
    pub fn rows(&self) -> impl ExactSizeIterator<Item = &[u32]> {
        // In bounds by construction: `ids` contains exactly `rows` rows.
        (0..self.rows).map(|i| &self.ids[i * self.context_length..(i + 1) * self.context_length])
    }

    /// Checks that every id is below [`VOCAB_SIZE`].
    ///
    /// # Errors
    /// [`TokenizerError::UnknownId`] with the first id that is not.
    pub fn check_vocabulary(&self) -> Result<(), TokenizerError> {
        match self.ids.iter().position(|&id| id as usize >= VOCAB_SIZE) {
            None => Ok(()),
            Some(index) => Err(TokenizerError::UnknownId {
                id: self.ids[index],
                row: index / self.context_length,
                position: index % self.context_length,
            }),
        }
    }
}

/// Position in a row at which the text feature is read: the first position of the largest id, or 0
/// for an empty row.
///
/// That is the first end of text, even if the text itself contains a literal `<end_of_text>`. The
/// rule also holds for every other vocabulary whose largest id is the end of text.
pub fn end_of_text_position(ids: &[u32]) -> usize {
    let mut best = 0;
    for (i, id) in ids.iter().enumerate() {
        if *id > ids[best] {
            best = i;
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn end_of_text_is_the_first_of_the_largest_ids() {
        assert_eq!(end_of_text_position(&[]), 0);
        assert_eq!(end_of_text_position(&[5]), 0);
        assert_eq!(end_of_text_position(&[1, 9, 2, 9, 0]), 1);
        assert_eq!(end_of_text_position(&[0, 0, 0]), 0);
    }

    #[test]
    fn splits_ids_into_rows() {
        let batch = TokenBatch::new(vec![1, 2, 3, 4, 5, 6], 3).unwrap();
        assert_eq!(
            (batch.len(), batch.context_length(), batch.is_empty()),
            (2, 3, false)
        );
        assert_eq!(
            batch.rows().collect::<Vec<_>>(),
            [&[1, 2, 3][..], &[4, 5, 6]]
        );
        assert_eq!(batch.row(1), Some(&[4, 5, 6][..]));
        assert_eq!(batch.row(2), None);
        assert_eq!(batch.row(usize::MAX), None);
        assert!(TokenBatch::new(vec![], 3).unwrap().is_empty());
    }

    #[test]
    fn rejects_ragged_and_empty_rows() {
        assert_eq!(
            TokenBatch::new(vec![1], 0),
            Err(TokenizerError::ZeroContextLength)
        );
        assert_eq!(
            TokenBatch::new(vec![1, 2, 3], 2),
            Err(TokenizerError::RaggedIds {
                ids: 3,
                context_length: 2
            })
        );
    }

    #[test]
    fn reports_the_first_id_outside_the_vocabulary() {
        let batch = TokenBatch::new(vec![1, 2, 49407, 49408], 2).unwrap();
        assert_eq!(
            batch.check_vocabulary(),
            Err(TokenizerError::UnknownId {
                id: 49408,
                row: 1,
                position: 1
            })
        );
        assert_eq!(
            TokenBatch::new(vec![49407, 0], 2)
                .unwrap()
                .check_vocabulary(),
            Ok(())
        );
    }
}
