//! Zero-shot classifiers: class names and templates give two weight matrices, W_yes and W_no `[K,
//! D]`, and these give the logits of image features.
//!
//! [`build`] encodes the class names; [`Classifier::logits`] applies the result to image features.

mod build;
mod cosines;
mod error;
mod logits;

pub use build::{Classifier, PromptVariant, build};
pub use cosines::TextCosines;
pub use error::ClassifierError;
pub use logits::Logits;
