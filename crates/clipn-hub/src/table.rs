//! open_clip's tags and where their weights are: `assets/pretrained.tsv`.

use std::sync::LazyLock;

use super::HubName;

/// Columns: architecture, tag, where from, SHA-256 where the file is named by a URL.
const TABLE: &str = include_str!("../assets/pretrained.tsv");

/// Weights that open_clip knows by a tag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// The architecture that they are of; with `-quickgelu` where that is their activation.
    pub model: &'static str,
    /// open_clip's tag.
    pub tag: &'static str,
    /// Where they are.
    pub origin: Origin,
}

/// Where weights are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// In a repository of the hub.
    Hub(HubName),
    /// At an address, as one file.
    Url {
        /// The address.
        url: &'static str,
        /// SHA-256 of the file, hexadecimal.
        sha256: &'static str,
    },
}

impl Row {
    /// Whether it has this tag, however it is spelt: open_clip takes no notice of case and reads `-` as `_`.
    pub(super) fn has_tag(&self, tag: &str) -> bool {
        self.tag == tag.to_ascii_lowercase().replace('-', "_")
    }

    /// Whether weights of the architecture `model` may be these: as open_clip, weights with QuickGELU are found under
    /// the plain name too.
    pub(super) fn is_of(&self, model: &str) -> bool {
        let model = model.replace('/', "-");
        let plain = self.model.strip_suffix("-quickgelu").unwrap_or(self.model);
        self.model.eq_ignore_ascii_case(&model) || plain.eq_ignore_ascii_case(&model)
    }
}

/// Every architecture and tag that is known.
pub fn rows() -> &'static [Row] {
    static ROWS: LazyLock<Vec<Row>> = LazyLock::new(|| TABLE.lines().filter_map(row).collect());
    &ROWS
}

/// The tags of an architecture: those that it is found under, weights with QuickGELU under the plain name too.
pub fn rows_of(model: &str) -> impl Iterator<Item = &'static Row> {
    rows().iter().filter(move |row| row.is_of(model))
}

/// A line of the table; none for the heading and for what a test would refuse.
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
            "a line is not a row"
        );
        let mut seen = HashSet::new();
        for row in rows() {
            assert_eq!(ModelConfig::named(row.model).unwrap().name, row.model);
            let plain = row.model.strip_suffix("-quickgelu").unwrap_or(row.model);
            assert!(
                seen.insert((plain, row.tag)),
                "{plain} {} is there twice",
                row.tag
            );
            assert!(
                row.has_tag(row.tag),
                "{} is not spelt as tags are compared",
                row.tag
            );
            if let Origin::Url { url, sha256 } = row.origin {
                assert!(
                    sha256.len() == 64 && sha256.bytes().all(|b| b.is_ascii_hexdigit()),
                    "{url}"
                );
                // OpenAI's addresses have the checksum before the file's name.
                assert!(url.contains(&format!("/{sha256}/")), "{url}");
            }
        }
    }
}
