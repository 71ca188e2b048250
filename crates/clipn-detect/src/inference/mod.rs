//! Images in, logits out: decoding, preprocessing, the image tower and the classifier, on all cores, in
//! order. [`Detector::detect_many`](crate::detector::Detector::detect_many), evaluation, calibration and
//! the server's workers share this pipeline.

mod error;
mod parallelism;
mod pipeline;

pub use error::InferenceError;
pub use parallelism::Parallelism;
pub(crate) use parallelism::Work;
pub use pipeline::InferencePipeline;
