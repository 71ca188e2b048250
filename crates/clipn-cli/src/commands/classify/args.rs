use std::path::{Path, PathBuf};

use clap::{ArgGroup, Args, ValueEnum};

use super::adapt::AdaptArgs;
use crate::common::args::{Format, RunArgs};
use crate::common::detector::DetectorArgs;
use crate::common::error::CliError;
use crate::common::text_features::TextFeatureArgs;

/// Format of the file that `--output` names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum OutputFormat {
    /// One JSON object per line
    Jsonl,
    Csv,
    Parquet,
}

#[derive(Debug, Args)]
#[command(group = ArgGroup::new("input").args(["paths", "list", "features"]).required(true).multiple(true))]
pub(crate) struct ClassifyArgs {
    #[command(flatten)]
    pub detector: DetectorArgs,
    #[command(flatten)]
    pub run: RunArgs,
    /// Number of top classes to report per image
    #[arg(long, value_name = "K", default_value = "3", value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub top: u16,
    /// Print the reason under each line of the table, and where in the image the class, its "no" and
    /// the negatives are seen; rows in JSON have it as maps
    ///
    /// The maps take up to 15 % more time. Features, and towers on GPUs, have none.
    #[arg(long)]
    pub explain: bool,
    /// Label images unknown at false discovery rate Q, from 0 to 1; needs a calibrated bundle
    ///
    /// The Benjamini-Hochberg procedure over the p-values of all images. The expected fraction of
    /// in-distribution images among those labeled unknown is at most Q. Rows are written after the
    /// last image.
    #[arg(long, value_name = "Q", conflicts_with_all = ["resume", "num_shards", "distributed", "no_reject"], value_parser = parse_fraction)]
    pub fdr: Option<f64>,
    /// Format on standard output, of the rows or, with --output, of the counts; json is one object
    /// per line
    #[arg(long, value_enum, default_value = "table")]
    pub format: Format,
    /// Write the rows to this file: .jsonl, .csv or .parquet
    #[arg(long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Output format [default: inferred from the file extension]
    #[arg(long, value_enum, requires = "output")]
    pub output_format: Option<OutputFormat>,
    /// Resume an interrupted run from its output; start if there is none
    #[arg(long, requires = "output", conflicts_with = "force")]
    pub resume: bool,
    /// Replace an existing output
    #[arg(long, requires = "output")]
    pub force: bool,
    /// Interval at which rows are synced to disk: what a crash of the machine can lose
    ///
    /// A kill of the program loses at most the rows of the last second.
    #[arg(
        long,
        value_name = "SECONDS",
        requires = "output",
        default_value_t = 10
    )]
    pub sync: u64,
    #[command(flatten)]
    pub adapt: AdaptArgs,
    #[command(flatten)]
    pub shard: ShardArgs,
    /// Features [N, D] of the model instead of images, in a .npy, .safetensors, .pt or .parquet file;
    /// repeatable
    #[arg(long, value_name = "FILE", conflicts_with_all = ["list", "paths", "faithful_pixels", "bands", "sample_bits", "strict", "explain"])]
    pub features: Vec<PathBuf>,
    #[command(flatten)]
    pub text_features: TextFeatureArgs,
    #[command(flatten)]
    pub sources: SourceArgs,
}

impl ClassifyArgs {
    /// Files that the arguments name, of images and of all else that is read; a name of something built in counts too.
    pub(crate) fn input_files(&self) -> impl Iterator<Item = &Path> {
        let DetectorArgs {
            bundle,
            classes,
            model,
            prompts,
            negatives,
            ..
        } = &self.detector;
        let specs = [classes, &prompts.templates, &negatives.reject, &model.model];
        let words = negatives.file();
        let text = &self.text_features;
        let optional = [
            &model.pretrained,
            &text.text_features,
            &text.no_features,
            &text.negative_features,
            &self.adapt.memory,
        ];
        let several = [
            bundle,
            &self.features,
            &self.sources.list,
            &self.sources.paths,
        ];
        let several = several.into_iter().flatten().map(PathBuf::as_path);
        let optional = optional.into_iter().flatten().map(PathBuf::as_path);
        several
            .chain(optional)
            .chain(words)
            .chain(specs.into_iter().flatten().map(Path::new))
    }
}

