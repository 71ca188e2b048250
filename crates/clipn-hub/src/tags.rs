//! open_clip's pretrained tags and the locations of their weights, from `assets/pretrained.tsv`.

use std::sync::LazyLock;

use crate::hub_name::HubName;

/// Columns: architecture, tag, repository or URL, and SHA-256 if it is a URL.
const TABLE: &str = include_str!("../assets/pretrained.tsv");

/// Pretrained weights that open_clip identifies by architecture and tag.
///
/// ```
/// let tags: Vec<&str> = clipn_hub::pretrained_tags_for("ViT-L-14").map(|tag| tag.tag).collect();
/// assert!(tags.contains(&"openai"));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PretrainedTag {
    /// Architecture, with the suffix `-quickgelu` if that is its activation.
    pub model: &'static str,
    /// Tag of open_clip, in lower case with underscores.
    pub tag: &'static str,
    /// Location of the weights.
    pub source: PretrainedSource,
}

/// Location of pretrained weights.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum PretrainedSource {
    /// Repository on Hugging Face's hub.
    Hub(HubName),
    /// Single file at a URL.
    Url {
        /// HTTPS URL of the file.
        url: &'static str,
        /// SHA-256 of the file, hexadecimal.
        sha256: &'static str,
    },
}

impl PretrainedTag {
    /// Whether the row has this tag. As in open_clip, case is ignored and `-` equals `_`.
    pub(crate) fn has_tag(&self, tag: &str) -> bool {
        self.tag == tag.to_ascii_lowercase().replace('-', "_")
    }

    /// Whether the row matches the architecture `model`. As in open_clip, weights with QuickGELU
    /// also match the plain name.
    pub(crate) fn matches_model(&self, model: &str) -> bool {
        let model = model.replace('/', "-");
        let plain = self.model.strip_suffix("-quickgelu").unwrap_or(self.model);
        self.model.eq_ignore_ascii_case(&model) || plain.eq_ignore_ascii_case(&model)
    }
}

/// Returns all known architectures and tags.
pub fn pretrained_tags() -> &'static [PretrainedTag] {
    static ROWS: LazyLock<Vec<PretrainedTag>> =
        LazyLock::new(|| TABLE.lines().filter_map(row).collect());
    &ROWS
}

/// Returns the tags of an architecture. Weights with QuickGELU also match the plain name.
pub fn pretrained_tags_for(model: &str) -> impl Iterator<Item = &'static PretrainedTag> {
    pretrained_tags()
        .iter()
        .filter(move |row| row.matches_model(model))
}

/// Parses a line of the table. `None` for the header and for invalid lines, which a test rejects.
fn row(line: &'static str) -> Option<PretrainedTag> {
    let mut columns = line.split('\t');
    let (model, tag, location, sha256) = (
        columns.next()?,
        columns.next()?,
        columns.next()?,
        columns.next()?,
    );
    let source = if location.starts_with(HubName::PREFIX) {
        PretrainedSource::Hub(HubName::parse(location).ok()?)
    } else if location.starts_with("https://") {
        PretrainedSource::Url {
            url: location,
            sha256,
        }
    } else {
        return None;
    };
    Some(PretrainedTag { model, tag, source })
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use clipn_model::ModelConfig;

    use super::*;

    #[test]
    fn every_line_is_a_row_of_a_known_architecture() {
        assert_eq!(
            pretrained_tags().len(),
            TABLE.lines().count() - 1,
            "a line cannot be parsed"
        );
        let mut seen = HashSet::new();
        for row in pretrained_tags() {
            assert_eq!(ModelConfig::embedded(row.model).unwrap().name, row.model);
            let plain = row.model.strip_suffix("-quickgelu").unwrap_or(row.model);
            assert!(
                seen.insert((plain, row.tag)),
                "duplicate row: {plain} {}",
                row.tag
            );
            assert!(
                row.has_tag(row.tag),
                "{} is not in normalized spelling",
                row.tag
            );
            if let PretrainedSource::Url { url, sha256 } = row.source {
                assert!(
                    sha256.len() == 64 && sha256.bytes().all(|b| b.is_ascii_hexdigit()),
                    "{url}"
                );
                // OpenAI's URLs contain the checksum before the file name.
                assert!(url.contains(&format!("/{sha256}/")), "{url}");
            }
        }
    }
}
