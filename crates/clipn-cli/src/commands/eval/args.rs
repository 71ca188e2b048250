use std::path::PathBuf;

use clap::{ArgGroup, Args};
use clipn::evaluation::{FprSettings, RepeatSettings, ScorePrecision};
use clipn::image::ResizeMode;
use clipn::metrics::FprConvention;
use clipn::scores::{Score, parse_list};

use super::streams::StreamArgs;
use super::tracking::TrackingTarget;
use super::train::TrainArgs;
use crate::common::args::{ModelArgs, PromptArgs, ResultFormat, RunArgs, parse_rate};
use crate::common::distributed::DistributedArgs;
use crate::common::error::CliError;
use crate::common::feature_cache::FeatureCacheArgs;
use crate::common::negatives::NegativesArgs;
use crate::common::pixels::PixelArgs;
use crate::common::text_features::TextFeatureArgs;
use crate::common::weights::{DownloadArgs, WeightsKeyArgs};

#[derive(Debug, Args)]
#[command(group(
    ArgGroup::new("ood_sets").args(["ood", "near_ood", "far_ood"]).multiple(true)
))]
pub(crate) struct EvalArgs {
    /// Bundle to evaluate: its classes, negatives, preprocessing and threshold
    #[arg(
        long,
        value_name = "FILE",
        conflicts_with_all = ["classes", "model", "templates", "variant", "logit_scale", "allow_duplicates", "bands", "sample_bits", "pillow", "preprocess", "negatives", "reject"]
    )]
    pub bundle: Option<PathBuf>,
    /// Architecture, such as ViT-B-16, or an open_clip model config [default: from the weights]
    #[arg(long, value_name = "NAME|CONFIG.json")]
    pub model: Option<String>,
    /// Weights, as for `clipn classify`; several are evaluated in turn and merged
    #[cfg_attr(feature = "mini", doc = "[default: clipn-mini, built in]")]
    ///
    /// Results of several weights, such as other seeds, are mean ± standard deviation.
    #[arg(long, value_name = "FILE|DIR|NAME", num_args = 1..)]
    pub pretrained: Vec<PathBuf>,
    #[command(flatten)]
    pub key: WeightsKeyArgs,
    #[command(flatten)]
    pub downloads: DownloadArgs,
    /// Class names: a file, imagenet-1k, cifar10, or "a,b,c"; class folders are matched by name, synset id or
    /// number, else by position [default: from the benchmark, else the names of the folders]
    #[arg(long, value_name = "FILE|NAME|LIST")]
    pub classes: Option<String>,
    #[command(flatten)]
    pub prompts: PromptArgs,
    /// In-distribution images: a directory with one folder per class, an image list (.txt with lines
    /// `path label`), tar archives with labels (cls or json), or a table with labels (.jsonl, .parquet)
    #[arg(
        long,
        value_name = "[NAME=]DIR",
        required_unless_present_any = ["benchmark", "features"],
        conflicts_with = "benchmark",
        requires = "ood_sets"
    )]
    pub id: Option<String>,
    /// Out-of-distribution images: a directory of any depth, an image list, tar archives or a table;
    /// repeatable
    #[arg(
        long,
        value_name = "NAME=DIR",
        conflicts_with = "benchmark",
        requires = "id"
    )]
    pub ood: Vec<String>,
    /// Out-of-distribution images that are near the classes, as other species of animals, as --ood; repeatable
    ///
    /// If there are near and far sets, the results have a mean over each kind.
    #[arg(
        long,
        value_name = "NAME=DIR",
        conflicts_with = "benchmark",
        requires = "id"
    )]
    pub near_ood: Vec<String>,
    /// Out-of-distribution images that are far from the classes, as --ood; repeatable
    #[arg(
        long,
        value_name = "NAME=DIR",
        conflicts_with = "benchmark",
        requires = "id"
    )]
    pub far_ood: Vec<String>,
    /// Images of the classes of --id with a covariate shift, such as drawings of them, that count as
    /// in-distribution (OpenOOD's full spectrum), as --id; repeatable
    #[arg(
        long,
        value_name = "NAME=DIR",
        conflicts_with = "benchmark",
        requires = "id"
    )]
    pub shifted_id: Vec<String>,
    /// Features [N, D] of in-distribution images instead of images, in a .npy, .safetensors, .pt or .parquet
    /// file
    #[arg(
        long,
        value_name = "[NAME=]FILE",
        conflicts_with_all = ["id", "benchmark", "feature_cache", "gray", "bands", "sample_bits", "pillow"],
        requires = "ood_features"
    )]
    pub features: Option<String>,
    /// Features of out-of-distribution images; repeatable
    #[arg(long, value_name = "NAME=FILE", requires = "features")]
    pub ood_features: Vec<String>,
    /// Class of each row of --features: an index or name per line, or a .npy array of indices; without
    /// it, there is no accuracy
    #[arg(long, value_name = "FILE", requires = "features")]
    pub labels: Option<PathBuf>,
    #[command(flatten)]
    pub train: TrainArgs,
    #[command(flatten)]
    pub text_features: TextFeatureArgs,
    #[command(flatten)]
    pub cache: FeatureCacheArgs,
    /// Benchmark: a name of `clipn benchmark list`, such as openood-imagenet-1k, or a TOML file
    #[arg(long, value_name = "NAME|FILE", requires = "data_root")]
    pub benchmark: Option<String>,
    /// Directory of the benchmark's data
    #[arg(long, value_name = "DIR", requires = "benchmark")]
    pub data_root: Option<PathBuf>,
    /// Directory of the benchmark's image lists, such as OpenOOD's benchmark_imglist [default: from the
    /// benchmark, in --data-root]
    #[arg(long, value_name = "DIR", requires = "benchmark")]
    pub list_root: Option<PathBuf>,
    /// Convert every image to gray first, as a control against separating sets by color
    #[arg(long, alias = "grey")]
    pub gray: bool,
    #[command(flatten)]
    pub pixels: PixelArgs,
    /// How images are resized: clip (bicubic to S, crop), bilinear (to S, as MCM and NegLabel), or openood
    /// (bicubic to 256 for 224, crop)
    #[arg(
        long,
        value_name = "clip|bilinear|openood",
        default_value_t,
        conflicts_with = "features"
    )]
    pub preprocess: ResizeMode,
    #[command(flatten)]
    pub negatives: NegativesArgs,
    /// Seeds of what is drawn for the negatives: their groups, and CSP's superclasses; results of several
    /// seeds are mean ± standard deviation [default: 0]
    #[arg(long, value_name = "LIST", value_delimiter = ',', conflicts_with_all = ["bundle", "features"])]
    pub seeds: Vec<u64>,
    /// Scores: all that the weights and negatives allow, or a list such as msp,energy,ctw,atd
    /// (docs/scores.md)
    #[arg(long, value_name = "LIST", default_value = "all", value_parser = parse_scores)]
    pub scores: ScoreList,
    /// Arithmetic of the scores: f32 as published, or f64 in log space, which does not saturate
    #[arg(long, value_name = "f32|f64", default_value = "f32", value_parser = parse_precision)]
    pub score_precision: ScorePrecision,
    /// Definition of FPR95: clipn (as published), mcm or openood
    #[arg(long, value_name = "NAME", default_value = "clipn")]
    pub fpr_convention: FprConvention,
    /// True positive rates of the FPR beside that of FPR95, from 0 to 1, such as 0.9,0.99
    #[arg(long, value_name = "RATES", value_delimiter = ',', value_parser = parse_rate)]
    pub tpr: Vec<f64>,
    /// Estimate the spread of the metrics over N bootstrap resamples of each set, or over N random
    /// subsets with --subset; every image is scored once
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(2..=10_000))]
    pub repeat: Option<u32>,
    /// Images per set in a subset, drawn without replacement; metrics are means over the subsets
    #[arg(long, value_name = "M", requires = "repeat", value_parser = clap::value_parser!(u32).range(1..))]
    pub subset: Option<u32>,
    /// Random seed of --repeat
    #[arg(long, value_name = "S", default_value = "0", requires = "repeat")]
    pub seed: u64,
    #[command(flatten)]
    pub stream: StreamArgs,
    #[command(flatten)]
    pub run: RunArgs,
    #[command(flatten)]
    pub distribution: DistributedArgs,
    /// Directory for results.json, results.csv, scores.csv (one row per image), histograms.svg and
    /// report.html
    #[arg(long, value_name = "DIR")]
    pub output: Option<PathBuf>,
    /// Add maps to the example images of report.html that show where the class, its "no" and the negatives
    /// are seen
    #[arg(long, requires = "output", conflicts_with = "features")]
    pub explain: bool,
    /// Replace the results in --output
    #[arg(long, requires = "output")]
    pub force: bool,
    /// Write the metrics for an experiment tracker: tensorboard=DIR, mlflow=DIR (a file store) or wandb=DIR (an
    /// offline run); files only, without network; repeatable
    #[arg(long, value_name = "TRACKER=DIR")]
    pub tracking: Vec<TrackingTarget>,
    /// Format of the results on standard output
    #[arg(long, value_enum, default_value = "table")]
    pub format: ResultFormat,
}

