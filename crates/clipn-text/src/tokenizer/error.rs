/// Errors for token ids that the caller supplies.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TokenizerError {
    /// The context length is 0.
    #[error("expected a context length of at least 1, got 0")]
    ZeroContextLength,
    /// The number of ids is not a multiple of the context length.
    #[error("expected a multiple of {context_length} token ids, got {ids}")]
    RaggedIds {
        /// Number of ids.
        ids: usize,
        /// Ids per row.
        context_length: usize,
    },
    /// An id is outside CLIP's vocabulary of [`VOCAB_SIZE`](super::VOCAB_SIZE) ids.
    #[error(
        "token id {id} at row {row}, position {position} is outside CLIP's vocabulary \
         of 49408 ids"
    )]
    UnknownId {
        /// Unknown id.
        id: u32,
        /// Row in the batch, from 0.
        row: usize,
        /// Position in the row, from 0.
        position: usize,
    },
}

impl TokenizerError {
    /// Advice for the caller, if there is any beyond the message.
    pub fn hint(&self) -> Option<&'static str> {
        Some(match self {
            Self::ZeroContextLength => "use the context length of the model, 77 for CLIP",
            Self::RaggedIds { .. } => "pad each row with zeros to the context length",
            Self::UnknownId { .. } => "tokenize the text with `Tokenizer::clip()`",
        })
    }
}
