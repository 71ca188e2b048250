//! Zero-shot image classification that can say "no".
//!
//! CLIP gives every image one of the labels that it is offered, even if none fits. CLIPN
//! ([Wang et al., ICCV 2023](https://arxiv.org/abs/2308.12213)) adds a second text tower that has
//! learned to say "no", and so rejects images of none of the classes. This crate is CLIPN on the CPU:
//! class names and images in, labels or "unknown" out; evaluation that reproduces the published
//! program's numbers; and training of both towers.
//!
//! ```
//! use clipn::prelude::*;
//!
//! # let folder = tempfile::tempdir()?;
//! # let bundle = folder.path().join("shop.clipn");
//! # let photos = [folder.path().join("missing.jpg")];
//! // Once: encode the class names. The built-in model needs the feature `mini`.
//! Bundle::build(["school bus", "pizza"], &PretrainedWeights::mini()?)?.write(&bundle)?;
//!
//! // Then classify images, on all cores and in order.
//! let detector = Detector::open(&bundle)?;
//! for (photo, detection) in detector.detect_many(photos)? {
//!     match detection {
//!         Ok(detection) => println!(
//!             "{}: {} ({})",
//!             photo.display(),
//!             detection.label_or_unknown(),
//!             detection.reason
//!         ),
//!         Err(error) => eprintln!("{error}"),
//!     }
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # How an image is classified
//!
//! ```text
//! class names ── prompts ──► "yes" and "no" text towers ──► W_yes, W_no ─┐ classifier
//!                tokenizer    model, engine                              ├──► logits ──► rule ──► label
//! image file ─── pixels ───► image tower ───────────────► features ──────┘              scores    or "unknown"
//!                image        model, engine
//! ```
//!
//! # Where to find what
//!
//! | task | start at | crate |
//! |---|---|---|
//! | classify images with class names | [`Bundle::build`], [`Detector`] | [`clipn-detect`](https://docs.rs/clipn-detect) |
//! | classify a stream of images | [`Detector::detect_many`] | |
//! | choose templates, variant or logit scale | [`ClassifierBuilder`] | |
//! | choose words that are no class | [`negatives::NegativesBuilder`] | |
//! | get logits instead of decisions | [`inference::InferencePipeline`] | |
//! | choose a threshold for your data | [`calibration::calibrate`], [`Bundle::with_calibration`] | [`clipn-ood`](https://docs.rs/clipn-ood) |
//! | fit scores such as KNN to images of your classes | [`fitting::ClassifierFitter`], [`fitted`] | |
//! | score and measure your own logits | [`scores`], [`metrics`] | |
//! | open weights: open_clip, OpenAI, transformers | [`model::PretrainedWeights`] | [`clipn-model`](https://docs.rs/clipn-model) |
//! | run on another device | [`model::ImageTower`], [`Detector::from_classifier`] | |
//! | the CPU towers | [`engine`] | [`clipn-engine`](https://docs.rs/clipn-engine) |
//! | read tensors of PyTorch or safetensors files | [`checkpoint::Checkpoint`] | [`clipn-checkpoint`](https://docs.rs/clipn-checkpoint) |
//! | decode and resize images as Pillow does | [`image::Preprocessing`] | [`clipn-image`](https://docs.rs/clipn-image) |
//! | tokenize text as CLIP does; templates | [`tokenizer`], [`prompts`] | [`clipn-text`](https://docs.rs/clipn-text) |
//! | candidates for negative labels from WordNet | [`wordnet`] | [`clipn-text`](https://docs.rs/clipn-text) |
#![cfg_attr(
    feature = "hub",
    doc = "| download weights by name | [`download`] | [`clipn-hub`](https://docs.rs/clipn-hub) |"
)]
#![cfg_attr(
    any(feature = "eval", feature = "train"),
    doc = "| read image folders, lists and captions | [`dataset`] | [`clipn-data`](https://docs.rs/clipn-data) |"
)]
#![cfg_attr(
    feature = "eval",
    doc = "| evaluate on a benchmark | [`evaluation`], [`report`] | [`clipn-eval`](https://docs.rs/clipn-eval) |"
)]
#![cfg_attr(
    feature = "train",
    doc = "| train a CLIP, or teach it \"no\" | [`training`] | [`clipn-train`](https://docs.rs/clipn-train) |"
)]
//! | report progress, cancel | [`progress::Progress`] | [`clipn-base`](https://docs.rs/clipn-base) |
//!
//! Each crate of the table can be used alone. The folder `examples` has short programs: `classify`,
//! `evaluate`, `train` and `own_tower`.
//!
//! # Features
//!
//! | feature | default | contents |
//! |---|---|---|
//! | `eval` | yes | evaluation on OOD benchmarks, HTML reports |
//! | `hub` | yes | weights by name from the hub's cache, without network access |
//! | `train` | yes | training of CLIP and of the "no" tower |
//! | `download` | no | `hub` with downloads over HTTPS |
//! | `mini` | no | the built-in model `clipn-mini`: 4.7 MB, for non-commercial research and education only |
//! | `gpu` | no | GPUs over Vulkan, Metal and DirectX 12 |
//! | `cuda` | no | NVIDIA GPUs over CUDA |
//! | `parquet` | no | Parquet files of images, captions, features and results |
//!
//! The default features are what needs no network, no C library and no license that restricts use. To only
//! classify images, disable them: `clipn = { version = "0.2", default-features = false }`.

#![cfg_attr(docsrs, feature(doc_cfg))]

pub mod prelude;

pub use clipn_detect::adaptation;
pub use clipn_detect::bundle::{self, Bundle};
pub use clipn_detect::classifier::{self, ClassifierBuilder};
pub use clipn_detect::detector::{self, Detector};
pub use clipn_detect::fitting;
pub use clipn_detect::inference;
pub use clipn_detect::negatives;

pub use clipn_base::{
    content, count, error, files, launcher, number, ordered, progress, random, simd, text,
};
pub use clipn_checkpoint as checkpoint;
#[cfg(any(feature = "eval", feature = "train"))]
pub use clipn_data as dataset;
pub use clipn_engine as engine;
#[cfg(feature = "eval")]
pub use clipn_eval as evaluation;
#[cfg(feature = "eval")]
pub use clipn_eval::report;
pub use clipn_gpu as gpu;
#[cfg(feature = "hub")]
pub use clipn_hub as download;
pub use clipn_image as image;
pub use clipn_model as model;
pub use clipn_ood::{calibration, fitted, metrics, scores, streams};
pub use clipn_text::{prompts, tokenizer, wordnet};
#[cfg(feature = "train")]
pub use clipn_train as training;
#[cfg(feature = "train")]
pub use clipn_train::training_log;
