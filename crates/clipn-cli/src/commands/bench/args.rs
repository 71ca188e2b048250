use std::path::PathBuf;

use clap::{Args, ValueEnum};
use clipn::model::Precision;
use serde::{Deserialize, Serialize};

use crate::common::args::Format;
use crate::common::device::DeviceArgs;
use crate::common::weights::DownloadArgs;

/// A benchmark task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Task {
    /// Image tower of ViT-B-32, 32 images
    ImageB32,
    /// Image tower of ViT-B-16, 16 images
    ImageB16,
    /// Image tower of ViT-B-32, one image
    ImageB32Single,
    /// Like image-b32 in int8
    ImageB32Int8,
    /// Like image-b16 in int8
    ImageB16Int8,
    /// Like image-b32-single in int8
    ImageB32SingleInt8,
    /// Image tower of --model (ViT-B-32), 32 images
    Image,
    /// Like image in int8
    ImageInt8,
    /// Text tower, 32 texts of 77 ids
    Text77,
    /// Text tower, 64 texts of 16 ids
    Text16,
    /// Like text77 in int8
    Text77Int8,
    /// Like text16 in int8
    Text16Int8,
    /// Forward, backward and AdamW of a text tower with its token table, 32 texts of 77 ids
    Train77,
    /// Like train77 with 64 texts of 16 ids
    Train16,
    /// Classifier of class names and templates, "yes" and "no"
    Classifier,
    /// Like classifier in int8
    ClassifierInt8,
    /// Training step of objective clipn, 32 images with captions
    Step,
    /// Like step with cached features of the frozen towers
    StepCached,
    /// Decode, resize and crop the photos of --data, one thread
    Pixels,
    /// AUROC, AUPR and FPR95 of every score and convention, 50,000 + 10,000 images
    Metrics,
    /// Matrix-product peak of the machine, the reference of the others; always measured.
    #[value(skip)]
    ProductPeak,
}

impl Task {
    /// Precision of the towers of the task.
    pub(crate) fn precision(self) -> Precision {
        match self {
            Self::ImageB32Int8
            | Self::ImageB16Int8
            | Self::ImageB32SingleInt8
            | Self::ImageInt8
            | Self::Text77Int8
            | Self::Text16Int8
            | Self::ClassifierInt8 => Precision::Int8,
            _ => Precision::F32,
        }
    }

    /// Whether the task has an architecture of its own.
    pub(crate) fn has_fixed_model(self) -> bool {
        matches!(
            self,
            Self::ImageB32
                | Self::ImageB16
                | Self::ImageB32Single
                | Self::ImageB32Int8
                | Self::ImageB16Int8
                | Self::ImageB32SingleInt8
        )
    }

    /// Whether the task takes `--model`.
    pub(crate) fn takes_model(self) -> bool {
        !self.has_fixed_model() && !matches!(self, Self::Pixels | Self::Metrics | Self::ProductPeak)
    }

    /// Whether the task takes `--batch-size`.
    pub(crate) fn takes_batch_size(self) -> bool {
        matches!(
            self,
            Self::ImageB32
                | Self::ImageB16
                | Self::ImageB32Int8
                | Self::ImageB16Int8
                | Self::Image
                | Self::ImageInt8
                | Self::Text77
                | Self::Text16
                | Self::Text77Int8
                | Self::Text16Int8
        )
    }

    /// Whether the task takes `--data`.
    pub(crate) fn takes_data(self) -> bool {
        matches!(self, Self::Step | Self::StepCached | Self::Pixels)
    }

    /// Whether the task takes `--full`.
    pub(crate) fn is_classifier(self) -> bool {
        matches!(self, Self::Classifier | Self::ClassifierInt8)
    }

    /// Name on the command line, in results and for child processes.
    pub(crate) fn name(self) -> String {
        self.to_possible_value().map_or_else(
            || "product-peak".to_owned(),
            |value| value.get_name().to_owned(),
        )
    }
}

#[derive(Debug, Args)]
#[command(after_long_help = LONG_HELP)]
pub(crate) struct BenchArgs {
    /// Tasks to measure [default: all that the other arguments allow]
    #[arg(value_enum, value_name = "TASK")]
    pub tasks: Vec<Task>,
    /// Number of threads; pixels and metrics always use one [default: one per core]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub threads: Option<u16>,
    /// Number of repetitions, after a warm-up that does not count
    #[arg(long, value_name = "N", default_value = "7", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub reps: u32,
    /// Measure two repetitions only
    #[arg(long, conflicts_with = "reps")]
    pub quick: bool,
    /// Build the classifier of all 1000 names and all templates once, which takes minutes
    #[arg(long)]
    pub full: bool,
    /// Architecture [default: ViT-B-32]
    #[arg(long, value_name = "NAME|CONFIG.json")]
    pub model: Option<String>,
    /// Weights of --model [default: random]
    #[arg(long, value_name = "FILE|DIR|NAME", requires = "model")]
    pub pretrained: Option<PathBuf>,
    #[command(flatten)]
    pub downloads: DownloadArgs,
    #[command(flatten)]
    pub device: DeviceArgs,
    /// Images or texts per call of a tower [default: 16 to 64 on the CPU, what keeps a GPU busy]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=4096))]
    pub batch_size: Option<u16>,
    /// Directory of photos for pixels, and of a captions.tsv for step
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// Results of an earlier run (--format json) to compare with
    ///
    /// Shows the ratio of the rates with a 95 % confidence interval, from resampled repetitions. Runs
    /// at different times also differ by other load on the machine.
    #[arg(long, value_name = "FILE")]
    pub compare: Option<PathBuf>,
    /// Format of the results on standard output
    #[arg(long, value_enum, default_value = "table")]
    pub format: Format,
}

impl BenchArgs {
    /// Number of measured repetitions.
    pub(crate) fn repetitions(&self) -> u32 {
        if self.quick { 2 } else { self.reps }
    }
}

const LONG_HELP: &str = "\
Each task runs in its own process, so that its peak memory is measured separately. Weights are \
random unless --pretrained is given; only time and memory are meaningful.

GFLOP/s count the operations of the published computation, whatever is actually computed: one \
operation per multiplication and per addition of the matrix products (patch embedding, linear \
layers, attention over all positions, projection), texts padded to the model's context in \
classifier and step, a backward pass as two forward passes; norms, activations and AdamW do not \
count. Work that clipn skips because it cannot change the result still counts and shows as a \
higher rate, so the fraction of the machine's peak may exceed 100 %. That peak is measured in the \
same run: f32 matrix products on all threads.";
