//! Zero-shot classification that knows when to say no.
#![cfg_attr(docsrs, feature(doc_cfg))]

pub use clipn_base::{ordered, progress, random, simd};
pub use clipn_checkpoint as checkpoint;
#[cfg(any(feature = "eval", feature = "train"))]
pub use clipn_data as dataset;
pub use clipn_detect::{bundle, classifier, detector, inference};
pub use clipn_engine as engine;
#[cfg(feature = "eval")]
pub use clipn_eval as evaluation;
#[cfg(feature = "eval")]
pub use clipn_eval::report;
#[cfg(feature = "hub")]
pub use clipn_hub as download;
pub use clipn_image as image;
pub use clipn_model as model;
pub use clipn_ood::{calibration, metrics, scores};
pub use clipn_text::{prompts, tokenizer};
#[cfg(feature = "train")]
pub use clipn_train as training;
#[cfg(feature = "train")]
pub use clipn_train::training_log;
