use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::commands::classify::args::OutputFormat;
use crate::common::error::CliError;

/// The output file, and the files beside it.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    pub format: OutputFormat,
    /// The output file.
    pub path: PathBuf,
    /// The file that rows are appended to: the output file, or for Parquet, which cannot be
    /// appended to, a JSONL file beside it.
    pub rows: PathBuf,
    /// The file with the settings that the rows depend on.
    pub settings: PathBuf,
}

impl Target {
    /// Uses the format if given, else infers it from the file extension.
    pub(crate) fn new(path: PathBuf, format: Option<OutputFormat>) -> Result<Self, CliError> {
        let extension = path
            .extension()
            .unwrap_or_default()
            .to_string_lossy()
            .to_lowercase();
        let inferred = match extension.as_str() {
            "jsonl" | "ndjson" => Some(OutputFormat::Jsonl),
            "csv" => Some(OutputFormat::Csv),
            "parquet" => Some(OutputFormat::Parquet),
            _ => None,
        };
        let Some(format) = format.or(inferred) else {
            return Err(CliError::usage_with_hint(
                format!("unknown output format of {}", path.display()),
                "use the extension .jsonl, .csv or .parquet, or give --output-format",
            ));
        };
        if format == OutputFormat::Parquet && cfg!(not(feature = "parquet")) {
            return Err(CliError::usage_with_hint(
                "this clipn was built without the feature `parquet`",
                "write .jsonl or .csv, or build clipn with --features parquet",
            ));
        }
        if path.is_dir() {
            return Err(CliError::usage_with_hint(
                format!("--output {} is a directory", path.display()),
                "give the name of a file",
            ));
        }
        let rows = if format == OutputFormat::Parquet {
            beside(&path, ".rows.jsonl")
        } else {
            path.clone()
        };
        let settings = beside(&path, ".settings.json");
        Ok(Self {
            format,
            path,
            rows,
            settings,
        })
    }

    /// Whether an earlier run left an output.
    pub(crate) fn exists(&self) -> bool {
        self.path.exists() || self.rows.exists()
    }

    /// Whether a Parquet output is complete. The file exists only then, and its JSONL rows are then
    /// removed.
    pub(crate) fn is_converted(&self) -> bool {
        self.format == OutputFormat::Parquet && self.path.exists() && !self.rows.exists()
    }

    /// Rejects an existing output.
    pub(crate) fn refuse_existing(&self) -> Result<(), CliError> {
        if !self.exists() {
            return Ok(());
        }
        let found = if self.path.exists() {
            &self.path
        } else {
            &self.rows
        };
        Err(CliError::usage_with_hint(
            format!("{} already exists", found.display()),
            "resume it with --resume, replace it with --force, or give another --output",
        ))
    }
}

/// Appends a suffix to the file name.
pub(crate) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push::<OsString>(suffix.into());
    PathBuf::from(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn infers_the_format_from_the_extension_unless_given() {
        let format = |name: &str, format| {
            Target::new(name.into(), format)
                .map(|target| target.format)
                .ok()
        };
        assert_eq!(format("a.JSONL", None), Some(OutputFormat::Jsonl));
        assert_eq!(format("a.b.csv", None), Some(OutputFormat::Csv));
        assert_eq!(format("a", None), None);
        assert_eq!(
            format("a", Some(OutputFormat::Csv)),
            Some(OutputFormat::Csv)
        );
        let target = Target::new("d/a.csv".into(), None).unwrap();
        assert_eq!(target.settings, Path::new("d/a.csv.settings.json"));
        assert_eq!(target.rows, target.path);
    }
}
