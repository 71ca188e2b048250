/// What can be wrong with rows of token ids that come from elsewhere.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenizerError {
    /// A batch needs rows of at least one id.
    #[error(
        "a context length of 0 leaves no room for any token; use the model's context length (77 for CLIP)"
    )]
    EmptyContext,
    /// The ids do not fill whole rows.
    #[error(
        "{ids} token ids do not fill whole rows of {context_length}; \
         pass N x {context_length} ids, each row padded with 0"
    )]
    RaggedBatch {
        /// How many ids were given.
        ids: usize,
        /// The length of a row.
        context_length: usize,
    },
    /// An id lies outside the vocabulary.
    #[error(
        "token id {id} in row {row} at position {position} is outside CLIP's vocabulary of 49408 ids \
         (0 to 49407); tokenize the text with `Tokenizer::clip()`"
    )]
    UnknownId {
        /// The id.
        id: u32,
        /// Its row in the batch.
        row: usize,
        /// Its position in the row.
        position: usize,
    },
}
