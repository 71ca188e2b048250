use std::fmt;

/// Set of scores that an error refers to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ScoreSet {
    /// Scores of in-distribution images.
    Id,
    /// Scores of out-of-distribution images.
    Ood,
}

impl fmt::Display for ScoreSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Id => "in-distribution (ID)",
            Self::Ood => "out-of-distribution (OOD)",
        })
    }
}

/// Errors of the metrics.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum MetricError {
    /// A set contains no scores.
    #[error("the {set} set contains no scores")]
    Empty {
        /// Empty set.
        set: ScoreSet,
    },
    /// A score is NaN or infinite.
    #[error("expected finite scores, got {value} at index {index} of the {set} set")]
    NotFinite {
        /// Set that contains the score.
        set: ScoreSet,
        /// Index in the set, from 0.
        index: usize,
        /// NaN, infinity or minus infinity.
        value: f64,
    },
    /// A true positive rate is not in `[0, 1]`.
    #[error("expected a true positive rate from 0 to 1, got {tpr}")]
    InvalidTpr {
        /// Invalid rate.
        tpr: f64,
    },
    /// No [`FprConvention`](super::FprConvention) has this name.
    #[error("unknown FPR convention `{name}`; expected one of clipn, mcm, openood")]
    UnknownConvention {
        /// Unknown name.
        name: String,
    },
    /// The numbers of predictions and labels differ.
    #[error("expected one label per prediction, got {labels} labels for {predictions} predictions")]
    LengthMismatch {
        /// Number of predictions.
        predictions: usize,
        /// Number of labels.
        labels: usize,
    },
    /// The numbers of scores and predictions differ.
    #[error("expected one score per prediction, got {scores} scores for {predictions} predictions")]
    ScoreCount {
        /// Number of scores.
        scores: usize,
        /// Number of predictions.
        predictions: usize,
    },
    /// Accuracy without predictions is undefined.
    #[error("expected at least one prediction, got none")]
    NoPredictions,
}
