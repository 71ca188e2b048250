use std::path::PathBuf;

use clap::{Args, ValueEnum};
use clipn::evaluation::{MetricSettings, RepeatSettings, ScoreDirection};
use clipn::metrics::FprConvention;

use crate::common::args::{Format, parse_rate};

/// Meaning of a higher score.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum HigherIs {
    /// More like the known classes
    Known,
    /// More like nothing known, as in pytorch-ood
    Unknown,
}

#[derive(Debug, Args)]
#[command(after_long_help = LONG_HELP)]
pub(crate) struct MetricsArgs {
    /// Table of scores (CSV with a header), or a NumPy array (.npy) with --labels
    #[arg(
        value_name = "FILE",
        required_unless_present_any = ["id", "ood"],
        conflicts_with_all = ["id", "ood"]
    )]
    pub file: Option<PathBuf>,
    /// Labels of the scores in FILE, a NumPy array or a text file with one label per line
    #[arg(
        long,
        value_name = "FILE",
        requires = "file",
        conflicts_with_all = ["scores", "set_column"]
    )]
    pub labels: Option<PathBuf>,
    /// Scores of the in-distribution set, instead of FILE: a NumPy array (.npy) or one per line
    #[arg(long, value_name = "[NAME=]FILE", requires = "ood")]
    pub id: Option<String>,
    /// Scores of an out-of-distribution set; repeatable
    #[arg(long, value_name = "[NAME=]FILE", requires = "id")]
    pub ood: Vec<String>,
    /// Columns of scores [default: those with a known name, else the only column of numbers]
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    pub scores: Vec<String>,
    /// Column that separates the sets [default: one with a known name]
    #[arg(long, value_name = "NAME")]
    pub set_column: Option<String>,
    /// Value of in-distribution rows in that column; every other value is a set of its own
    #[arg(
        long,
        value_name = "VALUE",
        requires = "file",
        allow_hyphen_values = true
    )]
    pub id_value: Option<String>,
    /// Meaning of a higher score
    #[arg(long, value_enum, default_value = "known")]
    pub higher_is: HigherIs,
    /// True positive rates of the FPR, from 0 to 1
    #[arg(
        long,
        value_name = "RATES",
        default_value = "0.95",
        value_delimiter = ',',
        value_parser = parse_rate
    )]
    pub tpr: Vec<f64>,
    /// Definition of the FPR: clipn (as published), mcm or openood [default: all three]
    #[arg(long, value_name = "NAME")]
    pub fpr_convention: Option<FprConvention>,
    /// Estimate the spread of the metrics over N bootstrap resamples of each set, or over N random
    /// subsets with --subset
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(2..=10_000))]
    pub repeat: Option<u32>,
    /// Scores per set in a subset, drawn without replacement; metrics are means over the subsets
    #[arg(long, value_name = "M", requires = "repeat", value_parser = clap::value_parser!(u32).range(1..))]
    pub subset: Option<u32>,
    /// Random seed of --repeat
    #[arg(long, value_name = "S", default_value = "0", requires = "repeat")]
    pub seed: u64,
    /// Format of the results on standard output
    #[arg(long, value_enum, default_value = "table")]
    pub format: Format,
}

impl MetricsArgs {
    /// Settings of the metrics.
    pub(crate) fn settings(&self) -> MetricSettings {
        let direction = match self.higher_is {
            HigherIs::Known => ScoreDirection::Known,
            HigherIs::Unknown => ScoreDirection::Unknown,
        };
        let conventions: Vec<FprConvention> = match self.fpr_convention {
            Some(convention) => vec![convention],
            None => FprConvention::ALL.into(),
        };
        let repeat = self.repeat.map(|n| RepeatSettings {
            n: n as usize,
            subset: self.subset.map(|size| size as usize),
            seed: self.seed,
        });
        MetricSettings::default()
            .with_higher_is(direction)
            .with_tprs(self.tpr.clone())
            .with_conventions(conventions)
            .with_repeat(repeat)
    }
}

const LONG_HELP: &str = "\
A table has one row per image. The column that separates the sets is known by its name: is_ood, \
outlier or anomaly (1 or true: unknown); is_id, inlier or known (1 or true: known); set, dataset or \
split (the value id, ind, in-distribution, inlier, known or normal is the known set, every other one \
a set of its own); label, target or y_true (the same names, or numbers that are negative for unknown \
images). Beside is_ood or is_id, set and the like name the sets. If the values do not say which rows are known, --id-value does; nothing is guessed.

Columns of scores are score, confidence, anomaly_score and the like, and the names of clipn's own \
scores, so that the scores.csv of `clipn eval --output` can be read.

Rates are in % in the table, and fractions in JSON and CSV. [lowest, highest] beside an FPR is its \
range over every order of equal scores.";
