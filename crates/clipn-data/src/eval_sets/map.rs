use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use indexmap::IndexMap;

use crate::error::DatasetError;
use crate::text_file::read_limited;

/// Maximum size of a map file in bytes.
const MAX_BYTES: u64 = 64 << 20;

/// Source of a [`ClassMap`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ClassMapSource {
    /// A table with a header line, comma-separated if the extension is `.csv`, otherwise
    /// tab-separated.
    File {
        /// Path of the table, relative to the data root.
        path: PathBuf,
        /// Header of the column with the directory name.
        directory_column: String,
        /// Header of the column with the class name.
        name_column: String,
        /// Header of the column with the role.
        role_column: Option<String>,
    },
    /// Class names by directory, given in the definition.
    Inline {
        /// Name of the map.
        name: String,
        /// Class name of each directory.
        names: IndexMap<String, String>,
    },
}

/// Class of a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MapEntry {
    /// Class name.
    pub name: String,
    /// Role of the class in the benchmark, such as `id`, if the map has roles.
    pub role: Option<String>,
}

/// Class names and optional roles by class directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClassMap {
    /// File or definition of the map, for messages.
    pub origin: String,
    /// Classes by directory, in the order of the source.
    pub entries: IndexMap<String, MapEntry>,
}

impl ClassMap {
    /// Reads a map; the path of a file is relative to `data_root`.
    ///
    /// # Errors
    /// [`DatasetError::Map`] if a column, directory or name is missing or a directory is duplicate,
    /// or an I/O error.
    pub fn read(
        source: &ClassMapSource,
        data_root: impl AsRef<Path>,
    ) -> Result<Self, DatasetError> {
        let data_root = data_root.as_ref();
        match source {
            ClassMapSource::Inline { name, names } => {
                let entry = |name: &String| MapEntry {
                    name: name.clone(),
                    role: None,
                };
                let entries = names
                    .iter()
                    .map(|(directory, name)| (directory.clone(), entry(name)))
                    .collect();
                Ok(Self {
                    origin: format!("maps.{name}"),
                    entries,
                })
            }
            ClassMapSource::File {
                path,
                directory_column,
                name_column,
                role_column,
            } => {
                let path = data_root.join(path);
                let bytes = read_limited(&path, MAX_BYTES)?;
                let columns = [
                    Some(directory_column.as_str()),
                    Some(name_column),
                    role_column.as_deref(),
                ];
                Table {
                    origin: path.display().to_string(),
                    comma: has_csv_name(&path),
                }
                .parse(&bytes, columns)
            }
        }
    }

    /// Returns the roles in the map, sorted.
    pub(crate) fn roles(&self) -> BTreeSet<&str> {
        self.entries
            .values()
            .filter_map(|row| row.role.as_deref())
            .collect()
    }
}

fn has_csv_name(path: &Path) -> bool {
    path.extension()
        .is_some_and(|extension| extension.eq_ignore_ascii_case("csv"))
}

/// Parser of a map file.
struct Table {
    origin: String,
    comma: bool,
}

impl Table {
    fn problem(&self, line: Option<u64>, problem: String) -> DatasetError {
        DatasetError::Map {
            map: self.origin.clone(),
            line,
            problem,
        }
    }

    /// Parses the columns directory, name and, if given, role.
    fn parse(self, bytes: &[u8], columns: [Option<&str>; 3]) -> Result<ClassMap, DatasetError> {
        // In tab-separated tables a quotation mark has no special meaning.
        let delimiter = if self.comma { b',' } else { b'\t' };
        let mut reader = csv::ReaderBuilder::new()
            .delimiter(delimiter)
            .quoting(self.comma)
            .from_reader(bytes);
        let malformed = |error: &csv::Error| {
            let line = error.position().map(csv::Position::line);
            self.problem(line, error.to_string())
        };
        let header = reader.headers().map_err(|error| malformed(&error))?.clone();
        let [directory, name, role] =
            columns.map(|column| column.map(|column| self.column(&header, column)));
        let (directory, name, role) =
            (directory.transpose()?, name.transpose()?, role.transpose()?);
        let mut entries = IndexMap::new();
        for record in reader.records() {
            let record = record.map_err(|error| malformed(&error))?;
            let line = record.position().map(csv::Position::line);
            let field = |column: Option<usize>| {
                column
                    .and_then(|c| record.get(c))
                    .unwrap_or_default()
                    .trim()
            };
            if field(directory).is_empty() || field(name).is_empty() {
                return Err(self.problem(line, "empty directory or class name".to_string()));
            }
            let role = role.map(|_| field(role).to_string());
            if entries
                .insert(
                    field(directory).to_string(),
                    MapEntry {
                        name: field(name).to_string(),
                        role,
                    },
                )
                .is_some()
            {
                let problem = format!("duplicate directory `{}`", field(directory));
                return Err(self.problem(line, problem));
            }
        }
        if entries.is_empty() {
            return Err(self.problem(None, "no rows after the header".to_string()));
        }
        Ok(ClassMap {
            origin: self.origin,
            entries,
        })
    }

    fn column(&self, header: &csv::StringRecord, wanted: &str) -> Result<usize, DatasetError> {
        header
            .iter()
            .position(|name| name.trim() == wanted)
            .ok_or_else(|| {
                let known = header.iter().collect::<Vec<_>>().join(", ");
                let problem = format!("missing column `{wanted}`; columns in the header: {known}");
                self.problem(Some(1), problem)
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<ClassMap, String> {
        let table = Table {
            origin: "classes.tsv".to_string(),
            comma: false,
        };
        table
            .parse(text.as_bytes(), [Some("wnid"), Some("name"), Some("role")])
            .map_err(|e| e.to_string())
    }

    #[test]
    fn reads_columns_by_header() {
        let map = parse("name\tmore\twnid\trole\na \"b\" c\tx\tn1\tid\nd\ty\tn2\tnear\n").unwrap();
        assert_eq!(
            map.entries["n1"],
            MapEntry {
                name: "a \"b\" c".to_string(),
                role: Some("id".to_string())
            }
        );
        assert_eq!(map.roles().into_iter().collect::<Vec<_>>(), ["id", "near"]);
    }

    #[test]
    fn errors_name_the_line() {
        let error = |text: &str| parse(text).unwrap_err();
        assert!(
            error("wnid\tname\n")
                .contains("missing column `role`; columns in the header: wnid, name")
        );
        assert!(error("wnid\tname\trole\n").contains("no rows"));
        assert!(
            error("wnid\tname\trole\nn1\ta\tid\nn1\tb\tid\n")
                .starts_with("classes.tsv line 3: duplicate directory `n1`")
        );
        assert!(error("wnid\tname\trole\nn1\t\tid\n").starts_with("classes.tsv line 2:"));
        assert!(error("wnid\tname\trole\nn1\ta\n").starts_with("classes.tsv line 2:"));
    }
}
