use super::FitSettings;
use clipn_base::count::count;

/// Errors of fitting scores to images, and of their settings.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum FitError {
    /// A setting has an invalid value.
    #[error("setting {key}: expected {expected}, got `{got}`")]
    Setting {
        /// Name of the setting.
        key: &'static str,
        /// Description of valid values.
        expected: &'static str,
        /// Invalid value.
        got: String,
    },
    /// There is no such setting.
    #[error("unknown setting `{key}`; the settings are {}", FitSettings::default())]
    UnknownSetting {
        /// Unknown name.
        key: String,
    },
    /// There are no classes, or the features have no dimension.
    #[error("expected at least one class and one dimension, got {classes} and {dim}")]
    NoClasses {
        /// Number of classes.
        classes: usize,
        /// Dimension of the features.
        dim: usize,
    },
    /// Features, logits, labels or stored values do not have the shape that they should have.
    #[error("expected {expected} values of {what}, got {got}")]
    Length {
        /// Name of the values.
        what: &'static str,
        /// Expected number.
        expected: usize,
        /// Number of values.
        got: usize,
    },
    /// The features or logits of an image are not finite, or its feature is 0.
    #[error("the features or logits of image {index} are not finite, or all features are 0")]
    NotFinite {
        /// Index of the image.
        index: usize,
    },
    /// The label of an image is no class.
    #[error("expected a label below {classes} for image {index}, got {label}")]
    Label {
        /// Index of the image.
        index: usize,
        /// Its label.
        label: usize,
        /// Number of classes.
        classes: usize,
    },
    /// There are no images to fit to.
    #[error("expected at least one image to fit scores to, got none")]
    NoImages,
    /// There are too few images for the K of a score.
    #[error("the score `{score}` needs at least {} to compare with, got {images}", count(*.required, "image"))]
    TooFewImages {
        /// Name of the score.
        score: &'static str,
        /// Minimum number of images.
        required: usize,
        /// Number of images.
        images: usize,
    },
    /// A score compares the images of a class with those of all, and there are those of one class only.
    #[error("the score `{score}` needs images of at least 2 classes, got those of {present}")]
    TooFewClasses {
        /// Name of the score.
        score: &'static str,
        /// Number of classes with images.
        present: usize,
    },
    /// A score needs an image of every class.
    #[error(
        "the score `{score}` needs an image of every class, got none of `{class}`{}",
        and_others(*.others)
    )]
    ClassWithoutImages {
        /// Name of the score.
        score: &'static str,
        /// Name of the first class without images.
        class: String,
        /// Number of other classes without images.
        others: usize,
    },
    /// The principal subspace is as large as the space of the features.
    #[error(
        "the score `{score}` needs a principal subspace below the dimension {dim} of the features, got {principal}"
    )]
    PrincipalDim {
        /// Name of the score.
        score: &'static str,
        /// Dimension of the features.
        dim: usize,
        /// Dimension of the subspace.
        principal: usize,
    },
    /// All images have the same feature, or for `mds` and `rmds` all images of each class.
    #[error(
        "the score `{score}` needs features that vary, for mds and rmds within a class, got a spread of 0"
    )]
    NoSpread {
        /// Name of the score.
        score: &'static str,
    },
    /// The images are all in the principal subspace.
    #[error(
        "the score `{score}` needs images outside of its principal subspace, got {} in it",
        count(*.images, "image")
    )]
    NoResidual {
        /// Name of the score.
        score: &'static str,
        /// Number of images.
        images: usize,
    },
    /// Stored values of a score are not finite.
    #[error("the fitted values `{name}` are not finite")]
    InvalidValues {
        /// Name of the values.
        name: String,
    },
}

/// The end of a list of classes whose first one is named.
fn and_others(others: usize) -> String {
    match others {
        0 => String::new(),
        others => format!(" and {}", count(others, "other class")),
    }
}