impl EvalArgs {
    /// The models, one per weights.
    pub(crate) fn models(&self) -> Result<Vec<ModelArgs>, CliError> {
        if self.pretrained.len() > 1 && self.bundle.is_some() {
            return Err(CliError::usage(
                "several --pretrained with one --bundle, which belongs to one model",
            ));
        }
        if let Some(seed) = repeated(&self.seeds) {
            return Err(CliError::usage(format!("duplicate --seeds {seed}")));
        }
        let several = match (self.pretrained.len(), self.seeds.len()) {
            (2.., _) => Some(("several --pretrained", "weights")),
            (_, 2..) => Some(("several --seeds", "seeds")),
            _ => None,
        };
        if let Some((flag, what)) = several {
            if self.repeat.is_some() {
                return Err(CliError::usage_with_hint(
                    format!(
                        "--repeat gives the spread over images, and {flag} the spread over {what}"
                    ),
                    "leave one of them out",
                ));
            }
            if !self.stream.stream.is_empty() {
                return Err(CliError::usage_with_hint(
                    format!("--stream gives means over orders, and {flag} means over {what}"),
                    "evaluate them one by one",
                ));
            }
        }
        if let Some(path) = repeated(&self.pretrained) {
            return Err(CliError::usage(format!(
                "duplicate --pretrained {}",
                path.display()
            )));
        }
        let model = |pretrained| ModelArgs {
            model: self.model.clone(),
            pretrained,
            key: self.key.clone(),
            downloads: DownloadArgs {
                offline: self.downloads.offline,
            },
        };
        if self.pretrained.is_empty() {
            return Ok(vec![model(None)]);
        }
        Ok(self
            .pretrained
            .iter()
            .cloned()
            .map(Some)
            .map(model)
            .collect())
    }

