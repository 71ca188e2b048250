use std::path::PathBuf;

use clap::Args;
use clipn::calibration::{CalibrationSettings, ThresholdMethod};
use clipn::scores::Score;

use crate::common::args::{Format, ModelArgs, RunArgs, parse_score};
use crate::common::feature_cache::FeatureCacheArgs;
use crate::common::fitting::FitArgs;
use crate::common::weights::{DownloadArgs, WeightsKeyArgs};

/// Value of `--score`.
#[derive(Debug, Clone, Copy)]
pub(crate) enum ScoreChoice {
    /// The best score on the images, by cross-validation.
    Best,
    /// A score by its name.
    Named(&'static dyn Score),
}

fn parse_score_choice(text: &str) -> Result<ScoreChoice, String> {
    if text.trim().eq_ignore_ascii_case("best") {
        return Ok(ScoreChoice::Best);
    }
    let score = parse_score(text).map_err(|error| format!("{error}, or best"))?;
    Ok(ScoreChoice::Named(score))
}

fn parse_fraction(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(fraction) if fraction > 0.0 && fraction < 1.0 => Ok(fraction),
        _ => Err("expected a number between 0 and 1".to_owned()),
    }
}

#[derive(Debug, Args)]
pub(crate) struct CalibrateArgs {
    /// Bundle to calibrate
    #[arg(long, value_name = "FILE")]
    pub bundle: PathBuf,
    /// In-distribution images, representative of later ones: a directory of any depth, with or
    /// without class folders, or an image list (.txt)
    #[arg(long, value_name = "DIR", required_unless_present = "features")]
    pub id: Option<PathBuf>,
    /// Out-of-distribution images: a directory or an image list; repeatable
    #[arg(long, value_name = "DIR")]
    pub ood: Vec<PathBuf>,
    /// Features of in-distribution images instead of images, in a .npy, .safetensors, .pt or .parquet file
    #[arg(long, value_name = "FILE", conflicts_with_all = ["id", "ood", "feature_cache"])]
    pub features: Option<PathBuf>,
    /// Features of out-of-distribution images; repeatable
    #[arg(long, value_name = "FILE", requires = "features")]
    pub ood_features: Vec<PathBuf>,
    /// Class of each row of --features: an index or name per line, or a .npy array of indices
    #[arg(long, value_name = "FILE", requires = "features")]
    pub labels: Option<PathBuf>,
    #[command(flatten)]
    pub cache: FeatureCacheArgs,
    /// Fraction of in-distribution images to accept, between 0 and 1 [default: 0.95]
    #[arg(long, value_name = "FRACTION", value_parser = parse_fraction)]
    pub target_tpr: Option<f64>,
    /// Choice of the threshold: on-average, guaranteed or best
    ///
    /// on-average accepts the fraction --target-tpr on average; guaranteed accepts at least that
    /// fraction with --confidence; best separates the images of --id and --ood best.
    #[arg(
        long,
        value_name = "on-average|guaranteed|best",
        default_value = "on-average"
    )]
    pub choice: ThresholdMethod,
    /// Confidence of intervals and of the guarantee, between 0 and 1
    #[arg(long, value_name = "FRACTION", default_value = "0.95", value_parser = parse_fraction)]
    pub confidence: f64,
    /// Score that decides, see docs/scores.md, or best [default: that of the bundle's calibration, else
    /// atd-neg with "no" and negatives, else atd with "no", neglabel with negatives, else maxlogit]
    ///
    /// best compares all scores that the bundle allows on the images of --id and --ood by
    /// cross-validation, prints the table, and takes the score with the highest AUROC. Without --ood
    /// there is nothing to compare by, and it takes the default. Scores that are fitted to images, such as
    /// knn, are fitted to a part of --id, see --fit-fraction.
    #[arg(long, value_name = "NAME|best", value_parser = parse_score_choice)]
    pub score: Option<ScoreChoice>,
    /// Fraction of the in-distribution images that a score such as knn is fitted to, between 0 and 1; the
    /// threshold comes from the others [default: 0.5]
    #[arg(long, value_name = "FRACTION", value_parser = parse_fraction)]
    pub fit_fraction: Option<f64>,
    #[command(flatten)]
    pub fit: FitArgs,
    /// Weights that the bundle was built with [default: the path or name in the bundle]
    #[arg(long, value_name = "FILE|DIR|NAME")]
    pub pretrained: Option<PathBuf>,
    #[command(flatten)]
    pub key: WeightsKeyArgs,
    #[command(flatten)]
    pub downloads: DownloadArgs,
    /// Write the calibrated bundle here instead of replacing the input
    #[arg(long, alias = "output", value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// Replace an existing file that --out names
    #[arg(long, requires = "out")]
    pub force: bool,
    #[command(flatten)]
    pub run: RunArgs,
    /// Format of the results on standard output
    #[arg(long, value_enum, default_value = "table")]
    pub format: Format,
}

impl CalibrateArgs {
    /// Fraction of in-distribution images to accept.
    pub(crate) fn target_tpr(&self) -> f64 {
        let default = CalibrationSettings::default().target_tpr;
        self.target_tpr.unwrap_or(default)
    }

    /// Fraction of the in-distribution images that a score is fitted to.
    pub(crate) fn fit_fraction(&self) -> f64 {
        self.fit_fraction.unwrap_or(0.5)
    }

    /// The in-distribution images, as the bundle names them.
    pub(crate) fn description(&self) -> String {
        let path = self.features.as_ref().or(self.id.as_ref());
        path.map(|path| path.display().to_string())
            .unwrap_or_default()
    }

    /// The model arguments: only the weights can be given.
    pub(crate) fn model(&self) -> ModelArgs {
        ModelArgs {
            model: None,
            pretrained: self.pretrained.clone(),
            key: self.key.clone(),
            downloads: self.downloads.clone(),
        }
    }
}
