use std::path::PathBuf;

use thiserror::Error;

use clipn_ood::metrics::MetricError;

/// Error of creating a report.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ReportError {
    /// The ROC curve of a score on a set cannot be computed.
    #[error("cannot compute the ROC curve of the score {score} on {ood}")]
    Metric {
        /// Name of the score.
        score: &'static str,
        /// Name of the out-of-distribution set.
        ood: String,
        /// Error of the metric.
        source: MetricError,
    },
    /// The report file cannot be written.
    #[error("cannot write the report {}", path.display())]
    Write {
        /// Path of the file.
        path: PathBuf,
        /// Error of the operating system.
        source: std::io::Error,
    },
}
