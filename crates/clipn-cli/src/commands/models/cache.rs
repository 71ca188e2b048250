//! Contents of the cache.

use std::io::Write;

use clipn::count::count;
use clipn::download::{CacheInventory, CachedWeights, DownloadSettings, HubName};
use clipn::negatives::{CachedWords, WordFeatureCache};
use serde_json::json;

use crate::common::args::Format;
use crate::common::error::CliError;
use crate::common::negatives::cache_directory;
use crate::common::numbers::bytes;
use crate::common::table::Table;
use crate::common::terminal::Escaped;

/// Number of characters of a shortened commit.
const SHORT_COMMIT: usize = 12;

/// `clipn models --cache`.
pub(crate) fn run(format: Format) -> Result<(), CliError> {
    let settings = DownloadSettings::from_env()?;
    let cached = CacheInventory::scan(&settings)?;
    let words = WordFeatureCache::new(cache_directory(&settings)).inventory()?;
    let mut out = std::io::stdout().lock();
    match format {
        Format::Table => {
            table(&mut Escaped(&mut out), &cached, &words, &settings).map_err(CliError::Output)
        }
        Format::Json => {
            let object = json!({
                "cache": settings.cache,
                "assets": settings.assets,
                "weights": cached.weights,
                "unfinished": cached.incomplete,
                "unreadable": cached.unreadable,
                "words": words.iter().map(|list| json!({
                    "name": list.name,
                    "words": list.words,
                    "templates": list.templates,
                    "bytes": list.bytes,
                    "path": list.path,
                })).collect::<Vec<_>>(),
            });
            serde_json::to_writer_pretty(&mut out, &object)?;
            writeln!(out).map_err(CliError::Output)
        }
        Format::Csv => {
            let mut csv = csv::Writer::from_writer(out);
            csv.write_record([
                "name",
                "revision",
                "refs",
                "files",
                "bytes",
                "is_whole",
                "tags",
                "path",
                "broken_links",
            ])?;
            for one in &cached.weights {
                csv.write_record([
                    &one.name,
                    &one.revision,
                    &one.refs.join(";"),
                    &one.files.to_string(),
                    &one.bytes.to_string(),
                    &one.is_complete.to_string(),
                    &one.tags.join(";"),
                    &one.path.display().to_string(),
                    &one.broken_links.to_string(),
                ])?;
            }
            csv.flush().map_err(CliError::Output)
        }
    }
}

fn table(
    out: &mut impl Write,
    cached: &CacheInventory,
    words: &[CachedWords],
    settings: &DownloadSettings,
) -> std::io::Result<()> {
    let (cache, assets) = (settings.cache.display(), settings.assets.display());
    if cached.weights.is_empty() {
        writeln!(out, "no weights in {cache} and {assets}")?;
    } else {
        let mut table = Table::new(
            [
                "weights", "tags", "revision", "path", "files", "size", "usable",
            ],
            4,
        );
        for one in &cached.weights {
            table.row([
                pretrained_name(one),
                one.tags.join(", "),
                revision(one),
                one.path.display().to_string(),
                one.files.to_string(),
                bytes(one.bytes),
                usable(one),
            ]);
        }
        table.write(out)?;
        writeln!(
            out,
            "\nThe cache is {cache}, and {assets} for files of open_clip tags."
        )?;
    }
    if cached.incomplete.files > 0 {
        let incomplete = cached.incomplete;
        writeln!(
            out,
            "Incomplete downloads: {}, {}.",
            count(incomplete.files, "file"),
            bytes(incomplete.bytes)
        )?;
    }
    if !words.is_empty() {
        writeln!(out)?;
        let mut table = Table::new(["features of words", "path", "words", "size"], 2);
        for list in words {
            table.row([
                list.name.clone(),
                list.path.display().to_string(),
                list.words.to_string(),
                bytes(list.bytes),
            ]);
        }
        table.write(out)?;
    }
    for directory in &cached.unreadable {
        writeln!(out, "Not readable: {}.", directory.display())?;
    }
    Ok(())
}

/// The name of a repository for --pretrained, or the name of a file.
fn pretrained_name(one: &CachedWeights) -> String {
    if one.name.contains('/') {
        format!("{}{}", HubName::PREFIX, one.name)
    } else {
        one.name.clone()
    }
}

/// Whether weights can be used without downloads, and how if not by name.
fn usable(one: &CachedWeights) -> String {
    match (one.is_complete, one.broken_links) {
        (true, _) if one.name.contains('/') && one.refs.is_empty() => {
            "yes, as @REVISION".to_owned()
        }
        (true, _) => "yes".to_owned(),
        (false, 0) => "no".to_owned(),
        (false, 1) => "no: 1 link leads nowhere".to_owned(),
        (false, links) => format!("no: {links} links lead nowhere"),
    }
}

fn revision(one: &CachedWeights) -> String {
    let short = one.revision.get(..SHORT_COMMIT).unwrap_or(&one.revision);
    match one.refs.as_slice() {
        [] => short.to_owned(),
        refs => format!("{} ({short})", refs.join(", ")),
    }
}
