//! Images in, logits out: decoding, preprocessing, the image tower and the classifier, on all cores, in
//! order. [`Detector::detect_many`](crate::detector::Detector::detect_many), evaluation, calibration and
//! the server's workers share this pipeline.
//!
//! ```
//! use clipn_detect::classifier::ClassifierBuilder;
//! use clipn_detect::inference::{InferenceError, InferencePipeline};
//! use clipn_engine::image_tower;
//! use clipn_image::Preprocessing;
//! use clipn_model::PretrainedWeights;
//! use clipn_ood::scores::predict;
//!
//! let weights = PretrainedWeights::mini()?.weights(None)?;
//! let classifier = ClassifierBuilder::new(["school bus", "pizza"]).build(&weights)?;
//! let tower = image_tower(&weights);
//! let preprocessing = Preprocessing::clip(weights.config().vision.image_size);
//!
//! # let folder = tempfile::tempdir()?;
//! # let photos = [folder.path().join("missing.jpg")];
//! let pipeline = InferencePipeline::new(&*tower, &classifier, &preprocessing)?;
//! let mut classes = Vec::new();
//! pipeline.run(
//!     photos,
//!     // On a worker: the index of the most probable class, or the error of the image.
//!     |_path, logits| logits.map(predict),
//!     // On this thread, in order.
//!     |class| -> Result<(), InferenceError> {
//!         classes.push(class);
//!         Ok(())
//!     },
//! )?;
//! assert_eq!(classes.len(), 1);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod cache;
mod error;
mod features;
mod parallelism;
mod pipeline;
mod rows;

pub use cache::{FeatureCache, FeatureCacheError, FeatureCacheModel, FeatureCacheUse, FeatureKey};
pub use error::{InferenceError, ItemError};
pub use features::FeaturePipeline;
pub(crate) use features::{BatchFeatures, Patches};
pub use parallelism::Parallelism;
pub(crate) use parallelism::Work;
pub(crate) use pipeline::first_row;
pub use pipeline::{ImageRows, InferencePipeline};
pub use rows::{map_features, unit_features};
