use std::path::PathBuf;

use clap::{Args, ValueEnum};
use serde::{Deserialize, Serialize};

use crate::common::args::Format;
use crate::common::weights::DownloadArgs;

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Task {
    /// Image tower of ViT-B-32, 32 images
    ImageB32,
    /// Image tower of ViT-B-16, 16 images
    ImageB16,
    /// Image tower of --model (ViT-B-32), 32 images
    Image,
    /// Text tower, 32 texts of 77 ids
    Text77,
    /// Text tower, 64 texts of 16 ids
    Text16,
    /// Forward, backward and AdamW of a text tower with its token table, 32 texts of 77 ids
    Train77,
    /// The same, 64 texts of 16 ids
    Train16,
    /// Classifier of class names and templates, "yes" and "no"
    Classifier,
    /// Training step of objective clipn, 32 images with captions
    Step,
    /// The same where the features of the frozen towers are known
    StepCached,
    /// Decode, resize and crop the photographs of --data, one thread
    Pixels,
    /// AUROC, AUPR and FPR95 of every score and convention, 50,000 + 10,000 images
    Metrics,
    /// The machine's matrix products, which the others are held against.
    #[value(hide = true)]
    ProductPeak,
}

impl Task {
    /// The name on the command line.
    pub fn name(self) -> String {
        self.to_possible_value().map_or_else(
            || "product-peak".to_owned(),
            |value| value.get_name().to_owned(),
        )
    }
}

#[derive(Debug, Args)]
#[command(after_long_help = COUNTING)]
pub struct BenchArgs {
    /// What to measure [default: all that the other arguments allow]
    #[arg(value_enum, value_name = "TASK")]
    pub tasks: Vec<Task>,
    /// Threads; pixels and metrics always take one [default: one a core]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub threads: Option<u16>,
    /// Repetitions, after one that warms up and is not counted
    #[arg(long, value_name = "N", default_value = "7", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub reps: u32,
    /// Two repetitions only
    #[arg(long, conflicts_with = "reps")]
    pub quick: bool,
    /// Really build the classifier of all 1000 names and all templates, once, which takes minutes
    #[arg(long)]
    pub full: bool,
    /// Another architecture than ViT-B-32
    #[arg(long, value_name = "NAME|CONFIG.json")]
    pub model: Option<String>,
    /// Its weights instead of random ones
    #[arg(long, value_name = "FILE|DIR|NAME", requires = "model")]
    pub pretrained: Option<PathBuf>,
    #[command(flatten)]
    pub downloads: DownloadArgs,
    /// Photographs for pixels, and captions for step where the folder holds a captions.tsv
    #[arg(long, value_name = "FOLDER")]
    pub data: Option<PathBuf>,
    /// Form of the results on standard output
    #[arg(long, value_enum, default_value = "table")]
    pub format: Format,
    /// Measure the one task in this very process and answer for another one.
    #[arg(long, hide = true)]
    pub child: bool,
}

impl BenchArgs {
    /// Repetitions that count.
    pub fn repetitions(&self) -> u32 {
        if self.quick { 2 } else { self.reps }
    }
}

const COUNTING: &str = "\
Each task runs in a process of its own, so that its peak memory is its own. Weights are random unless --pretrained \
gives some; only time and memory mean anything.

GFLOP/s are those of the published computation, whatever is really computed: one operation for each multiplication \
and for each addition of the matrix products (patch embedding, linear layers, attention over all positions, \
projection), texts padded to the model's context in classifier and step, a backward pass as two forward passes; norms, \
activations and AdamW count nothing. What clipn leaves out because it cannot change the result earns no credit in the count and shows \
as a higher rate, so that the share of the machine's peak may exceed 100 %. That peak is measured in the same run: f32 \
matrix products on every thread.";
