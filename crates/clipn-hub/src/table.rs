//! open_clip's pretrained tags and the locations of their weights, from `assets/pretrained.tsv`.

use std::sync::LazyLock;

use super::HubName;

/// Columns: architecture, tag, repository or URL, and SHA-256 if it is a URL.
const TABLE: &str = include_str!("../assets/pretrained.tsv");

/// Pretrained weights that open_clip identifies by architecture and tag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// Architecture, with the suffix `-quickgelu` if that is its activation.
    pub model: &'static str,
    /// Tag of open_clip, in lower case with underscores.
    pub tag: &'static str,
    /// Location of the weights.
    pub origin: Origin,
}

/// Location of pretrained weights.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
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

impl Row {
    /// Whether the row has this tag. As in open_clip, case is ignored and `-` equals `_`.
    pub(super) fn has_tag(&self, tag: &str) -> bool {
        self.tag == tag.to_ascii_lowercase().replace('-', "_")
    }

    /// Whether the row matches the architecture `model`. As in open_clip, weights with QuickGELU
    /// also match the plain name.
    pub(super) fn is_of(&self, model: &str) -> bool {
        let model = model.replace('/', "-");
        let plain = self.model.strip_suffix("-quickgelu").unwrap_or(self.model);
        self.model.eq_ignore_ascii_case(&model) || plain.eq_ignore_ascii_case(&model)
    }
}

/// Returns all known architectures and tags.
pub fn rows() -> &'static [Row] {
    static ROWS: LazyLock<Vec<Row>> = LazyLock::new(|| TABLE.lines().filter_map(row).collect());
    &ROWS
}

/// Returns the tags of an architecture. Weights with QuickGELU also match the plain name.
pub fn rows_of(model: &str) -> impl Iterator<Item = &'static Row> {
    rows().iter().filter(move |row| row.is_of(model))
}

/// Parses a line of the table. `None` for the header and for invalid lines, which a test rejects.
fn row(line: &'static str) -> Option<Row> {
    let mut columns = line.split('\t');
    let (model, tag, origin, sha256) = (
        columns.next()?,
        columns.next()?,
        columns.next()?,
        columns.next()?,
    );
    let origin = if origin.starts_with(HubName::PREFIX) {
        Origin::Hub(HubName::parse(origin).ok()?)
    } else if origin.starts_with("https://") {
        Origin::Url {
            url: origin,
            sha256,
        }
    } else {
        return None;
    };
    Some(Row { model, tag, origin })
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use clipn_model::ModelConfig;

    #[test]
    fn every_line_is_a_row_of_a_known_architecture() {
        assert_eq!(
            rows().len(),
            TABLE.lines().count() - 1,
            "a line cannot be parsed"
        );
        let mut seen = HashSet::new();
        for row in rows() {
            assert_eq!(ModelConfig::named(row.model).unwrap().name, row.model);
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
            if let Origin::Url { url, sha256 } = row.origin {
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
