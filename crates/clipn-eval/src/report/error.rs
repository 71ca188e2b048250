use std::path::PathBuf;

use thiserror::Error;

use clipn_ood::metrics::MetricError;

/// Why a report cannot be made.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ReportError {
    /// The scores of a set give no curve.
    #[error("the score {score} on {ood}: {source}")]
    Metric {
        /// The score's name.
        score: &'static str,
        /// The out-of-distribution set.
        ood: String,
        /// Why.
        source: MetricError,
    },
    /// The file cannot be written.
    #[error("cannot write the report {}: {source}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}
