use clipn_checkpoint::CheckpointError;
use clipn_ood::fitted::FitError;
use thiserror::Error;

use crate::classifier::ClassifierError;
use crate::inference::ItemError;

/// Error of fitting scores to features.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum FittingError {
    /// The features do not match the classifier.
    #[error(transparent)]
    Classifier(#[from] ClassifierError),
    /// The scores or their settings do not match the images.
    #[error(transparent)]
    Fit(#[from] FitError),
    /// An image has no usable features.
    #[error("image {index} of those to fit to cannot be used")]
    Item {
        /// Index of the image.
        index: usize,
        /// Reason.
        source: ItemError,
    },
    /// The bank cannot be rounded to 16 bits.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
}
