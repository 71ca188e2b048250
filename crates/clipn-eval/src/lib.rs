//! Evaluation of out-of-distribution detection: a classifier scores the images of a benchmark, and
//! the scores become metrics, files and an HTML report.
//!
//! ```text
//! ImageSet, OodSet ─► Evaluator ─► Evaluation ─► Results ─► results.json, CSV, Parquet
//!                     (all cores)   scores per    AUROC,  └► report::write_html
//!                                   image         FPR95, AUPR
//! ```
//!
//! | item | for |
//! |---|---|
//! | [`Evaluator`] | scoring all images in bounded memory, with one or several classifiers |
//! | [`Evaluation`], [`EvaluationOptions`] | predictions and scores of every image |
//! | [`FeatureSet`], [`evaluate_features`] | scoring features that were computed elsewhere |
//! | [`Results`] | metrics of every score on every set, and their means |
//! | [`Spread`], [`RepeatSettings`] | bootstrap resamples and random subsets of the images |
//! | [`OpenoodRow`], [`write_openood_csv`] | results in the form of OpenOOD's table |
//! | [`EvaluationRecord`], [`merge`] | `results.json`, and the mean of several runs |
//! | [`streams`] | scores that learn from the stream of images, in several orders and mixtures |
//! | [`score_files`], [`ScoreReport`] | metrics of scores that other programs wrote: tables and NumPy arrays |
//! | [`report`] | a self-contained page with tables, histograms, ROC curves, calibration and examples |
//!
//! # Example
//!
//! The tower of this example sees nothing but the mean color of an image.
//!
//! ```
//! use clipn_data::{ImageSet, LabeledImage, OodSet};
//! use clipn_detect::classifier::Classifier;
//! use clipn_detect::inference::InferencePipeline;
//! use clipn_eval::{EvaluationOptions, Evaluator, Results};
//! use clipn_image::{Preprocessing, RgbImage};
//! use clipn_model::{FeatureMatrix, ImageBatch, ImageTower, ModelError};
//! use clipn_ood::metrics::FprConvention;
//! use clipn_ood::scores::by_name;
//!
//! struct MeanColor;
//!
//! impl ImageTower<f32> for MeanColor {
//!     fn embed_dim(&self) -> usize {
//!         3
//!     }
//!
//!     fn image_size(&self) -> usize {
//!         8
//!     }
//!
//!     fn encode(&self, images: ImageBatch<'_, f32>) -> Result<FeatureMatrix<f32>, ModelError> {
//!         let means = images.pixels().chunks(8 * 8).map(|channel| channel.iter().sum());
//!         Ok(FeatureMatrix::new(means.collect(), 3))
//!     }
//! }
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! // `set` writes images of one color each, and returns them as a set.
//! # let dir = tempfile::tempdir()?;
//! # let set = |name: &str, colors: &[([u8; 3], Option<usize>)]| -> Result<ImageSet, Box<dyn std::error::Error>> {
//! #     let mut samples = Vec::new();
//! #     for (i, &(color, label)) in colors.iter().enumerate() {
//! #         let path = dir.path().join(format!("{name}-{i}.png"));
//! #         std::fs::write(&path, RgbImage::new(8, 8, color.repeat(64))?.to_png()?)?;
//! #         samples.push(LabeledImage { path, label });
//! #     }
//! #     Ok(ImageSet {
//! #         name: name.to_owned(),
//! #         root: dir.path().to_owned(),
//! #         samples,
//! #         ..ImageSet::default()
//! #     })
//! # };
//! let id = set("colors", &[([250, 0, 0], Some(0)), ([0, 250, 0], Some(1))])?;
//! let ood = [OodSet { set: set("blues", &[([0, 0, 250], None), ([40, 40, 250], None)])?, kind: None }];
//!
//! // The "no" of every class is its opposite.
//! let yes = vec![1.0, 0.0, 0.0, 0.0, 1.0, 0.0];
//! let no: Vec<f32> = yes.iter().map(|v| -v).collect();
//! let classifier = Classifier::new(vec!["red".to_owned(), "green".to_owned()], yes, no)?;
//! let preprocessing = Preprocessing::clip(8);
//! let pipeline = InferencePipeline::new(&MeanColor, &classifier, &preprocessing)?;
//!
//! let evaluation = Evaluator::new(&id, &ood)
//!     .with_options(EvaluationOptions::default().with_scores([by_name("maxlogit")?]))
//!     .evaluate(&pipeline)?;
//! let results = Results::compute(&evaluation, FprConvention::default())?;
//! assert_eq!(results.accuracy, Some(1.0));
//! assert_eq!(results.results[0].auroc, 1.0);
//! # Ok(())
//! # }
//! ```
//!
//! # Features
//!
//! | feature | adds |
//! |---|---|
//! | `parquet` | `write_scores_parquet` and `ParquetWriter` |
//!
//! No feature is enabled by default.
#![cfg_attr(docsrs, feature(doc_cfg))]

pub mod report;
pub mod score_files;
pub mod streams;

mod error;
mod evaluation;
mod evaluator;
mod features;
mod fpr_figure;
mod merge;
mod metric_spread;
mod openood;
mod output;
#[cfg(feature = "parquet")]
mod parquet;
mod peers;
mod record;
mod record_csv;
mod repeat;
mod results;
mod score_metrics;
mod spread;

pub use error::EvaluationError;
pub use evaluation::{
    Evaluation, EvaluationOptions, ImageRow, ImageScores, NotFiniteScore, ScorePrecision, SetPart,
    SetScores,
};
pub use evaluator::{Evaluator, ImageEncoder};
pub use features::{FeatureSet, evaluate_features};
pub use fpr_figure::{FprFigure, FprSettings};
pub use merge::{EvaluationRun, check_comparable, merge};
pub use metric_spread::{MetricSpread, SpreadSource};
pub use openood::{OpenoodRow, write_openood_csv, write_openood_rows};
#[cfg(feature = "parquet")]
#[cfg_attr(docsrs, doc(cfg(feature = "parquet")))]
pub use output::write_scores_parquet;
pub use output::{write_results_csv, write_results_json, write_scores_csv};
#[cfg(feature = "parquet")]
#[cfg_attr(docsrs, doc(cfg(feature = "parquet")))]
pub use parquet::{Cell, ColumnKind, ParquetWriter};
pub use peers::EvaluationPeers;
pub use record::EvaluationRecord;
pub use record_csv::{write_record_csv, write_record_rows};
pub use repeat::RepeatSettings;
pub use results::{Average, IdPart, IdResult, IdSummary, OodResult, Results, SkippedImage};
pub use score_metrics::{
    AreaSpreads, MeanMetrics, MetricSettings, RepeatSummary, ScoreDirection, ScoreMetrics,
    ScoreReport, SetMetrics,
};
pub use spread::{AverageSpread, MetricSpreads, OodSpread, RunSummary, Spread};

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
