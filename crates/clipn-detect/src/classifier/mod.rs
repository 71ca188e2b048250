//! Zero-shot classifiers: class names and templates give two weight matrices, W_yes and W_no `[K,
//! D]`, and these give the logits of image features.
//!
//! [`ClassifierBuilder`] encodes class names with the text towers of a model;
//! [`Classifier::logits`] applies the result to image features.
//!
//! ```
//! use clipn_detect::classifier::ClassifierBuilder;
//! use clipn_model::PretrainedWeights;
//!
//! let mini = PretrainedWeights::mini()?;
//! let classifier = ClassifierBuilder::new(["school bus", "pizza"])
//!     .with_metadata(&mini.metadata())
//!     .build(&mini.weights(None)?)?;
//! assert_eq!(classifier.len(), 2);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod attached;
mod attached_fit;
mod builder;
mod built;
mod cosines;
mod encode;
mod error;
mod logits;
mod matrices;
mod prompts;
mod side;

pub use builder::ClassifierBuilder;
pub use built::{BuiltClassifier, TruncatedClass, UnseenClass};
pub use clipn_text::prompts::PromptVariant;
pub use cosines::TextCosines;
pub use error::ClassifierError;
pub use logits::Logits;
pub use matrices::Classifier;
pub use prompts::ClassPrompts;
