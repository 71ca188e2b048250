//! Scores that learn from the stream of images: the methods of [`clipn_ood::streams`] over the texts of a
//! classifier, with the products of the engine and a memory that can be stored.
//!
//! | method | needs | beside the texts it remembers |
//! |---|---|---|
//! | [`AdaNeg`](AdaptiveMethod::AdaNeg) | a classifier with negatives | at most 9 images a class and a negative |
//! | [`Tanl`](AdaptiveMethod::Tanl) | a list of words, and features of [noise](noise_images) | activations of at most 600 images, the last 20,000 scores |
//!
//! The score of an image depends on those before it and on its batch. It is never a replacement of a
//! static score without saying so: [`StreamScore`](clipn_ood::streams::StreamScore) has both.

mod error;
mod file;
mod method;
mod noise;
mod products;
mod scorer;

pub use error::AdaptationError;
pub use file::StreamPosition;
pub use method::AdaptiveMethod;
pub use noise::{NOISE_IMAGES, noise_images};
pub use scorer::AdaptiveScorer;
