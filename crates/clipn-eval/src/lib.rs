pub mod report;

mod error;
mod evaluation;
mod evaluator;
mod merge;
mod output;
#[cfg(feature = "parquet")]
mod parquet;
mod record;
mod record_csv;
mod repeat;
mod results;
mod spread;

pub use error::EvaluationError;
pub use evaluation::{
    Evaluation, EvaluationOptions, ImageRow, ImageScores, ScorePrecision, SetScores,
};
pub use evaluator::{Evaluator, ImageEncoder};
pub use merge::{EvaluationRun, check_comparable, merge};
#[cfg(feature = "parquet")]
#[cfg_attr(docsrs, doc(cfg(feature = "parquet")))]
pub use output::write_scores_parquet;
pub use output::{write_results_csv, write_results_json, write_scores_csv};
#[cfg(feature = "parquet")]
#[cfg_attr(docsrs, doc(cfg(feature = "parquet")))]
pub use parquet::{Cell, ColumnKind, ParquetWriter};
pub use record::EvaluationRecord;
pub use record_csv::{write_record_csv, write_record_rows};
pub use repeat::RepeatSettings;
pub use results::{Average, IdSummary, OodResult, Results, SkippedImage};
pub use spread::{
    AverageSpread, MetricSpread, MetricSpreads, OodSpread, RunSummary, Spread, SpreadSource,
};
