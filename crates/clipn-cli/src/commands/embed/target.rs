//! The files of a run.

use std::path::{Path, PathBuf};

use clipn::dataset::{FeatureFormat, keys_beside};

use super::args::EmbedOutputArgs;
use crate::commands::classify::{ShardSpec, beside};
use crate::common::error::CliError;
use crate::common::overwriting::refuse_inputs;

/// Format of the output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum OutputFormat {
    Npy,
    Safetensors,
    Parquet,
}

impl OutputFormat {
    /// The format that rows are appended to. A Parquet file cannot be appended to.
    pub(super) fn appended(self) -> FeatureFormat {
        match self {
            Self::Safetensors => FeatureFormat::Safetensors,
            Self::Npy | Self::Parquet => FeatureFormat::Npy,
        }
    }
}

/// The output file, and the files beside it.
#[derive(Debug, Clone)]
pub(super) struct Target {
    pub format: OutputFormat,
    /// The output file, which exists once the run is complete.
    pub path: PathBuf,
    /// The features so far.
    pub partial: PathBuf,
    /// The key or the error of each item so far.
    pub log: PathBuf,
    /// The settings that the rows depend on.
    pub settings: PathBuf,
    /// The keys; `None` if they are in the output only.
    pub keys: Option<PathBuf>,
    /// The items without features.
    pub errors: PathBuf,
}

impl Target {
    pub(super) fn new(args: &EmbedOutputArgs, shard: ShardSpec) -> Result<Self, CliError> {
        let path = shard.file_name(&args.output);
        let format = match extension(&path).as_str() {
            "npy" => OutputFormat::Npy,
            "safetensors" => OutputFormat::Safetensors,
            "parquet" => OutputFormat::Parquet,
            _ => {
                return Err(CliError::usage_with_hint(
                    format!("unknown output format of {}", path.display()),
                    "use the extension .npy, .safetensors or .parquet",
                ));
            }
        };
        let keys = args.keys.as_deref().map(|keys| shard.file_name(keys));
        if let Some(keys) = &keys
            && !matches!(extension(keys).as_str(), "jsonl" | "parquet")
        {
            return Err(CliError::usage_with_hint(
                format!("unknown format of keys in {}", keys.display()),
                "use the extension .jsonl or .parquet",
            ));
        }
        if keys.as_ref() == Some(&path) {
            return Err(CliError::usage("--keys and --output are the same file"));
        }
        let needs_parquet = format == OutputFormat::Parquet
            || keys.as_deref().is_some_and(|k| extension(k) == "parquet");
        if needs_parquet && cfg!(not(feature = "parquet")) {
            return Err(CliError::usage_with_hint(
                "this clipn was built without the feature `parquet`",
                "write .npy or .safetensors with keys in .jsonl, or build clipn with --features parquet",
            ));
        }
        if path.is_dir() {
            return Err(CliError::usage_with_hint(
                format!("--output {} is a directory", path.display()),
                "give the name of a file",
            ));
        }
        let [keys_default, _] = keys_beside(&path);
        let keys = keys.or((format != OutputFormat::Parquet).then_some(keys_default));
        Ok(Self {
            format,
            partial: beside(&path, ".partial"),
            log: beside(&path, ".rows.jsonl"),
            settings: beside(&path, ".settings.json"),
            errors: path.with_extension("errors.jsonl"),
            keys,
            path,
        })
    }

    /// Whether an earlier run left an output.
    pub(super) fn exists(&self) -> bool {
        self.path.exists() || self.log.exists()
    }

    /// Whether an earlier run is complete; its log is removed last.
    pub(super) fn is_complete(&self) -> bool {
        self.path.exists() && !(self.log.exists() && self.partial.exists())
    }

    /// Rejects features or keys in place of what is read.
    pub(super) fn refuse_inputs<'a>(
        &self,
        inputs: impl Iterator<Item = &'a Path> + Clone,
    ) -> Result<(), CliError> {
        if let Some(keys) = &self.keys {
            refuse_inputs(keys, inputs.clone())?;
        }
        refuse_inputs(&self.path, inputs)
    }

    /// Rejects an existing output, and keys or errors that belong to another one.
    pub(super) fn refuse_existing(&self) -> Result<(), CliError> {
        if self.exists() {
            let found = if self.path.exists() {
                &self.path
            } else {
                &self.log
            };
            return Err(CliError::usage_with_hint(
                format!("{} already exists", found.display()),
                "resume it with --resume, replace it with --force, or give another --output",
            ));
        }
        self.refuse_files_of_others()
    }

    /// Rejects what a run may not replace: with --force, only the files of another output.
    pub(super) fn refuse_unless_replaced(&self, force: bool) -> Result<(), CliError> {
        match force {
            true => self.refuse_files_of_others(),
            false => self.refuse_existing(),
        }
    }

    /// Rejects keys or errors that belong to another output, whose rows would get other names.
    fn refuse_files_of_others(&self) -> Result<(), CliError> {
        let mut beside = self.keys.iter().chain([&self.errors]);
        match beside.find(|path| path.exists() && !self.exists()) {
            None => Ok(()),
            Some(found) => Err(CliError::usage_with_hint(
                format!("{} already exists, of another output", found.display()),
                "give another --output, or remove the file if its output is gone",
            )),
        }
    }
}

/// The extension of a file in lower case.
pub(super) fn extension(path: &Path) -> String {
    let extension = path.extension().unwrap_or_default();
    extension.to_string_lossy().to_lowercase()
}
