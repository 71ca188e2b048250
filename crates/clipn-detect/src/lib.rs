//! Zero-shot classification with a "none of these": class names become a classifier, a classifier and
//! an image tower become a detector, and the detector answers each image with a label or "unknown",
//! and the reason.
//!
//! ```text
//! class names ── templates ──► text towers ──► W_yes, W_no [K, D] ─┐ classifier
//!                              "yes", "no"                         │
//!                                                                  ├──► logits ──► rule ──► Detection
//! image ──────── preprocessing ──► image tower ──► features [D] ───┘     inference           detector
//! ```
//!
//! | module | contents |
//! |---|---|
//! | [`classifier`] | [`ClassifierBuilder`](classifier::ClassifierBuilder): class names, templates and text towers to W_yes and W_no, and their logits |
//! | [`negatives`] | [`Negatives`](negatives::Negatives): words that are no class, as rows that a score weighs against the classes |
//! | [`fitting`] | [`ClassifierFitter`](fitting::ClassifierFitter): scores that are fitted to features of known images |
//! | [`adaptation`] | [`AdaptiveScorer`](adaptation::AdaptiveScorer): scores that learn from the stream of images |
//! | [`bundle`] | [`Bundle`](bundle::Bundle): a classifier, its preprocessing, threshold and image tower in one file |
//! | [`detector`] | [`Detector`](detector::Detector): images to decisions, one by one or as a stream |
//! | [`inference`] | [`InferencePipeline`](inference::InferencePipeline): images to logits on all cores, in order |
//!
//! ```
//! use clipn_detect::bundle::Bundle;
//! use clipn_detect::detector::Detector;
//! use clipn_model::PretrainedWeights;
//!
//! # let folder = tempfile::tempdir()?;
//! # let path = folder.path().join("shop.clipn");
//! // Once: encode the class names with the text towers.
//! Bundle::build(["school bus", "pizza"], &PretrainedWeights::mini()?)?.write(&path)?;
//!
//! // Then classify images; only the image tower is needed.
//! let detector = Detector::open(&path)?;
//! # let photos = [folder.path().join("missing.jpg")];
//! for (photo, detection) in detector.detect_many(photos)? {
//!     match detection {
//!         Ok(detection) => println!("{}: {}", photo.display(), detection.label_or_unknown()),
//!         Err(error) => println!("{}: {error}", photo.display()),
//!     }
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! The built-in model of the examples needs the feature `mini` of `clipn-model`. This crate has no
//! features of its own.

pub mod adaptation;
pub mod bundle;
pub mod classifier;
pub mod detector;
pub mod fitting;
pub mod inference;
pub mod negatives;
mod texts;
