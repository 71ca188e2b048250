use std::path::{Component, Path, PathBuf};

use clap::{Args, ValueEnum};
use clipn::dataset::TableQuoting;
use clipn::image::ColorJitter;
use clipn::training::{LossWeights, ObjectiveName, Reduction, TsoForm};

use super::overrides::PROCESS_FLAGS;
use crate::common::args::parse_count;
use crate::common::cores::Cores;
use crate::common::device::DeviceArgs;
use crate::common::distributed::DistributedArgs;
use crate::common::error::CliError;
use crate::common::text_features::parse_no_scale;
use crate::common::weights::DownloadArgs;

/// Training objective.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ObjectiveChoice {
    /// A "no" tower with learnable prompts, everything else frozen
    Clipn,
    /// A "no" tower that reads its own templates
    ClipnHandcrafted,
    /// A plain CLIP: image tower, "yes" tower and logit scale
    Clip,
}

impl From<ObjectiveChoice> for ObjectiveName {
    fn from(choice: ObjectiveChoice) -> Self {
        match choice {
            ObjectiveChoice::Clipn => Self::Clipn,
            ObjectiveChoice::ClipnHandcrafted => Self::ClipnHandcrafted,
            ObjectiveChoice::Clip => Self::Clip,
        }
    }
}

/// Format of the training data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum DatasetType {
    /// Inferred from the extension: .csv, .tsv, .jsonl and .parquet are tables, anything else is
    /// shards
    Auto,
    Webdataset,
    Csv,
    Jsonl,
    Parquet,
}

/// Random augmentation of images.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum AugmentationName {
    /// RandomResizedCrop of 90 to 100 % of the area, bicubic
    Published,
    /// The crop of evaluation
    None,
}

