use super::names;

/// Errors for names and lists of scores.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ScoreError {
    /// No score has this name.
    #[error("unknown score `{given}`; expected one of {}", names())]
    Unknown {
        /// Unknown name.
        given: String,
    },
    /// A list contains no names.
    #[error("the list of scores is empty")]
    NoScores,
}
