//! CLIP's byte-pair-encoding (BPE) tokenizer: text in, token ids for the text towers out.
//!
//! [`Tokenizer::tokenize`] cleans a text ([`clean`]), splits it into words and merges the bytes of
//! each word by BPE. It returns a row of fixed length: [`START_OF_TEXT`], the text,
//! [`END_OF_TEXT`], then zeros.
//!
//! ```text
//! "A photo of a cafÃ©" ──clean──► "a photo of a café" ──split──► a | photo | of | a | café
//!   ──BPE──► [320, 1125, 539, 320, 15304] ──pad──► [49406, 320, 1125, …, 49407, 0, 0]
//! ```
//!
//! ```
//! use clipn_text::tokenizer::Tokenizer;
//!
//! let tokenizer = Tokenizer::clip();
//! let row = tokenizer.tokenize("a photo of a cat", 8);
//! assert_eq!(row, [49406, 320, 1125, 539, 320, 2368, 49407, 0]);
//! assert_eq!(tokenizer.decode(&row), "a photo of a cat");
//! ```
mod batch;
mod bpe;
mod cleaning;
mod clip_tokenizer;
mod error;
mod vocabulary;

pub use batch::{TokenBatch, end_of_text_position};
pub use cleaning::clean;
pub use clip_tokenizer::{TokenRow, Tokenizer};
pub use error::TokenizerError;

/// Token id at the start of every text.
pub const START_OF_TEXT: u32 = 49406;
/// Token id at the end of every text. It is the largest id of the vocabulary, and the text tower
/// reads its feature at this position.
pub const END_OF_TEXT: u32 = 49407;
/// Context length of every published CLIP model, in tokens.
pub const CONTEXT_LENGTH: usize = 77;
/// Number of token ids: 512 for bytes, 48,894 for merges and 2 for the start and the end of text.
pub const VOCAB_SIZE: usize = 49408;
/// Maximum length of a row of [`Tokenizer::tokenize`]. A larger context length is clamped to it, so
/// that a value from a corrupt model config cannot exhaust memory.
pub const MAX_CONTEXT_LENGTH: usize = 65_536;