#[derive(Debug, Args)]
pub(crate) struct TrainArgs {
    /// Training objective
    #[arg(long, value_enum, default_value = "clipn")]
    pub objective: ObjectiveChoice,
    /// Repeat the run of a settings.toml; flags that are given too replace its values
    #[arg(long, value_name = "FILE")]
    pub settings: Option<PathBuf>,
    /// Flags on the command line, by their names here; see [`super::overrides`].
    #[arg(skip)]
    pub given: Vec<&'static str>,
    /// Architecture, such as ViT-B-16, or an open_clip model config [default: from the weights]
    #[arg(long, value_name = "NAME|CONFIG.json")]
    pub model: Option<String>,
    /// Initial weights: a file, a directory, hf-hub:OWNER/NAME, or an open_clip tag with --model
    /// [default: with --objective clip, random]
    #[arg(long, value_name = "FILE|DIR|NAME")]
    pub pretrained: Option<PathBuf>,
    #[command(flatten)]
    pub downloads: DownloadArgs,
    /// Training data: shards (`shard-{000..099}.tar`, globs, lists, a directory), a CSV, TSV or JSON
    /// Lines file, or Parquet files
    #[arg(long, value_name = "SPEC", required_unless_present = "settings")]
    pub train_data: Option<String>,
    /// Format of the training data
    #[arg(long, value_enum, default_value = "auto")]
    pub dataset_type: DatasetType,
    /// Samples per epoch [default: all]
    #[arg(long, value_name = "N")]
    pub train_num_samples: Option<u64>,
    /// Draw shards with replacement
    #[arg(long)]
    pub dataset_resampled: bool,
    /// Files of a shard's samples, by extension, each key repeatable; `*.jpg` fits every extension
    /// that ends so [default: image=jpg,image=jpeg,image=png,image=webp,caption=txt,caption=json]
    #[arg(long, value_name = "image=EXT,caption=EXT", value_parser = parse_fields)]
    pub fields: Option<FieldNames>,
    /// Column separator of a CSV or TSV file; `\t` is a tab
    #[arg(long, value_name = "CHAR", default_value = "\\t", value_parser = parse_separator)]
    pub csv_separator: char,
    /// Quotes in a CSV or TSV file: minimal encloses fields, none is a character like any other
    /// [default: minimal, but none for a .tsv in which no field is quoted throughout]
    #[arg(long, value_name = "minimal|none", hide_default_value = true, default_value = "auto", value_parser = parse_quoting)]
    pub csv_quoting: TableQuoting,
    /// Column or key of images in a table
    #[arg(
        long,
        visible_alias = "image-key",
        value_name = "NAME",
        default_value = "filepath"
    )]
    pub csv_img_key: String,
    /// Column or key of captions in a table
    #[arg(
        long,
        visible_alias = "caption-key",
        value_name = "NAME",
        default_value = "title"
    )]
    pub csv_caption_key: String,
    /// Take captions from this key of a shard's JSON files instead of its text files
    #[arg(long, value_name = "KEY", conflicts_with = "class_names")]
    pub json_caption_key: Option<String>,
    /// Take captions from class indices, a shard's `cls` or a table's column of captions, and these
    /// names: a file, a list by name, or "a,b,c"
    #[arg(long, value_name = "FILE|NAME|LIST")]
    pub class_names: Option<String>,
    /// Maximum fraction of broken samples, from 0 to 1, before the run stops
    #[arg(long, value_name = "FRACTION", default_value = "0.1")]
    pub max_bad: f64,
    /// Random augmentation of images
    #[arg(long, value_enum, default_value = "published")]
    pub augmentation: AugmentationName,
    /// Range of the area of random crops, as a fraction of the image [default: 0.9,1]
    #[arg(long, value_name = "MIN,MAX", value_parser = parse_range)]
    pub crop_scale: Option<[f64; 2]>,
    /// Probability of a horizontal flip, from 0 to 1
    #[arg(long, value_name = "P", default_value = "0")]
    pub flip: f64,
    /// Scale brightness, contrast and saturation by random factors from 1 - X to 1 + X
    #[arg(long, alias = "colour-jitter", value_name = "B,C,S", value_parser = parse_jitter)]
    pub color_jitter: Option<ColorJitter>,
    /// Probability of conversion to grayscale, from 0 to 1
    #[arg(long, alias = "greyscale", value_name = "P", default_value = "0")]
    pub grayscale: f64,
    /// Probability of erasing a box of 2 to 33 % of a crop, from 0 to 1
    #[arg(long, value_name = "P", default_value = "0")]
    pub erasing: f64,
    /// Samples per batch
    #[arg(long, value_name = "N", default_value = "64", value_parser = parse_count)]
    pub batch_size: usize,
    /// Batches per optimizer step; the loss is over all of them
    #[arg(long, value_name = "N", default_value = "1", value_parser = parse_count)]
    pub accum_freq: usize,
    /// Number of epochs of the whole run
    #[arg(long, value_name = "N", default_value = "10")]
    pub epochs: u64,
    /// Learning rate
    #[arg(long, default_value = "3e-4")]
    pub lr: f64,
    /// Steps of linear warmup
    #[arg(long, value_name = "STEPS", default_value = "0")]
    pub warmup: u64,
    /// Keep the learning rate constant after warmup instead of cosine decay
    #[arg(long)]
    pub constant_lr: bool,
    /// Weight decay
    #[arg(long, default_value = "0.2")]
    pub wd: f64,
    /// AdamW's beta 1
    #[arg(long, default_value = "0.9")]
    pub beta1: f64,
    /// AdamW's beta 2
    #[arg(long, default_value = "0.98")]
    pub beta2: f64,
    /// AdamW's eps
    #[arg(long, default_value = "1e-6")]
    pub eps: f64,
    /// Maximum global norm of the gradients
    #[arg(long, value_name = "NORM")]
    pub grad_clip_norm: Option<f64>,
    /// Number of learnable "no" prompts
    #[arg(long, value_name = "N", default_value = "16")]
    pub no_prompts: usize,
    /// Weights of the losses L_yes, L_no and L_tso
    #[arg(long, value_name = "YES,NO,TSO", default_value = "0.5,0.5,0.5", value_parser = parse_weights)]
    pub loss_weights: LossWeights,
    /// Weight of the losses of synthetic outliers: images without content, one made from each training
    /// image, to which "no" must be said [default: 0, no outliers]
    #[arg(
        long,
        value_name = "WEIGHT",
        hide_default_value = true,
        default_value = "0"
    )]
    pub outlier_weight: f64,
    /// Share of the outliers that are illustrations, from 0 to 1: figures and landscapes drawn from scratch;
    /// for training data without drawings
    #[arg(long, value_name = "SHARE", default_value = "0")]
    pub illustrations: f64,
    /// Factor of the "no" logits over "yes" logits of the same cosine, recorded in the weights [default:
    /// that of the initial weights, else 1, as published]
    #[arg(long, value_name = "FACTOR", value_parser = parse_no_scale)]
    pub no_scale: Option<f64>,
    /// Distance of the loss L_tso
    #[arg(long, value_name = "l2|cosine", default_value = "l2")]
    pub tso: TsoForm,
    /// Template set of --objective clipn-handcrafted
    #[arg(long, value_name = "NAME|FILE", default_value = "clipn")]
    pub templates: String,
    /// Cache image features on disk; needs --augmentation none
    #[arg(long)]
    pub cache_image_features: bool,
    /// Directory of the feature cache, to share it among runs [default: in the run]
    #[arg(long, value_name = "DIR")]
    pub feature_cache: Option<PathBuf>,
    /// Threads that load images ahead [default: as many as --threads]
    #[arg(long, value_name = "N")]
    pub workers: Option<usize>,
    /// Threads that compute [default: one per core; processes of one machine divide its cores]
    #[arg(long, value_name = "N", value_parser = parse_count)]
    pub threads: Option<usize>,
    #[command(flatten)]
    pub distribution: DistributedArgs,
    /// How gradients are summed over processes: shares gives the same bits in every run, library
    /// leaves the order to MPI
    #[arg(long, value_name = "shares|library", default_value = "shares")]
    pub reduce: Reduction,
    /// Exit code if SIGUSR1 or SIGTERM ended the run early, after a checkpoint, so that a job script
    /// can requeue itself
    #[arg(long, value_name = "CODE", default_value = "130")]
    pub requeue_exit_code: u8,
    #[command(flatten)]
    pub device: DeviceArgs,
    /// Random seed
    #[arg(long, default_value = "0")]
    pub seed: u64,
    /// Directory of all runs
    #[arg(long, value_name = "DIR", default_value = "logs")]
    pub logs: PathBuf,
    /// Name of the run, its subdirectory in --logs [default: objective and model]
    #[arg(long, value_parser = parse_name)]
    pub name: Option<String>,
    /// Resume from the newest checkpoint (`latest`), a checkpoint directory, or a published
    /// epoch_N.pt
    #[arg(long, value_name = "latest|PATH")]
    pub resume: Option<String>,
    /// Resume with these settings although the checkpoint was trained with others
    #[arg(long = "override", requires = "resume")]
    pub override_settings: bool,
    /// Epochs between checkpoints
    #[arg(long, value_name = "EPOCHS", default_value = "1")]
    pub save_frequency: u64,
    /// Optimizer steps between additional checkpoints
    #[arg(long, value_name = "STEPS")]
    pub save_every: Option<u64>,
    /// Number of newest checkpoints to keep
    #[arg(long, value_name = "N", default_value = "3")]
    pub keep: usize,
    /// Benchmark to evaluate on during training
    #[arg(long, value_name = "NAME|FILE", requires = "data_root")]
    pub eval_benchmark: Option<String>,
    /// Directory of the benchmark's data
    #[arg(long, value_name = "DIR", requires = "eval_benchmark")]
    pub data_root: Option<PathBuf>,
    /// Epochs between evaluations
    #[arg(
        long,
        value_name = "EPOCHS",
        default_value = "1",
        requires = "eval_benchmark",
        value_parser = parse_frequency
    )]
    pub eval_frequency: u64,
    /// Prompt templates of evaluations
    #[arg(
        long,
        value_name = "NAME|FILE",
        default_value = "simple",
        requires = "eval_benchmark"
    )]
    pub eval_templates: String,
}

