//! Arguments that several commands share.

use std::path::{Path, PathBuf};

use clap::builder::PossibleValue;
use clap::{Args, ValueEnum};
use clipn::count::count;
use clipn::inference::Parallelism;
use clipn::model::{LogitScale, PretrainedWeights};
use clipn::prompts::PromptVariant;
use clipn::scores::{Score, by_name};

use crate::common::cores::Cores;
use crate::common::device::{Device, DeviceArgs};
use crate::common::messages::detail;
use crate::common::weights::{DownloadArgs, WeightsKeyArgs};

/// Format of the results on standard output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    Table,
    Json,
    Csv,
}

/// Format of the results of an evaluation on standard output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ResultFormat {
    /// AUROC and FPR95 in columns
    Table,
    /// Everything in results.json
    Json,
    /// One row per score and set, with all metrics as fractions
    Csv,
    /// The table, for READMEs and issues
    Markdown,
    /// The table with the package booktabs, for papers
    Latex,
    /// OpenOOD's CSV columns in per cent, with the means nearood and farood
    Openood,
}

/// Variant of the prompts: which templates the "no" tower reads. `None` takes the variant that
/// suits the weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct VariantChoice(pub Option<PromptVariant>);

impl VariantChoice {
    /// Name in the settings of outputs.
    pub(crate) fn settings_name(self) -> &'static str {
        match self.0 {
            None => "Auto",
            Some(PromptVariant::Learnable) => "Learnable",
            Some(PromptVariant::HandCrafted) => "Handcrafted",
        }
    }
}

impl ValueEnum for VariantChoice {
    fn value_variants<'a>() -> &'a [Self] {
        &[
            Self(None),
            Self(Some(PromptVariant::Learnable)),
            Self(Some(PromptVariant::HandCrafted)),
        ]
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(match self.0 {
            None => PossibleValue::new("auto").help(
                "Handcrafted if the weights have a \"no\" side without learnable prompts and the \
                 templates have `no` lines, else learnable",
            ),
            Some(PromptVariant::Learnable) => {
                PossibleValue::new("learnable").help("Both towers read the `yes` lines")
            }
            Some(PromptVariant::HandCrafted) => PossibleValue::new("handcrafted")
                .alias("hand-crafted")
                .help("The \"no\" tower reads the `no` lines"),
        })
    }
}

/// Architecture and weights.
#[derive(Debug, Clone, Args)]
pub(crate) struct ModelArgs {
    /// Architecture, such as ViT-B-16, or an open_clip model config [default: from the weights]
    #[arg(long, value_name = "NAME|CONFIG.json")]
    pub model: Option<String>,
    /// Weights file or directory, hf-hub:OWNER/NAME, or an open_clip tag with --model
    #[cfg_attr(feature = "mini", doc = "[default: clipn-mini, built in]")]
    ///
    /// Files: safetensors, PyTorch .pt, OpenAI's TorchScript. Directories: transformers,
    /// open_clip's hub, training checkpoints. Tags of open_clip, such as laion2b_s34b_b88k, need
    /// --model.
    #[arg(long, value_name = "FILE|DIR|NAME")]
    pub pretrained: Option<PathBuf>,
    #[command(flatten)]
    pub key: WeightsKeyArgs,
    #[command(flatten)]
    pub downloads: DownloadArgs,
}

impl ModelArgs {
    /// The weights as the user named them.
    pub(crate) fn requested(&self) -> &Path {
        let name = || Path::new(self.model.as_deref().unwrap_or(PretrainedWeights::MINI));
        self.pretrained.as_deref().unwrap_or_else(name)
    }
}

/// Prompts of the classes, and the scale of their logits.
#[derive(Debug, Clone, Args)]
pub(crate) struct PromptArgs {
    /// Prompt templates: clipn, clipn-clean, plain, simple, or a file with one template per line or
    /// with sentences per class [default: from the weights, else clipn]
    ///
    /// clipn has the published lines with their literal quotes; clipn-clean has them without. A JSON
    /// object from class names to lists of sentences (CuPL) gives each class its own.
    #[arg(long, value_name = "NAME|FILE")]
    pub templates: Option<String>,
    /// Templates that the "no" tower reads
    #[arg(long, value_enum, default_value = "auto")]
    pub variant: VariantChoice,
    /// Factor from cosines to logits: published (100), or the model's trained one [default: from
    /// the weights, else published]
    #[arg(long, value_name = "published|trained")]
    pub logit_scale: Option<LogitScale>,
    /// Accept class names that are the same for the model; they share their probability
    #[arg(long)]
    pub allow_duplicates: bool,
}

/// Parallelism, device, and handling of unreadable images.
#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    /// Images per batch of one worker [default: 16 on the CPU, 64 on a GPU]
    #[arg(long, value_name = "N", value_parser = parse_count)]
    pub batch_size: Option<usize>,
    /// Worker threads; each decodes and encodes [default: one per core]
    #[arg(long, value_name = "N", value_parser = parse_count)]
    pub workers: Option<usize>,
    #[command(flatten)]
    pub device: DeviceArgs,
    /// Stop at the first unreadable image instead of reporting and skipping it
    #[arg(long)]
    pub strict: bool,
}

impl RunArgs {
    /// Workers and their batch size on a device.
    pub(crate) fn parallelism(&self, device: &Device) -> Parallelism {
        let preferred = if device.is_cpu() { 16 } else { 64 };
        Parallelism {
            batch_size: self.batch_size.unwrap_or(preferred),
            workers: self.workers.unwrap_or_else(Cores::default_threads),
        }
    }

    /// Prints the parallelism, if verbose.
    pub(crate) fn report(&self, device: &Device) {
        let Parallelism {
            batch_size,
            workers,
        } = self.parallelism(device);
        detail(format_args!(
            "{}, batches of {}",
            count(workers, "worker"),
            count(batch_size, "image")
        ));
    }
}

pub(crate) fn parse_score(text: &str) -> Result<&'static dyn Score, String> {
    by_name(text).map_err(|e| e.to_string())
}

pub(crate) fn parse_count(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(count @ 1..=4096) => Ok(count),
        _ => Err("expected a whole number from 1 to 4096".to_owned()),
    }
}

/// Parses a rate, from 0 to 1.
pub(crate) fn parse_rate(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(rate) if (0.0..=1.0).contains(&rate) => Ok(rate),
        _ => Err("expected a fraction from 0 to 1, such as 0.95".to_owned()),
    }
}

/// Splits `NAME=PATH`; the name of a plain path is its file stem.
pub(crate) fn named_path(spec: &str) -> (String, PathBuf) {
    match spec.split_once('=') {
        Some((name, path)) if !name.is_empty() && !name.contains(['/', '\\']) => {
            (name.to_owned(), path.into())
        }
        _ => {
            let path = PathBuf::from(spec);
            let name = path
                .file_stem()
                .map_or_else(|| spec.to_owned(), |n| n.to_string_lossy().into_owned());
            (name, path)
        }
    }
}
