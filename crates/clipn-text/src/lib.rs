//! Text for CLIP's text towers: the tokenizer that CLIP was trained with, prompts for zero-shot
//! classes, and words that are not the classes.
//!
//! ```text
//! class names ─┐
//!              ├─► prompts ──► clean (ftfy, HTML) ──► words ──► BPE ──► ids [N, 77]
//! templates ───┘
//! ```
//!
//! | module | for |
//! |---|---|
//! | [`tokenizer`] | text to token ids and back, identical to open_clip's tokenizer with ftfy 6.3.1 |
//! | [`prompts`] | templates such as `a photo of a {}.`, class names, and the two variants of CLIPN's "no" prompts |
//! | [`wordnet`] | WordNet's nouns and adjectives as candidates for negative labels |
//!
//! # Example
//!
//! ```
//! use clipn_text::prompts::{ClassNames, TemplateSet};
//! use clipn_text::tokenizer::{CONTEXT_LENGTH, Tokenizer};
//!
//! let classes = ClassNames::resolve("cat, great white shark")?;
//! let templates = TemplateSet::built_in("simple")?;
//! let prompts: Vec<String> = classes
//!     .iter()
//!     .map(|name| templates.yes()[0].fill(name))
//!     .collect();
//!
//! let tokens = Tokenizer::clip().tokenize_batch(&prompts, CONTEXT_LENGTH);
//! assert_eq!(tokens.len(), 2);
//! assert_eq!(tokens.row(0).unwrap()[..7], [49406, 320, 1125, 539, 320, 2368, 269]);
//! # Ok::<(), clipn_text::prompts::PromptError>(())
//! ```
//!
//! The vocabulary, the published templates, the ImageNet class names and WordNet's words are built
//! in. The crate has no features.

pub mod prompts;
pub mod tokenizer;
pub mod wordnet;
