use thiserror::Error;

use clipn_model::ModelError;

/// Error of building or using a classifier.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ClassifierError {
    /// There are no class names.
    #[error("no class names")]
    NoClasses,
    /// There are no templates.
    #[error("no templates")]
    NoTemplates,
    /// The hand-crafted variant requires `no` templates, which the set does not have.
    #[error(
        "the template set `{set}` has no `no` lines, which the hand-crafted variant pairs with its \
         `yes` lines"
    )]
    NoNoTemplates {
        /// Name of the template set.
        set: String,
    },
    /// The dimensions of "yes" and "no" features, or of two classifiers, differ.
    #[error("feature dimensions differ: {yes} and {no}")]
    Dimensions {
        /// Dimension of the "yes" features or the first classifier.
        yes: usize,
        /// Dimension of the "no" features or the second classifier.
        no: usize,
    },
    /// Two classes have the same name.
    #[error("duplicate class name `{class}`")]
    Repeated {
        /// Name of the class.
        class: String,
    },
    /// No class has the given name.
    #[error("unknown class `{class}`")]
    UnknownClass {
        /// The given name.
        class: String,
    },
    /// The text features of a class are NaN or infinite.
    #[error("text features of class `{class}` are NaN or infinite")]
    NotFinite {
        /// Name of the first such class.
        class: String,
    },
    /// The image features have another dimension than the classifier.
    #[error("expected image features of dimension {expected}, got {found}")]
    FeatureDimension {
        /// Dimension of the classifier.
        expected: usize,
        /// Dimension of the features.
        found: usize,
    },
    /// A text tower rejected its input.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The token ids do not form whole rows.
    #[error(transparent)]
    Tokens(#[from] clipn_text::tokenizer::TokenizerError),
    /// Building was cancelled.
    #[error("building the classifier was cancelled")]
    Cancelled,
}