    /// Convention of FPR95, and further true positive rates.
    pub(crate) fn fpr(&self) -> FprSettings {
        FprSettings::from(self.fpr_convention).with_tprs(self.tpr.iter().copied())
    }

    /// Resampling of the images, if requested.
    pub(crate) fn repeat(&self) -> Option<RepeatSettings> {
        let subset = self.subset.map(|size| size as usize);
        self.repeat.map(|n| RepeatSettings {
            n: n as usize,
            subset,
            seed: self.seed,
        })
    }
}

/// The first value that occurs twice.
fn repeated<T: PartialEq>(values: &[T]) -> Option<&T> {
    let mut each = values.iter().enumerate();
    each.find_map(|(index, value)| values[..index].contains(value).then_some(value))
}

/// A comma-separated list of scores; `None` for `all`.
#[derive(Debug, Clone)]
pub(crate) struct ScoreList(pub Option<Vec<&'static dyn Score>>);

fn parse_scores(text: &str) -> Result<ScoreList, String> {
    if text.trim().eq_ignore_ascii_case("all") {
        return Ok(ScoreList(None));
    }
    let scores = parse_list(text).map_err(|e| e.to_string())?;
    Ok(ScoreList(Some(scores)))
}

fn parse_precision(text: &str) -> Result<ScorePrecision, String> {
    match text {
        "f32" => Ok(ScorePrecision::F32),
        "f64" => Ok(ScorePrecision::F64),
        _ => Err("expected f32 or f64".to_owned()),
    }
}
