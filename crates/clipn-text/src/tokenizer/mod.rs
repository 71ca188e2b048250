//! CLIP's tokenizer: from any text to the ids that the text towers take.
//!
//! A text is cleaned ([`clean`]), split into words, each word's bytes merged by byte-pair encoding, and the
//! ids laid in a row of fixed length between [`START_OF_TEXT`] and [`END_OF_TEXT`] ([`Tokenizer::tokenize`]).
mod batch;
mod bpe;
mod cleaning;
mod clip;
mod error;
mod vocabulary;

pub use batch::{TokenBatch, end_of_text_position};
pub use cleaning::clean;
pub use clip::Tokenizer;
pub use error::TokenizerError;

/// The id that opens every text.
pub const START_OF_TEXT: u32 = 49406;
/// The id that closes every text: the largest of the vocabulary, and the place where the text feature is
/// read.
pub const END_OF_TEXT: u32 = 49407;
/// The length of a row of ids in every published CLIP model.
pub const CONTEXT_LENGTH: usize = 77;
/// The number of ids: 512 for bytes, 48,894 for merges, two markers.
pub const VOCAB_SIZE: usize = 49408;
/// The longest row that [`Tokenizer::tokenize`] makes; a larger context length is taken as this one, so that
/// a figure read from a damaged model config cannot exhaust the memory.
pub const MAX_CONTEXT_LENGTH: usize = 65_536;
