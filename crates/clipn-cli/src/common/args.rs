use std::path::{Path, PathBuf};

use clap::{Args, Parser, Subcommand, ValueEnum};
use clipn::classifier::Wording;
use clipn::evaluation::Parallelism;
use clipn::model::{LogitScale, Pretrained, Weights};
use clipn::prompts::TemplateSet;
use clipn::scores::{Score, by_name};

use crate::commands::bench::BenchArgs;
use crate::commands::calibrate::CalibrateArgs;
use crate::commands::classifier::ClassifierCommand;
use crate::commands::classify::ClassifyArgs;
use crate::commands::convert::ConvertArgs;
use crate::commands::demo::DemoArgs;
use crate::commands::eval::EvalArgs;
use crate::commands::inspect::InspectArgs;
use crate::commands::models::ModelsArgs;
use crate::commands::recipe::RecipeArgs;
use crate::commands::results::ResultsCommand;
#[cfg(feature = "serve")]
use crate::commands::serve::ServeArgs;
use crate::commands::train::TrainArgs;
use crate::common::weights::DownloadArgs;

/// Zero-shot classification that knows when to say no (CLIPN).
#[derive(Debug, Parser)]
#[command(version, arg_required_else_help = true, max_term_width = 110)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Measure how well a model tells in-distribution from out-of-distribution images
    Eval(EvalArgs),
    /// Merge the results of several runs into mean ± spread, or show results again
    #[command(subcommand)]
    Results(ResultsCommand),
    /// Give pictures one of your labels, or "unknown"
    Classify(Box<ClassifyArgs>),
    /// Build, show and change bundles: a classifier for deployment in one file
    #[command(subcommand)]
    Classifier(ClassifierCommand),
    /// Find the threshold that keeps the share of pictures that you want, and write it into a bundle
    Calibrate(CalibrateArgs),
    /// Answer pictures over HTTP: JSON, a page to try them on, health and metrics
    #[cfg(feature = "serve")]
    Serve(Box<ServeArgs>),
    /// Tell what weights are: kind, architecture, preprocessing, tensors, whether there is a "no" side
    Inspect(InspectArgs),
    /// Write weights in another form: one file with its config, or a folder of open_clip's hub or of transformers
    Convert(ConvertArgs),
    /// List the architectures that are built in, with their sizes and what they cost; or tell one in detail
    Models(ModelsArgs),
    /// Train a CLIP, or teach one to say "no", on images with captions
    Train(Box<TrainArgs>),
    /// Run the commands of a recipe one after the other, as those of recipes/
    Recipe(RecipeArgs),
    /// Try everything on a small world drawn for the purpose: train, teach "no", evaluate, report
    Demo(DemoArgs),
    /// Measure the speed of everything on this machine
    Bench(BenchArgs),
}

/// The form of the results on standard output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    Table,
    Json,
    Csv,
}

/// Where the towers run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Device {
    Cpu,
}

/// Which lines the "no" tower reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Variant {
    /// Handcrafted where the weights have a "no" side without learnable prompts and the templates have `no` lines
    Auto,
    /// Both towers read the `yes` lines
    Learnable,
    /// The "no" tower reads the `no` lines
    Handcrafted,
}

/// Which model.
#[derive(Debug, Args)]
pub struct ModelArgs {
    /// Architecture, as ViT-B-16, or an open_clip model config [default: the one that comes with the weights]
    #[arg(long, value_name = "NAME|CONFIG.json")]
    pub model: Option<String>,
    /// Weights: safetensors, PyTorch .pt, OpenAI's TorchScript, a folder of transformers, of open_clip's hub or of a
    /// training checkpoint, hf-hub:OWNER/NAME, or with --model one of open_clip's tags, as laion2b_s34b_b88k [default:
    /// clipn-mini, a small model that is built in]
    #[arg(long, value_name = "FILE|DIR|NAME")]
    pub pretrained: Option<PathBuf>,
    #[command(flatten)]
    pub downloads: DownloadArgs,
}

impl ModelArgs {
    /// The weights as they were asked for.
    pub fn asked(&self) -> &Path {
        let name = || Path::new(self.model.as_deref().unwrap_or(Pretrained::MINI));
        self.pretrained.as_deref().unwrap_or_else(name)
    }
}

/// What the classes are asked with.
#[derive(Debug, Args)]
pub struct PromptArgs {
    /// Sentences around the class names: clipn (the published lines, their literal quotes kept), clipn-clean, plain,
    /// simple, or a file with one template a line [default: those that the weights name, else clipn]
    #[arg(long, value_name = "NAME|FILE")]
    pub templates: Option<String>,
    /// Which lines the "no" tower reads
    #[arg(long, value_enum, default_value = "auto")]
    pub variant: Variant,
    /// Factor between cosines and logits: published (100) or trained, the model's own [default: what the weights name,
    /// else published]
    #[arg(long, value_name = "published|trained")]
    pub logit_scale: Option<LogitScale>,
}

/// How the work is spread.
#[derive(Debug, Args)]
pub struct RunArgs {
    /// Images that a worker takes at a time
    #[arg(long, value_name = "N", default_value = "16", value_parser = parse_count)]
    pub batch_size: usize,
    /// Workers, each decoding and encoding [default: one a core]
    #[arg(long, value_name = "N", value_parser = parse_count)]
    pub workers: Option<usize>,
    /// Where the towers run: cpu
    #[arg(long, default_value = "cpu", value_parser = parse_device)]
    pub device: Device,
    /// Stop at the first image that cannot be read, instead of telling it and going on
    #[arg(long)]
    pub strict: bool,
}

impl RunArgs {
    pub fn parallelism(&self) -> Parallelism {
        let default = Parallelism::default();
        Parallelism {
            batch_size: self.batch_size,
            workers: self.workers.unwrap_or(default.workers),
        }
    }
}

pub fn parse_score(text: &str) -> Result<&'static dyn Score, String> {
    by_name(text).map_err(|e| e.to_string())
}

pub fn parse_device(text: &str) -> Result<Device, String> {
    match text {
        "cpu" => Ok(Device::Cpu),
        _ => Err("this program runs on the CPU only; give --device cpu or leave it out".to_owned()),
    }
}

pub fn parse_count(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(count @ 1..=4096) => Ok(count),
        _ => Err("give a whole number from 1 to 4096".to_owned()),
    }
}

impl Variant {
    /// The wording that it means for weights and templates.
    pub fn wording(self, weights: &Weights, templates: &TemplateSet) -> Wording {
        match self {
            Self::Learnable => Wording::Learnable,
            Self::Handcrafted => Wording::HandCrafted,
            Self::Auto => Wording::suited_to(weights, templates),
        }
    }
}
