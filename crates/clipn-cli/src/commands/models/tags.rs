//! The open_clip tags of an architecture.

use std::io::Write;
use std::path::PathBuf;

use clipn::download::{DownloadSettings, PretrainedSource, PretrainedTag, pretrained_tags_for};
use serde_json::{Value, json};

use crate::common::table::Table;

/// An open_clip tag, and the path of its weights if they are cached.
pub(crate) struct Tag {
    row: &'static PretrainedTag,
    path: Option<PathBuf>,
}

impl Tag {
    /// Lists the tags of an architecture; a custom config has none.
    pub(crate) fn list(model: &str) -> Vec<Self> {
        // Without a usable cache directory nothing is cached.
        let settings = DownloadSettings::from_env().ok();
        let path =
            |row: &PretrainedTag| settings.as_ref().and_then(|settings| row.cached(settings));
        pretrained_tags_for(model)
            .map(|row| Self {
                row,
                path: path(row),
            })
            .collect()
    }

    /// Repository or URL of the weights, and the SHA-256 of the file at a URL.
    fn origin(&self) -> (String, Option<&'static str>) {
        match &self.row.source {
            PretrainedSource::Hub(name) => (name.to_string(), None),
            PretrainedSource::Url { url, sha256 } => ((*url).to_owned(), Some(sha256)),
            _ => ("unknown".to_owned(), None),
        }
    }

    pub(crate) fn object(&self) -> Value {
        let (origin, sha256) = self.origin();
        json!({
            "tag": self.row.tag,
            "model": self.row.model,
            "origin": origin,
            "sha256": sha256,
            "cached": self.path,
        })
    }
}

/// Writes the tags of an architecture; nothing if there are none.
pub(crate) fn write(out: &mut impl Write, tags: &[Tag]) -> std::io::Result<()> {
    if tags.is_empty() {
        return Ok(());
    }
    let cached = tags.iter().filter(|tag| tag.path.is_some()).count();
    writeln!(
        out,
        "tags        {} for --pretrained, {cached} of them cached\n",
        tags.len()
    )?;
    let mut table = Table::new(["tag", "cached", "opened as", "from"], 4);
    for tag in tags {
        let cached = if tag.path.is_some() { "yes" } else { "no" };
        table.row([tag.row.tag, cached, tag.row.model, &tag.origin().0]);
    }
    table.write(out)?;
    let checksum = |tag: &Tag| Some(format!("SHA-256 of {}: {}", tag.row.tag, tag.origin().1?));
    let location = |tag: &Tag| {
        Some(format!(
            "{} is cached in {}",
            tag.row.tag,
            tag.path.as_ref()?.display()
        ))
    };
    let lines: Vec<String> = tags
        .iter()
        .flat_map(|tag| [checksum(tag), location(tag)])
        .flatten()
        .collect();
    if !lines.is_empty() {
        writeln!(out, "\n{}", lines.join("\n"))?;
    }
    Ok(())
}
