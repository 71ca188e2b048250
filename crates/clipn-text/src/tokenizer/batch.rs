use super::{TokenizerError, VOCAB_SIZE};

/// Token ids of several texts, shape `[N, context_length]`, row by row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenBatch {
    ids: Vec<u32>,
    rows: usize,
    context_length: usize,
}

impl TokenBatch {
    /// Takes ids that lie row by row, shape `[N, context_length]`; no ids make an empty batch.
    ///
    /// The ids need not be CLIP's, for models with another vocabulary; [`TokenBatch::check_vocabulary`] holds
    /// them against CLIP's.
    ///
    /// # Errors
    /// [`TokenizerError::EmptyContext`] when `context_length` is 0, [`TokenizerError::RaggedBatch`] when the
    /// ids do not fill whole rows.
    pub fn new(ids: Vec<u32>, context_length: usize) -> Result<Self, TokenizerError> {
        if context_length == 0 {
            return Err(TokenizerError::EmptyContext);
        }
        if !ids.len().is_multiple_of(context_length) {
            return Err(TokenizerError::RaggedBatch {
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

    /// Rows that the tokenizer has made, all of the same length, which may be 0.
    pub(super) fn from_rows(ids: Vec<u32>, rows: usize, context_length: usize) -> Self {
        debug_assert_eq!(ids.len(), rows * context_length);
        Self {
            ids,
            rows,
            context_length,
        }
    }

    /// The number of texts, N.
    pub fn len(&self) -> usize {
        self.rows
    }

    /// Whether there is no text.
    pub fn is_empty(&self) -> bool {
        self.rows == 0
    }

    /// The number of ids a text.
    pub fn context_length(&self) -> usize {
        self.context_length
    }

    /// All ids, `[N, context_length]`, row by row.
    pub fn ids(&self) -> &[u32] {
        &self.ids
    }

    /// The ids of text `i`, `[context_length]`, or `None` past the last.
    pub fn row(&self, i: usize) -> Option<&[u32]> {
        if i >= self.rows {
            return None;
        }
        let start = i.checked_mul(self.context_length)?;
        self.ids.get(start..start.checked_add(self.context_length)?)
    }

    /// The texts in order, `[context_length]` each.
    pub fn rows(&self) -> impl ExactSizeIterator<Item = &[u32]> {
        // In range by construction: `ids` holds `rows` whole rows.
        (0..self.rows).map(|i| &self.ids[i * self.context_length..(i + 1) * self.context_length])
    }

    /// Checks that every id is one of CLIP's.
    ///
    /// # Errors
    /// [`TokenizerError::UnknownId`] naming the first that is not.
    pub fn check_vocabulary(&self) -> Result<(), TokenizerError> {
        match self.ids.iter().position(|&id| id as usize >= VOCAB_SIZE) {
            None => Ok(()),
            Some(at) => Err(TokenizerError::UnknownId {
                id: self.ids[at],
                row: at / self.context_length,
                position: at % self.context_length,
            }),
        }
    }
}

/// Where the text feature of a row is read: the first position of its largest id; 0 for an empty row.
///
/// That is the first end of text, also where a text holds a literal `<end_of_text>`, and the same rule serves
/// models with another vocabulary whose end of text is their largest id.
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
    fn the_first_of_the_largest_ids_counts() {
        assert_eq!(end_of_text_position(&[]), 0);
        assert_eq!(end_of_text_position(&[5]), 0);
        assert_eq!(end_of_text_position(&[1, 9, 2, 9, 0]), 1);
        assert_eq!(end_of_text_position(&[0, 0, 0]), 0);
    }

    #[test]
    fn a_batch_holds_whole_rows() {
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
    fn ragged_and_empty_rows_are_refused() {
        assert_eq!(
            TokenBatch::new(vec![1], 0),
            Err(TokenizerError::EmptyContext)
        );
        assert_eq!(
            TokenBatch::new(vec![1, 2, 3], 2),
            Err(TokenizerError::RaggedBatch {
                ids: 3,
                context_length: 2
            })
        );
    }

    #[test]
    fn foreign_ids_are_named() {
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
