//! Negatives: words that are no class. An image that resembles them more than the classes is unknown.
//!
//! They make any CLIP able to reject, without a "no" tower and without training (NegLabel,
//! <https://arxiv.org/abs/2403.20078>). [`NegativesBuilder`] chooses the words that are least similar
//! to the classes and groups them; the score of an image is the mean over groups of the probability that
//! the classes have among the classes and the negatives of the group.
//!
//! ```text
//! words ── templates ──► "yes" text tower ──► rows [N, D] ── choice ──► groups ──► Negatives [M, D]
//!                        WordFeatureCache                    ▲
//! W_yes [K, D] ──────────────────────────────────────────────┘
//! ```
//!
//! ```
//! use clipn_detect::classifier::ClassifierBuilder;
//! use clipn_detect::negatives::{NegativeSource, NegativesBuilder};
//! use clipn_engine::TextEncoder;
//! use clipn_model::{PretrainedWeights, TextSide};
//! use clipn_text::prompts::Template;
//!
//! let mini = PretrainedWeights::mini()?;
//! let weights = mini.weights(None)?;
//! let classifier = ClassifierBuilder::new(["school bus", "pizza"])
//!     .with_metadata(&mini.metadata())
//!     .build(&weights)?;
//!
//! let tower = TextEncoder::from_weights(&weights, TextSide::Yes);
//! let built = NegativesBuilder::new(&NegativeSource::list("goldfish, teapot"))
//!     .with_list_templates(vec![Template::parse("a photo of a {}.")?])
//!     .build(classifier.yes_weights(), &tower)?;
//! assert_eq!(built.negatives.words(), ["goldfish", "teapot"]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod builder;
mod cache;
pub mod choice;
mod encode;
mod error;
mod file;
mod half_rows;
mod origin;
mod rows;
mod source;

pub use builder::{BuiltNegatives, NegativesBuilder};
pub use cache::{CacheOutcome, CachedRows, CachedWords, WordFeatureCache, WordList};
pub use encode::{TemplateJoin, encode_words};
pub use error::NegativesError;
pub use file::NegativesMetadata;
pub use origin::{NegativesOrigin, Selection};
pub use rows::Negatives;
pub use source::NegativeSource;
