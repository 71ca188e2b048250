use thiserror::Error;

use clipn_model::ModelError;

/// What can go wrong while a classifier is built or used.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ClassifierError {
    /// There is nothing to classify into.
    #[error("there are no class names; give at least one")]
    NoClasses,
    /// There is nothing to put the names into.
    #[error("there are no templates; give at least one line with `{{}}` where the class name goes")]
    NoTemplates,
    /// The wording wants `no` lines that the set does not have.
    #[error(
        "the template set `{set}` has no `no` lines, which the hand-crafted variant pairs with its `yes` lines; \
         use the set `clipn`, or a TOML file with `yes = [...]` and `no = [...]`"
    )]
    NoNoTemplates {
        /// The set's name.
        set: String,
    },
    /// The two towers do not belong together.
    #[error(
        "the \"yes\" tower gives {yes} values a text and the \"no\" tower {no}; they belong to different models"
    )]
    Dimensions {
        /// Dimension of the "yes" features.
        yes: usize,
        /// Dimension of the "no" features.
        no: usize,
    },
    /// A class is there already.
    #[error("there is a class `{class}` already; leave it out, or remove it first")]
    Repeated {
        /// Its name.
        class: String,
    },
    /// A class that is not there.
    #[error("there is no class `{class}`; `clipn classifier show` lists them")]
    NoSuchClass {
        /// The name asked for.
        class: String,
    },
    /// A classifier's rows are NaN or infinite.
    #[error(
        "the model gives NaN or infinite features for the class `{class}`; its weights are damaged"
    )]
    NotFinite {
        /// The first such class.
        class: String,
    },
    /// Features of another model.
    #[error(
        "features of {found} values do not fit a classifier of {expected}; they belong to different models"
    )]
    FeatureDimension {
        /// The classifier's dimension.
        expected: usize,
        /// The features' dimension.
        found: usize,
    },
    /// A tower refused its input.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// Ids that do not form rows.
    #[error(transparent)]
    Tokens(#[from] clipn_text::tokenizer::TokenizerError),
    /// The work was asked to stop.
    #[error("interrupted while building the classifier; nothing was written")]
    Cancelled,
}
