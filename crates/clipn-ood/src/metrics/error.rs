use std::fmt;

/// Which of the two sets of scores an error speaks of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ScoreSet {
    /// The scores of in-distribution images.
    Id,
    /// The scores of out-of-distribution images.
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

/// Why a metric has no value.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum MetricError {
    /// A set holds no score.
    #[error("the {set} set has no scores: metrics need at least one image on either side")]
    Empty {
        /// The empty set.
        set: ScoreSet,
    },
    /// A score is NaN or infinite.
    #[error(
        "score {index} (counted from 0) of the {set} set is {value}: metrics need finite scores; \
         look at that image's features and logits"
    )]
    NotFinite {
        /// The set that holds the score.
        set: ScoreSet,
        /// Its position in the set, from 0.
        index: usize,
        /// NaN, infinity or minus infinity.
        value: f64,
    },
    /// The true positive rate asked for is not a rate.
    #[error("a true positive rate lies between 0 and 1, not {level}: give 0.95 for FPR95")]
    Level {
        /// The value given.
        level: f64,
    },
    /// No such convention.
    #[error("unknown FPR convention `{given}`: choose one of clipn, mcm, openood")]
    UnknownConvention {
        /// The name given.
        given: String,
    },
    /// Predictions and labels do not pair up.
    #[error(
        "{predictions} predictions cannot be held against {labels} labels: give one label a prediction"
    )]
    Lengths {
        /// Number of predictions.
        predictions: usize,
        /// Number of labels.
        labels: usize,
    },
    /// Accuracy of nothing.
    #[error("accuracy needs at least one labelled prediction, and there is none")]
    NoPredictions,
}
