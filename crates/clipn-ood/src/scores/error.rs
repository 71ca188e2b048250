use super::registry::names;
use clipn_base::count::count;

/// Errors for names and lists of scores, and for scores whose inputs are missing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ScoreError {
    /// No score has this name.
    #[error("unknown score `{name}`; expected one of {}", names())]
    Unknown {
        /// Unknown name.
        name: String,
    },
    /// A list contains no names.
    #[error("the list of scores is empty")]
    EmptyList,
    /// The score needs "no" logits.
    #[error("the score `{score}` needs a trained \"no\" side, got none")]
    NeedsNo {
        /// Name of the score.
        score: &'static str,
    },
    /// The score needs negatives.
    #[error("the score `{score}` needs negatives, got none")]
    NeedsNegatives {
        /// Name of the score.
        score: &'static str,
    },
    /// The score needs features of patches.
    #[error("the score `{score}` needs local features of images, got none")]
    NeedsLocal {
        /// Name of the score.
        score: &'static str,
    },
    /// The score is fitted to in-distribution images.
    #[error("the score `{score}` needs in-distribution images that it is fitted to, got none")]
    NeedsFit {
        /// Name of the score.
        score: &'static str,
    },
    /// The score is the same for every image with this number of classes.
    #[error("the score `{score}` needs at least {min_classes} classes, got {classes}")]
    TooFewClasses {
        /// Name of the score.
        score: &'static str,
        /// Minimum number of classes.
        min_classes: usize,
        /// Number of classes.
        classes: usize,
    },
    /// A score is fitted to images, and there are none.
    #[error("expected logits of at least one image to fit a score, got none")]
    NoImages,
    /// A score cannot be fitted to this image.
    #[error("the logits of image {index} are empty or not finite")]
    UnusableRow {
        /// Index of the image.
        index: usize,
    },
    /// Images have different numbers of classes.
    #[error("expected logits of {} for image {index}, got {got}", count(*.expected, "class"))]
    ClassCount {
        /// Index of the image.
        index: usize,
        /// Number of classes of the first image.
        expected: usize,
        /// Number of classes of this image.
        got: usize,
    },
}
