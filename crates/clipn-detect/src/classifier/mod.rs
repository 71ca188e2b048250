//! Class names × templates → two zero-shot classifiers, W_yes and W_no `[K, D]`, and the logits that they give images.

mod build;
mod cosines;
mod error;
mod logits;

pub use build::{Classifier, Wording, build};
pub use cosines::TextCosines;
pub use error::ClassifierError;
pub use logits::Logits;
