use super::names;

/// Why a choice of scores cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ScoreError {
    /// No score has that name.
    #[error(
        "unknown score `{given}`: choose among {}, or `all` in a list",
        names()
    )]
    Unknown {
        /// The name given.
        given: String,
    },
    /// A list named no score.
    #[error(
        "the list of scores is empty: give names separated by commas, such as `msp,ctw,atd`, or `all`"
    )]
    NoScores,
}
