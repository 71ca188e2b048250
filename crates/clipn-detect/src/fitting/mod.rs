//! Scores that are fitted to features of in-distribution images, such as KNN and ViM: a
//! [`ClassifierFitter`] reads features and labels in one pass, and
//! [`Classifier::with_fit`](crate::classifier::Classifier::with_fit) makes the scores available.
//!
//! ```
//! use clipn_detect::classifier::Classifier;
//! use clipn_detect::fitting::ClassifierFitter;
//! use clipn_model::FeatureMatrix;
//! use clipn_ood::scores::{FittedScore, Score};
//!
//! let names = ["cat", "dog"].map(String::from).into();
//! let classifier = Classifier::new(names, vec![1.0, 0.0, 0.0, 1.0], None)?;
//! let scores = [FittedScore::Knn].into_iter().collect();
//! let mut fitter = ClassifierFitter::new(&classifier, scores, "knn-k=1".parse()?)?;
//! // Features of two images, and their classes.
//! fitter.add(&[1.0, 0.1], Some(0))?;
//! fitter.add(&[0.1, 1.0], Some(1))?;
//! let fitted = fitter.finish()?;
//!
//! let classifier = classifier.with_fit(fitted.fit)?;
//! let logits = classifier.logits(&FeatureMatrix::new(vec![-1.0, 0.0], 2))?;
//! let far = logits.rows().next().map(|row| FittedScore::Knn.faithful(row));
//! assert!(far.is_some_and(|score| score < -2.0));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod error;
mod fitter;
mod split;
mod tensors;

pub use error::FittingError;
pub use fitter::{ClassifierFitter, round_bank};
pub use split::FitSplit;
pub(crate) use tensors::{read_fit, write_fit};
