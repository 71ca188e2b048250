//! Words that are not the classes: the nouns and adjectives of WordNet 3.0 as candidates for
//! negative labels.
//!
//! A plain CLIP rejects unknown images if they are more like such words than like the classes
//! ("Negative Label Guided OOD Detection with Pretrained Vision-Language Models", Jiang et al.,
//! ICLR 2024, <https://arxiv.org/abs/2403.20078>). A [`Corpus`] selects the [`Candidates`].
//! [`WordNet::exclusions`] finds those that describe images of a class, to leave them out.
//!
//! ```
//! use clipn_text::wordnet::{Corpus, WordNet};
//!
//! let classes = ["dog", "sofa"].map(str::to_owned);
//! let exclusions = WordNet::get().exclusions(&classes);
//! let mut candidates = Corpus::WordNet.candidates(0);
//! let counts = candidates.exclude(&exclusions);
//!
//! // Synonyms of a class, everything below it and everything above it describe its images.
//! for word in ["dog", "couch", "poodle", "animal"] {
//!     assert!(!candidates.nouns.iter().any(|noun| noun == word), "{word}");
//! }
//! assert!(candidates.nouns.iter().any(|noun| noun == "wolf"));
//! assert!(counts.total() > 200 && candidates.nouns.len() > 50_000);
//! ```
//!
//! Source of the words: WordNet 3.0, Copyright 2006 by Princeton University, under its own license
//! (`assets/wordnet/LICENSE`).

mod asset;
mod candidates;
mod corpus;
mod database;
mod error;
mod exclusions;
mod lex_file;
mod morphology;

pub use candidates::Candidates;
pub use corpus::{
    Corpus, NEGLABEL_CODE_ADJECTIVE_TEMPLATE, NEGLABEL_CODE_NOUN_TEMPLATE, SUPERCLASSES,
};
pub use database::{Synset, WordNet};
pub use error::WordNetError;
pub use exclusions::{ExclusionCounts, ExclusionReason, Exclusions};
pub use lex_file::LexFile;
