//! Evaluation of a classifier on a benchmark: images are decoded, encoded and scored on all cores
//! in bounded memory; scores become metrics, a table of results and one row per image.

mod error;
mod merge;
mod output;
#[cfg(feature = "parquet")]
mod parquet;
mod record;
mod record_csv;
mod repeat;
pub mod report;
mod results;
mod run;
mod spread;

pub use error::EvaluationError;
pub use merge::{Run, check_comparable, merge};
#[cfg(feature = "parquet")]
pub use output::write_scores_parquet;
pub use output::{write_results_csv, write_results_json, write_scores_csv};
#[cfg(feature = "parquet")]
pub use parquet::{Cell, ColumnKind, ParquetWriter};
pub use record::Record;
pub use record_csv::{write_record_csv, write_record_rows};
pub use repeat::Repeat;
pub use results::{Average, IdSummary, OodResult, Results, Skipped};
pub use run::{
    Evaluation, ImageRow, Options, Precision, Scored, ScoredSet, evaluate, evaluate_each,
};
pub use spread::{AverageSpread, MetricSpread, MetricSpreads, OodSpread, Over, RunSummary, Spread};
