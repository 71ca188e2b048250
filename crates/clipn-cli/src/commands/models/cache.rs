//! What lies in the cache.

use std::io::Write;

use clipn::download::{Held, HeldWeights, HubName, Settings};
use serde_json::json;

use crate::common::args::Format;
use crate::common::error::CliError;
use crate::common::numbers::bytes;
use crate::common::table::Table;

/// The characters of a commit that tell it from others.
const SHORT: usize = 12;

/// `clipn models --cache`.
pub fn run(format: Format) -> Result<(), CliError> {
    let settings = Settings::from_env()?;
    let held = Held::look(&settings)?;
    let mut out = std::io::stdout().lock();
    match format {
        Format::Table => table(&mut out, &held, &settings).map_err(CliError::Output),
        Format::Json => {
            let object = json!({
                "cache": settings.cache,
                "assets": settings.assets,
                "weights": held.weights,
                "unfinished": held.unfinished,
                "unreadable": held.unreadable,
            });
            serde_json::to_writer_pretty(&mut out, &object)?;
            writeln!(out).map_err(CliError::Output)
        }
        Format::Csv => {
            let mut csv = csv::Writer::from_writer(out);
            csv.write_record([
                "name", "revision", "refs", "files", "bytes", "is_whole", "tags", "path",
            ])?;
            for one in &held.weights {
                csv.write_record([
                    &one.name,
                    &one.revision,
                    &one.refs.join(";"),
                    &one.files.to_string(),
                    &one.bytes.to_string(),
                    &one.is_whole.to_string(),
                    &one.tags.join(";"),
                    &one.path.display().to_string(),
                ])?;
            }
            csv.flush().map_err(CliError::Output)
        }
    }
}

fn table(out: &mut impl Write, held: &Held, settings: &Settings) -> std::io::Result<()> {
    let (cache, assets) = (settings.cache.display(), settings.assets.display());
    if held.weights.is_empty() {
        writeln!(out, "there are no weights in {cache} and in {assets}")?;
    } else {
        let mut table = Table::new(
            [
                "weights", "tags", "revision", "path", "files", "size", "usable",
            ],
            4,
        );
        for one in &held.weights {
            table.row([
                given(one),
                one.tags.join(", "),
                revision(one),
                one.path.display().to_string(),
                one.files.to_string(),
                bytes(one.bytes),
                if one.is_whole { "yes" } else { "no" }.to_owned(),
            ]);
        }
        table.write(out)?;
        writeln!(
            out,
            "\nThe cache is {cache}, and {assets} for files of open_clip's tags."
        )?;
    }
    if held.unfinished.files > 0 {
        let unfinished = held.unfinished;
        writeln!(
            out,
            "Not fetched to their end: {} files, {}.",
            unfinished.files,
            bytes(unfinished.bytes)
        )?;
    }
    for folder in &held.unreadable {
        writeln!(out, "Not readable: {}.", folder.display())?;
    }
    Ok(())
}

/// What stands for a repository on a command line; the name of a file.
fn given(one: &HeldWeights) -> String {
    if one.name.contains('/') {
        format!("{}{}", HubName::PREFIX, one.name)
    } else {
        one.name.clone()
    }
}

fn revision(one: &HeldWeights) -> String {
    let short = one.revision.get(..SHORT).unwrap_or(&one.revision);
    match one.refs.as_slice() {
        [] => short.to_owned(),
        refs => format!("{} ({short})", refs.join(", ")),
    }
}