/// The shard of the work that this process takes.
#[derive(Debug, Clone, Args)]
pub(crate) struct ShardArgs {
    /// Process shard I of --num-shards, counted from 0
    #[arg(
        long,
        value_name = "I",
        requires = "num_shards",
        conflicts_with = "distributed"
    )]
    pub shard_index: Option<u64>,
    /// Split the work into N shards: images round-robin, or whole archives if there are at least N
    ///
    /// The shard's number becomes part of the output's name.
    #[arg(long, value_name = "N", requires = "shard_index", value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    pub num_shards: Option<u64>,
    /// Take the shard from the launcher's environment
    ///
    /// The variables are RANK and WORLD_SIZE, OMPI_COMM_WORLD_RANK and OMPI_COMM_WORLD_SIZE, PMI_RANK
    /// and PMI_SIZE, or SLURM_PROCID and SLURM_NTASKS.
    #[arg(long)]
    pub distributed: bool,
}

/// Images, by their paths or in lists.
#[derive(Debug, Clone, Args)]
pub(crate) struct SourceArgs {
    /// List of images, archives or URLs, one per line, or a table of images (.jsonl, .parquet); `-`
    /// is standard input; repeatable
    #[arg(long, value_name = "FILE")]
    pub list: Vec<PathBuf>,
    /// Key or column of images in tables [default: filepath, image, image_path, file_name, path or
    /// img, whichever comes first]
    #[arg(long, alias = "csv-img-key", value_name = "NAME")]
    pub image_key: Option<String>,
    /// Separate the paths of --list by NUL bytes instead of newlines, as `find -print0` does
    #[arg(short = '0', long, requires = "list")]
    pub null: bool,
    /// Images, directories, quoted glob patterns, archives (.tar, .tar.gz, .tar.zst), tables of
    /// images (.jsonl, .parquet) or URLs; `-` is one image on standard input
    ///
    /// Braces expand, as in `shard-{000..099}.tar`. URLs are s3://, gs:// or https://, of images,
    /// archives, or (s3:// and gs://) a prefix ending in `/`.
    #[arg(value_name = "PATHS")]
    pub paths: Vec<PathBuf>,
}

impl SourceArgs {
    /// Rejects combinations of flags that clap cannot express.
    pub(crate) fn check(&self) -> Result<(), CliError> {
        let piped = self
            .paths
            .iter()
            .chain(&self.list)
            .filter(|path| path.as_os_str() == "-")
            .count();
        if piped > 1 {
            return Err(CliError::usage_with_hint(
                format!("standard input can be read once, got `-` {piped} times"),
                "give `-` once",
            ));
        }
        Ok(())
    }

    /// Refuses a list of paths where no path exists, before an output is begun.
    pub(crate) fn check_exists(&self) -> Result<(), CliError> {
        if !self.list.is_empty() {
            return Ok(());
        }
        let mut first_missing = None;
        for path in &self.paths {
            let text = path.to_string_lossy();
            let is_other =
                text == "-" || text.contains("://") || text.contains(['*', '?', '[', '{']);
            match std::fs::symlink_metadata(path) {
                Err(source) if !is_other => {
                    first_missing.get_or_insert((path.clone(), source));
                }
                _ => return Ok(()),
            }
        }
        match first_missing {
            Some((path, source)) => Err(CliError::ReadFile { path, source }),
            None => Ok(()),
        }
    }
}

fn parse_fraction(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(fraction) if fraction > 0.0 && fraction < 1.0 => Ok(fraction),
        _ => Err("expected a number between 0 and 1, such as 0.1".to_owned()),
    }
}