impl TrainArgs {
    /// The first flag that only a process of its own can obey, if one is given.
    pub(crate) fn only_as_command(&self) -> Option<&'static str> {
        let is_given = |flag: &&str| self.given.contains(flag);
        PROCESS_FLAGS.into_iter().find(is_given)
    }

    /// Sets the number of threads that compute. Must be called before any of them is used.
    pub(crate) fn set_threads(&self) -> Result<(), CliError> {
        let is_shared = self.distribution.announced().is_some();
        let threads = match self.threads {
            Some(threads) => threads,
            None if is_shared => Cores::default_threads(),
            None => return Ok(()),
        };
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
        pool.build_global()
            .map_err(|error| CliError::usage(format!("--threads {threads}: {error}")))
    }
}

/// Parses `N` comma-separated numbers.
fn parse_numbers<const N: usize>(text: &str, expected: &str) -> Result<[f64; N], String> {
    let numbers: Result<Vec<f64>, _> = text.split(',').map(|part| part.trim().parse()).collect();
    numbers
        .ok()
        .and_then(|numbers| numbers.try_into().ok())
        .ok_or_else(|| expected.to_owned())
}

/// Extensions of the files of a sample.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct FieldNames {
    pub images: Vec<String>,
    pub captions: Vec<String>,
}

