use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::common::args::{Format, ModelArgs, PromptArgs};
use crate::common::device::DeviceArgs;
use crate::common::negatives::NegativesArgs;
use crate::common::pixels::PixelArgs;
use crate::common::weights::{DownloadArgs, WeightsKeyArgs};

#[derive(Debug, Subcommand)]
pub(crate) enum ClassifierCommand {
    /// Encode class names and write them as a bundle
    Build(BuildArgs),
    /// Show what a bundle contains
    Show(ShowArgs),
    /// Add classes to a bundle without encoding the others again
    Add(AddArgs),
    /// Remove classes from a bundle
    Remove(RemoveArgs),
}

#[derive(Debug, Args)]
pub(crate) struct BuildArgs {
    #[command(flatten)]
    pub model: ModelArgs,
    /// Class names: a file with one per line, imagenet-1k, cifar10, or "a,b,c"
    #[arg(long, value_name = "FILE|NAME|LIST")]
    pub classes: String,
    #[command(flatten)]
    pub prompts: PromptArgs,
    #[command(flatten)]
    pub negatives: NegativesArgs,
    /// Store the image tower in the bundle, which then needs no weights file
    #[arg(long)]
    pub with_model: bool,
    /// Decode pixels as the published evaluation does: no EXIF rotation, 16-bit gray clipped
    #[arg(long)]
    pub faithful_pixels: bool,
    #[command(flatten)]
    pub pixels: PixelArgs,
    #[command(flatten)]
    pub device: DeviceArgs,
    /// Bundle to write
    #[arg(long, alias = "output", value_name = "FILE")]
    pub out: PathBuf,
    /// Replace an existing file
    #[arg(long)]
    pub force: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ShowArgs {
    /// Bundle to read
    #[arg(value_name = "BUNDLE")]
    pub bundle: PathBuf,
    /// Write the negatives of the bundle to this file, for --negatives
    #[arg(long, value_name = "FILE.safetensors")]
    pub negatives: Option<PathBuf>,
    /// Format of the results on standard output; csv lists the classes
    #[arg(long, value_enum, default_value = "table")]
    pub format: Format,
}

/// Input and output of a change.
#[derive(Debug, Args)]
pub(crate) struct ChangeArgs {
    /// Bundle to read
    #[arg(value_name = "BUNDLE")]
    pub bundle: PathBuf,
    /// Write the changed bundle here instead of replacing the input
    #[arg(long, alias = "output", value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// Replace an existing file
    #[arg(long, requires = "out")]
    pub force: bool,
}

#[derive(Debug, Args)]
pub(crate) struct AddArgs {
    #[command(flatten)]
    pub change: ChangeArgs,
    /// Class names to add: a file with one per line, or "a,b,c"
    #[arg(long, value_name = "FILE|LIST")]
    pub classes: String,
    /// Sentences of the new classes, for a bundle whose classes have sentences of their own: a JSON
    /// object from class names to lists
    #[arg(long, value_name = "FILE.json")]
    pub templates: Option<String>,
    /// Accept class names that are the same for the model; they share their probability
    #[arg(long)]
    pub allow_duplicates: bool,
    /// Weights that the bundle was built with [default: the path or name in the bundle]
    #[arg(long, value_name = "FILE|DIR|NAME")]
    pub pretrained: Option<PathBuf>,
    #[command(flatten)]
    pub key: WeightsKeyArgs,
    #[command(flatten)]
    pub downloads: DownloadArgs,
    #[command(flatten)]
    pub device: DeviceArgs,
}

#[derive(Debug, Args)]
pub(crate) struct RemoveArgs {
    #[command(flatten)]
    pub change: ChangeArgs,
    /// Class names to remove: a file with one per line, or "a,b,c"
    #[arg(long, value_name = "FILE|LIST")]
    pub classes: String,
}
