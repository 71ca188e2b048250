use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::common::args::{Format, ModelArgs, PromptArgs};
use crate::common::weights::DownloadArgs;

#[derive(Debug, Subcommand)]
pub enum ClassifierCommand {
    /// Encode class names and write them as a bundle
    Build(BuildArgs),
    /// Tell what a bundle holds
    Show(ShowArgs),
    /// Add classes to a bundle; the others are not encoded again
    Add(AddArgs),
    /// Remove classes from a bundle
    Remove(RemoveArgs),
}

#[derive(Debug, Args)]
pub struct BuildArgs {
    #[command(flatten)]
    pub model: ModelArgs,
    /// Class names: a file with one a line, imagenet-1k, or "a,b,c"
    #[arg(long, value_name = "FILE|NAME|LIST")]
    pub classes: String,
    #[command(flatten)]
    pub prompts: PromptArgs,
    /// Put the image tower into the bundle, which then needs no weights beside it
    #[arg(long)]
    pub with_model: bool,
    /// Treat pixels as the published evaluation does: no EXIF rotation, 16-bit grey clipped
    #[arg(long)]
    pub faithful_pixels: bool,
    /// The bundle to be written
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
    /// Replace what is there under that name
    #[arg(long)]
    pub force: bool,
}

#[derive(Debug, Args)]
pub struct ShowArgs {
    /// The bundle
    #[arg(value_name = "BUNDLE")]
    pub bundle: PathBuf,
    /// Form of the results on standard output; csv lists the classes
    #[arg(long, value_enum, default_value = "table")]
    pub format: Format,
}

/// Where a changed bundle goes.
#[derive(Debug, Args)]
pub struct ChangedArgs {
    /// The bundle
    #[arg(value_name = "BUNDLE")]
    pub bundle: PathBuf,
    /// Write the changed bundle here instead of over the old one
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// Replace what is there under that name
    #[arg(long, requires = "out")]
    pub force: bool,
}

#[derive(Debug, Args)]
pub struct AddArgs {
    #[command(flatten)]
    pub changed: ChangedArgs,
    /// Names to add: a file with one a line, or "a,b,c"
    #[arg(long, value_name = "FILE|LIST")]
    pub classes: String,
    /// The weights that the bundle was built with, where they are not where it says
    #[arg(long, value_name = "FILE|DIR|NAME")]
    pub pretrained: Option<PathBuf>,
    #[command(flatten)]
    pub downloads: DownloadArgs,
}

#[derive(Debug, Args)]
pub struct RemoveArgs {
    #[command(flatten)]
    pub changed: ChangedArgs,
    /// Names to remove: a file with one a line, or "a,b,c"
    #[arg(long, value_name = "FILE|LIST")]
    pub classes: String,
}