/// Parses `image=input.jpg,caption=outputs.txt`.
fn parse_fields(text: &str) -> Result<FieldNames, String> {
    let mut names = FieldNames::default();
    for part in text
        .split(',')
        .map(str::trim)
        .filter(|part| !part.is_empty())
    {
        let expected = || format!("expected image=EXTENSION or caption=EXTENSION, got `{part}`");
        let (key, extension) = part.split_once('=').ok_or_else(expected)?;
        let extension = extension.trim().trim_start_matches('.').to_lowercase();
        if extension.is_empty() || extension == "*" {
            return Err(expected());
        }
        match key.trim() {
            "image" => names.images.push(extension),
            "caption" => names.captions.push(extension),
            _ => return Err(expected()),
        }
    }
    if names == FieldNames::default() {
        return Err("expected fields, such as image=input.jpg,caption=outputs.txt".to_owned());
    }
    Ok(names)
}

/// Parses one character, or `\t` as other programs write a tab.
fn parse_separator(text: &str) -> Result<char, String> {
    let mut characters = text.chars();
    match (text, characters.next(), characters.next()) {
        ("\\t" | "tab", ..) => Ok('\t'),
        (_, Some(separator), None) => Ok(separator),
        _ => Err("expected one character, or \\t for a tab".to_owned()),
    }
}

fn parse_quoting(text: &str) -> Result<TableQuoting, String> {
    text.parse()
        .map_err(|_| "expected minimal or none".to_owned())
}

fn parse_weights(text: &str) -> Result<LossWeights, String> {
    let [yes, no, tso] = parse_numbers(text, "expected three numbers, such as 0.5,0.5,0.5")?;
    Ok(LossWeights {
        yes,
        no,
        tso,
        ..LossWeights::default()
    })
}

fn parse_range(text: &str) -> Result<[f64; 2], String> {
    parse_numbers(text, "expected two numbers, such as 0.35,1")
}

fn parse_jitter(text: &str) -> Result<ColorJitter, String> {
    let [brightness, contrast, saturation] =
        parse_numbers(text, "expected three numbers, such as 0.4,0.4,0.4")?;
    Ok(ColorJitter {
        brightness,
        contrast,
        saturation,
    })
}

fn parse_frequency(text: &str) -> Result<u64, String> {
    match text.parse() {
        Ok(epochs) if epochs > 0 => Ok(epochs),
        _ => Err("expected a whole number of at least 1".to_owned()),
    }
}

/// Parses the name of a run, a directory below that of all runs.
fn parse_name(text: &str) -> Result<String, String> {
    let is_plain = |part: Component<'_>| matches!(part, Component::Normal(_));
    let mut parts = Path::new(text).components().peekable();
    if parts.peek().is_some() && parts.all(is_plain) {
        return Ok(text.to_owned());
    }
    Err("expected the name of a subdirectory of --logs".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_name_extensions() {
        let names = parse_fields("image=Input.JPG, caption=.outputs.txt,image=*.png").unwrap();
        assert_eq!(names.images, ["input.jpg", "*.png"]);
        assert_eq!(names.captions, ["outputs.txt"]);
        for wrong in ["", "jpg", "image=", "image=*", "text=txt", ","] {
            assert!(parse_fields(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_tab_may_be_written_as_a_backslash_and_t() {
        for tab in ["\t", "\\t", "tab"] {
            assert_eq!(parse_separator(tab), Ok('\t'));
        }
        assert_eq!(parse_separator(";"), Ok(';'));
        assert_eq!(parse_separator("t"), Ok('t'));
        assert!(parse_separator("").is_err() && parse_separator("\\n").is_err());
    }
}
