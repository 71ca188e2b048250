//! `clipn embed`: features of images and texts in files that NumPy, pandas, `datasets` and
//! `embedding-reader` open.

mod args;
mod images;
mod output;
mod target;
mod texts;

pub(crate) use args::EmbedCommand;

use std::io::Write;
use std::path::Path;

use clipn::count::{count, noun};
use clipn::dataset::FeatureFile;
use clipn::files::read_text;
use serde_json::json;

use args::{ElementType, EmbedOutputArgs};
use output::Counts;
use target::Target;

use crate::common::args::Format;
use crate::common::error::CliError;
use crate::common::messages::warning;
use crate::common::terminal::printable;

/// `clipn embed`.
pub(crate) fn run(command: &EmbedCommand) -> Result<(), CliError> {
    match command {
        EmbedCommand::Images(args) => images::run(args),
        EmbedCommand::Texts(args) => texts::run(args),
    }
}

/// The error of a resumed run with other inputs.
fn differs(output: &Path, row: u64, was: &str, is: Option<&str>) -> CliError {
    let now = match is {
        Some(is) => format!("the input is now {is}"),
        None => "there are fewer inputs now".to_owned(),
    };
    CliError::usage_with_hint(
        format!(
            "cannot resume {}: row {row} is of {was}, but {now}",
            output.display()
        ),
        "give the inputs that the run was started with, or start over with --force",
    )
}

/// Checks that a complete output has a row, or an error, for each of the inputs that there are now. `names` are
/// those of the inputs; empty if they are not known without reading.
fn check_complete(target: &Target, total: Option<u64>, names: &[String]) -> Result<(), CliError> {
    let file = FeatureFile::open(&target.path)?;
    let errors = read_text(&target.errors).map_or(0, |text| text.lines().count());
    let rows = (file.len() + errors) as u64;
    if let Some(total) = total.filter(|total| *total != rows) {
        return Err(CliError::usage_with_hint(
            format!(
                "{} is complete with {}, but there are {} now",
                target.path.display(),
                count(rows, "input"),
                count(total, "input")
            ),
            "give the others an output of their own, or start over with --force",
        ));
    }
    if errors > 0 {
        return Ok(());
    }
    for (row, name) in names.iter().enumerate().take(file.len()) {
        let key = file.key(row);
        if key != *name {
            return Err(differs(&target.path, row as u64 + 1, &key, Some(name)));
        }
    }
    Ok(())
}

fn print_complete(target: &Target) -> Result<(), CliError> {
    let path = target.path.display().to_string();
    let mut out = std::io::stdout();
    writeln!(out, "{} is complete; nothing to do", printable(&path)).map_err(CliError::Output)
}

/// A complete run.
struct Finished<'a> {
    target: &'a Target,
    counts: Counts,
    /// Items of earlier runs.
    before: u64,
    dim: usize,
    args: &'a EmbedOutputArgs,
    /// `images` or `texts`.
    what: &'static str,
}

impl Finished<'_> {
    /// Prints the counts, and fails if no item has features, or if a source ended early.
    fn report(&self) -> Result<(), CliError> {
        let Counts {
            rows,
            failed,
            lost_sources,
        } = self.counts;
        let items = self.counts.items();
        let what = self.what;
        if failed > 0 && rows > 0 {
            warning(format_args!(
                "no features of {failed} of {items} {what}: {}",
                self.target.errors.display()
            ));
        }
        self.print()?;
        match lost_sources {
            0 if rows == 0 && failed > 0 => Err(CliError::NothingEncoded {
                items: failed,
                what,
                path: self.target.errors.clone(),
            }),
            0 => Ok(()),
            sources => Err(CliError::SourcesLost {
                sources,
                images: rows + failed,
            }),
        }
    }

    fn print(&self) -> Result<(), CliError> {
        let Counts {
            rows,
            failed,
            lost_sources,
        } = self.counts;
        let dtype = match self.args.dtype {
            ElementType::F32 => "f32",
            ElementType::F16 => "f16",
        };
        let normalized = !self.args.no_normalize;
        let output = self.target.path.display().to_string();
        let keys = self.target.keys.as_ref().unwrap_or(&self.target.path);
        let keys = keys.display().to_string();
        let mut out = std::io::stdout();
        let written = match self.args.format {
            Format::Table => {
                let kind = if normalized { "normalized " } else { "" };
                writeln!(
                    out,
                    "{rows} {kind}{} of {} features in {dtype}: {}; keys: {}",
                    noun(&rows, "row"),
                    self.dim,
                    printable(&output),
                    printable(&keys)
                )
            }
            Format::Json => {
                let errors = (failed + lost_sources > 0).then_some(&self.target.errors);
                let counts = json!({
                    "rows": rows,
                    "dim": self.dim,
                    "dtype": dtype,
                    "normalized": normalized,
                    "failed": failed,
                    "lost_sources": lost_sources,
                    "before": self.before,
                    "output": output,
                    "keys": keys,
                    "errors": errors,
                });
                writeln!(out, "{counts}")
            }
            Format::Csv => {
                let mut csv = csv::Writer::from_writer(out);
                csv.write_record([
                    "rows",
                    "dim",
                    "dtype",
                    "normalized",
                    "failed",
                    "lost_sources",
                    "before",
                    "output",
                    "keys",
                ])?;
                csv.write_record([
                    rows.to_string(),
                    self.dim.to_string(),
                    dtype.to_owned(),
                    normalized.to_string(),
                    failed.to_string(),
                    lost_sources.to_string(),
                    self.before.to_string(),
                    output,
                    keys,
                ])?;
                csv.flush()
            }
        };
        written.map_err(CliError::Output)
    }
}
