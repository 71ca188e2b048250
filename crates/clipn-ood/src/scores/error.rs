use super::registry::names;

/// Errors for names and lists of scores.
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
}
