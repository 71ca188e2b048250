//! Scores that are fitted to in-distribution images, from the features and the logits of an image.
//!
//! | score | an image is known if | fitted state |
//! |---|---|---|
//! | `knn` | images are near it | bank |
//! | `mds`, `rmds` | it is near the mean of a class | class means and covariances |
//! | `vim`, `residual` | little of it is outside the principal subspace | eigenvectors, α |
//! | `she` | it resembles the images of its predicted class | class means |
//! | `nnguide` | confident images are near it, and it is confident | bank with energies |
//! | `fdbd` | it is far from the decision boundaries | mean |
//! | `react` | it has a high energy after clipping | percentile |
//! | `kl-matching` | its softmax is typical of a class | mean softmax of each class |
//!
//! Definitions and settings are those of OpenOOD v1.5, <https://github.com/Jingkang50/OpenOOD>, commit
//! 3c35632e. A [`ScoreFitter`] reads the images once and gives a [`ScoreFit`], which computes the
//! [`FittedValues`](crate::scores::FittedValues) of an image. [`ScoreFitter`] has an example.

mod bank;
mod eigen;
mod error;
mod fdbd;
mod fitter;
mod gaussian;
mod kl;
mod knn;
mod mds;
mod moments;
mod neighbors;
mod nnguide;
mod react;
mod residual;
mod rmds;
mod score_fit;
mod scorer;
mod settings;
mod she;
mod subspace;
mod summary;
mod vim;

pub use error::FitError;
pub use fitter::{Fitted, ScoreFitter};
pub use score_fit::ScoreFit;
pub use scorer::FitTensor;
pub use settings::{FdbdNorm, FitSettings};
pub use summary::{FitSummary, FitWarning};
