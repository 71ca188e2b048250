use std::path::PathBuf;

use clap::{ArgGroup, Args, Subcommand, ValueEnum};
use clipn::model::TextSide;

use crate::commands::classify::{ShardArgs, SourceArgs};
use crate::common::args::{Format, ModelArgs, RunArgs, VariantChoice};
use crate::common::device::DeviceArgs;
use crate::common::pixels::PixelArgs;

/// What to embed.
#[derive(Debug, Subcommand)]
pub(crate) enum EmbedCommand {
    /// Features of images, from the image tower
    Images(Box<EmbedImagesArgs>),
    /// Features of texts, one per line, or of class names with templates, from a text tower
    Texts(Box<EmbedTextsArgs>),
}

/// Number format of the features in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ElementType {
    F32,
    F16,
}

/// The output file and its keys.
#[derive(Debug, Clone, Args)]
pub(crate) struct EmbedOutputArgs {
    /// Write the features [N, D] to this file: .npy, .safetensors or .parquet
    #[arg(long, value_name = "FILE")]
    pub output: PathBuf,
    /// Write the key of each row, an image's path or a text, to this file: .jsonl or .parquet
    /// [default: NAME.keys.jsonl beside the output; a .parquet output has a column of them]
    #[arg(long, value_name = "FILE")]
    pub keys: Option<PathBuf>,
    /// Number format of the features
    #[arg(long, value_enum, default_value = "f32")]
    pub dtype: ElementType,
    /// Leave the features as the tower returns them instead of normalizing them to length 1
    #[arg(long)]
    pub no_normalize: bool,
    /// Resume an interrupted run from its output; start if there is none
    #[arg(long, conflicts_with = "force")]
    pub resume: bool,
    /// Replace an existing output
    #[arg(long)]
    pub force: bool,
    /// Format of the counts on standard output
    #[arg(long, value_enum, default_value = "table")]
    pub format: Format,
}

#[derive(Debug, Args)]
#[command(group = ArgGroup::new("input").args(["paths", "list"]).required(true).multiple(true))]
pub(crate) struct EmbedImagesArgs {
    #[command(flatten)]
    pub model: ModelArgs,
    /// Decode pixels as the published evaluation and `clipn eval` do: no EXIF rotation, 16-bit gray
    /// clipped
    #[arg(long)]
    pub faithful_pixels: bool,
    #[command(flatten)]
    pub pixels: PixelArgs,
    #[command(flatten)]
    pub run: RunArgs,
    #[command(flatten)]
    pub output: EmbedOutputArgs,
    #[command(flatten)]
    pub shard: ShardArgs,
    #[command(flatten)]
    pub sources: SourceArgs,
}

#[derive(Debug, Args)]
pub(crate) struct EmbedTextsArgs {
    #[command(flatten)]
    pub model: ModelArgs,
    #[command(flatten)]
    pub device: DeviceArgs,
    /// Text tower
    #[arg(long, value_enum, default_value = "yes")]
    pub side: Side,
    /// Fill class names into templates, and average: one row per class, as classifiers have it
    ///
    /// INPUT is then read as --classes of `clipn classify`. The values are those of --templates there.
    #[arg(long, value_name = "NAME|FILE", conflicts_with = "no_normalize")]
    pub templates: Option<String>,
    /// Templates that the "no" tower reads
    #[arg(long, value_enum, default_value = "auto", requires = "templates")]
    pub variant: VariantChoice,
    /// Accept class names that are the same for the model
    #[arg(long, requires = "templates")]
    pub allow_duplicates: bool,
    #[command(flatten)]
    pub output: EmbedOutputArgs,
    #[command(flatten)]
    pub shard: ShardArgs,
    /// Texts, one per line; `-` is standard input
    #[arg(value_name = "INPUT")]
    pub input: String,
}

/// Value of `--side`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Side {
    /// CLIP's own text tower
    Yes,
    /// The tower that has learned to say "no"
    No,
}

impl Side {
    /// The library's name for it.
    pub(crate) fn text_side(self) -> TextSide {
        match self {
            Self::Yes => TextSide::Yes,
            Self::No => TextSide::No,
        }
    }
}
