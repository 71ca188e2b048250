use std::path::PathBuf;

use clap::Args;
use clipn::evaluation::{Precision, Repeat};
use clipn::metrics::FprConvention;
use clipn::scores::{Score, parse_list};

use crate::common::args::{Format, ModelArgs, PromptArgs, RunArgs};
use crate::common::error::CliError;
use crate::common::weights::DownloadArgs;

#[derive(Debug, Args)]
pub struct EvalArgs {
    /// Architecture, as ViT-B-16, or an open_clip model config [default: the one that comes with the weights]
    #[arg(long, value_name = "NAME|CONFIG.json")]
    pub model: Option<String>,
    /// Weights, as for `clipn classify`; several, as those of other seeds, are evaluated one after the other and merged
    /// into mean ± standard deviation [default: clipn-mini, a small model that is built in]
    #[arg(long, value_name = "FILE|DIR|NAME", num_args = 1..)]
    pub pretrained: Vec<PathBuf>,
    #[command(flatten)]
    pub downloads: DownloadArgs,
    /// Class names in the order of the sorted class folders: a file, imagenet-1k, or "a,b,c" [default: the benchmark's,
    /// or the names of the folders]
    #[arg(long, value_name = "FILE|NAME|LIST")]
    pub classes: Option<String>,
    #[command(flatten)]
    pub prompts: PromptArgs,
    /// In-distribution images: a folder with one folder a class, or an image list (.txt, `path label` a line)
    #[arg(
        long,
        value_name = "[NAME=]DIR",
        required_unless_present = "benchmark",
        conflicts_with = "benchmark",
        requires = "ood"
    )]
    pub id: Option<String>,
    /// Out-of-distribution images, a folder of any depth or an image list; may be given again
    #[arg(
        long,
        value_name = "NAME=DIR",
        conflicts_with = "benchmark",
        requires = "id"
    )]
    pub ood: Vec<String>,
    /// A benchmark definition: imagenet-1k, tiny-imagenet-ood, or a TOML file
    #[arg(long, value_name = "NAME|FILE", requires = "data_root")]
    pub benchmark: Option<String>,
    /// The folder that holds the benchmark's data
    #[arg(long, value_name = "DIR", requires = "benchmark")]
    pub data_root: Option<PathBuf>,
    /// Turn every image grey first: a control against telling sets apart by colour
    #[arg(long)]
    pub grey: bool,
    /// Scores: all, or some of msp,maxlogit,energy,mcm,ctw,atd,energy-handcrafted
    #[arg(long, value_name = "LIST", default_value = "all", value_parser = parse_scores)]
    pub scores: Scores,
    /// Arithmetic of the scores: f32 as published, or f64 in log space, which does not saturate
    #[arg(long, value_name = "f32|f64", default_value = "f32", value_parser = parse_precision)]
    pub score_precision: Precision,
    /// Definition of FPR95: clipn (as published), mcm or openood
    #[arg(long, value_name = "NAME", default_value = "clipn")]
    pub fpr_convention: FprConvention,
    /// Tell how sure the figures are: compute them again on N bootstrap resamples of the images of each set, or with
    /// --subset on N random subsets; every image is scored once
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(2..=10_000))]
    pub repeat: Option<u32>,
    /// Images of each set in a subset, drawn without replacement; figures are means over the subsets
    #[arg(long, value_name = "M", requires = "repeat", value_parser = clap::value_parser!(u32).range(1..))]
    pub subset: Option<u32>,
    /// What the draws of --repeat depend on
    #[arg(long, value_name = "S", default_value = "0", requires = "repeat")]
    pub seed: u64,
    #[command(flatten)]
    pub run: RunArgs,
    /// Folder for results.json, results.csv, scores.csv (a row an image), histograms.svg and report.html
    #[arg(long, value_name = "DIR")]
    pub output: Option<PathBuf>,
    /// Form of the results on standard output
    #[arg(long, value_enum, default_value = "table")]
    pub format: Format,
}

impl EvalArgs {
    /// The models, one for each of the weights.
    pub fn models(&self) -> Result<Vec<ModelArgs>, CliError> {
        if self.pretrained.len() > 1 && self.repeat.is_some() {
            let problem = "--repeat tells the spread over images and several --pretrained that over weights; leave one out";
            return Err(CliError::Usage(problem.to_owned()));
        }
        let twice = self
            .pretrained
            .iter()
            .enumerate()
            .find(|(i, path)| self.pretrained[..*i].contains(path));
        if let Some((_, path)) = twice {
            return Err(CliError::Usage(format!(
                "--pretrained {} is given twice",
                path.display()
            )));
        }
        let model = |pretrained| ModelArgs {
            model: self.model.clone(),
            pretrained,
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

    /// How the count is repeated, where it is.
    pub fn repeat(&self) -> Option<Repeat> {
        let subset = self.subset.map(|size| size as usize);
        self.repeat.map(|n| Repeat {
            n: n as usize,
            subset,
            seed: self.seed,
        })
    }
}

/// A list of scores, as one argument.
#[derive(Debug, Clone)]
pub struct Scores(pub Vec<&'static dyn Score>);

fn parse_scores(text: &str) -> Result<Scores, String> {
    parse_list(text).map(Scores).map_err(|e| e.to_string())
}

fn parse_precision(text: &str) -> Result<Precision, String> {
    match text {
        "f32" => Ok(Precision::F32),
        "f64" => Ok(Precision::F64),
        _ => Err("give f32 or f64".to_owned()),
    }
}
