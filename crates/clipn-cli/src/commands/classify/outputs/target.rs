use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::commands::classify::args::Form;
use crate::common::error::CliError;

/// The file that is asked for, and those beside it.
#[derive(Debug, Clone)]
pub struct Target {
    pub form: Form,
    /// The file itself.
    pub path: PathBuf,
    /// The file that rows are appended to: the same, or for Parquet, which cannot be appended to, a JSONL file beside it.
    pub rows: PathBuf,
    /// What the rows depend on.
    pub settings: PathBuf,
}

impl Target {
    /// Told by the form, else by the ending.
    pub fn new(path: PathBuf, form: Option<Form>) -> Result<Self, CliError> {
        let ending = path
            .extension()
            .unwrap_or_default()
            .to_string_lossy()
            .to_lowercase();
        let told = match ending.as_str() {
            "jsonl" | "ndjson" => Some(Form::Jsonl),
            "csv" => Some(Form::Csv),
            "parquet" => Some(Form::Parquet),
            _ => None,
        };
        let Some(form) = form.or(told) else {
            return Err(CliError::Usage(format!(
                "the ending of {} tells no form: let it end in .jsonl, .csv or .parquet, or give --output-format",
                path.display()
            )));
        };
        if form == Form::Parquet && cfg!(not(feature = "parquet")) {
            let message =
                "this clipn was built without the feature `parquet`: write .jsonl or .csv";
            return Err(CliError::Usage(message.to_owned()));
        }
        if path.is_dir() {
            let message = format!(
                "--output {} is a folder: give the name of a file",
                path.display()
            );
            return Err(CliError::Usage(message));
        }
        let rows = if form == Form::Parquet {
            beside(&path, ".rows.jsonl")
        } else {
            path.clone()
        };
        let settings = beside(&path, ".settings.json");
        Ok(Self {
            form,
            path,
            rows,
            settings,
        })
    }

    /// Whether something of a run is there.
    pub fn exists(&self) -> bool {
        self.path.exists() || self.rows.exists()
    }

    /// Whether the file is whole: a Parquet file is there only then, and its rows are gone when it is.
    pub fn is_converted(&self) -> bool {
        self.form == Form::Parquet && self.path.exists() && !self.rows.exists()
    }

    /// Refuses to write over an output.
    pub fn refuse_existing(&self) -> Result<(), CliError> {
        if !self.exists() {
            return Ok(());
        }
        let found = if self.path.exists() {
            &self.path
        } else {
            &self.rows
        };
        Err(CliError::Usage(format!(
            "{} exists: go on with it with --resume, replace it with --force, or give another --output",
            found.display()
        )))
    }
}

/// A path with more at its end.
pub fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push::<OsString>(ending.into());
    PathBuf::from(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ending_tells_the_form_unless_it_is_given() {
        let form = |name: &str, form| {
            Target::new(name.into(), form)
                .map(|target| target.form)
                .ok()
        };
        assert_eq!(form("a.JSONL", None), Some(Form::Jsonl));
        assert_eq!(form("a.b.csv", None), Some(Form::Csv));
        assert_eq!(form("a", None), None);
        assert_eq!(form("a", Some(Form::Csv)), Some(Form::Csv));
        let target = Target::new("d/a.csv".into(), None).unwrap();
        assert_eq!(target.settings, Path::new("d/a.csv.settings.json"));
        assert_eq!(target.rows, target.path);
    }
}
