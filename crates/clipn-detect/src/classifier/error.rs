use clipn_model::ModelError;
use clipn_text::prompts::PromptError;
use clipn_text::tokenizer::TokenizerError;
use thiserror::Error;

use crate::negatives::NegativesError;

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
    MissingNoTemplates {
        /// Name of the template set.
        set: String,
    },
    /// The values do not form one "yes" row and one "no" row of the same length per class.
    #[error(
        "expected \"yes\" and \"no\" rows of equal length for {classes} classes, got {yes} and {no} \
         values"
    )]
    InvalidShape {
        /// Number of classes.
        classes: usize,
        /// Number of "yes" values.
        yes: usize,
        /// Number of "no" values.
        no: usize,
    },
    /// Two text towers, or two classifiers, have different feature dimensions.
    #[error("feature dimensions differ: {left} and {right}")]
    DimensionMismatch {
        /// Dimension of the "yes" tower or the first classifier.
        left: usize,
        /// Dimension of the "no" tower or the second classifier.
        right: usize,
    },
    /// One of two classifiers has "no" rows, the other has none.
    #[error("one classifier has \"no\" rows, the other has none")]
    MixedNo,
    /// Two classes have the same name.
    #[error("duplicate class name `{class}`")]
    DuplicateClass {
        /// Name of the class.
        class: String,
    },
    /// Two classes have the same texts, so that images cannot distinguish them.
    #[error(
        "the classes `{first}` and `{second}` have the same texts within the {context_length} tokens \
         that the text tower reads"
    )]
    EqualTexts {
        /// Name of the first class.
        first: String,
        /// Name of the second class.
        second: String,
        /// Context length in tokens.
        context_length: usize,
    },
    /// Scores were fitted with another classifier.
    #[error(
        "expected scores fitted to {} classes and features of dimension {}, got {} and {}",
        expected[0],
        expected[1],
        found[0],
        found[1]
    )]
    FitMismatch {
        /// Number of classes and feature dimension of the classifier.
        expected: [usize; 2],
        /// Those of the scores.
        found: [usize; 2],
    },
    /// No class has the given name.
    #[error("unknown class `{class}`")]
    UnknownClass {
        /// The given name.
        class: String,
    },
    /// The text features of a class are NaN, infinite or zero, so they have no direction.
    #[error("text features of class `{class}` are NaN, infinite or zero")]
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
    /// The trained logit scale is requested, but there are only text towers.
    #[error("the trained logit scale is unknown without weights")]
    UnknownLogitScale,
    /// The template set that the weights name cannot be used.
    #[error(transparent)]
    Prompt(#[from] PromptError),
    /// A text tower rejected its input.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The token ids do not form whole rows.
    #[error(transparent)]
    Tokens(#[from] TokenizerError),
    /// Negatives cannot be used.
    #[error(transparent)]
    Negatives(#[from] NegativesError),
    /// Building was cancelled.
    #[error("building the classifier was cancelled")]
    Cancelled,
}

impl ClassifierError {
    /// What a caller can do about the error, if anything.
    pub fn hint(&self) -> Option<&'static str> {
        Some(match self {
            Self::MissingNoTemplates { .. } => {
                "use the template set `clipn`, or one with as many `no` as `yes` templates"
            }
            Self::DuplicateClass { .. } => {
                "remove the class first with `Classifier::without_classes`"
            }
            Self::EqualTexts { .. } => "shorten the names, so that they differ at their beginning",
            Self::UnknownClass { .. } => "`Classifier::class_names` lists the classes",
            Self::NotFinite { .. } => "the weights are damaged; download or save them again",
            Self::DimensionMismatch { .. } | Self::FeatureDimension { .. } => {
                "use towers and classifiers of the same model"
            }
            Self::UnknownLogitScale => {
                "set the scale with `Classifier::with_scale`, or build with weights"
            }
            _ => return None,
        })
    }
}
