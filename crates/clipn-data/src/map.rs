use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use indexmap::IndexMap;

use super::DatasetError;
use super::read::read_limited;

/// The largest map file read, in bytes.
const LIMIT: u64 = 64 << 20;

/// Where the names of class folders come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MapSource {
    /// A table with a heading line: comma-separated where the name ends in `.csv`, else tab-separated.
    File {
        /// The table, relative to the data root.
        path: PathBuf,
        /// Heading of the column with the folder's name.
        folder_column: String,
        /// Heading of the column with the class name.
        name_column: String,
        /// Heading of the column with the role.
        role_column: Option<String>,
    },
    /// Folder and class name, written into the definition under this name of a map.
    Inline {
        /// The map's name.
        name: String,
        /// Class name of each folder.
        names: IndexMap<String, String>,
    },
}

/// The class that a folder holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MapRow {
    /// The class name.
    pub name: String,
    /// What the class is for, such as `id`, where the map says so.
    pub role: Option<String>,
}

/// Class names, and roles where there are some, by class folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FolderMap {
    /// Where it was read, for messages.
    pub origin: String,
    /// The classes by folder, in the order of the source.
    pub rows: IndexMap<String, MapRow>,
}

impl FolderMap {
    /// Reads a map; a file lies below `data_root`.
    ///
    /// # Errors
    /// [`DatasetError::Map`] with the line where a column, a folder or a name is missing or a folder stands twice.
    pub fn read(source: &MapSource, data_root: &Path) -> Result<Self, DatasetError> {
        match source {
            MapSource::Inline { name, names } => {
                let row = |name: &String| MapRow {
                    name: name.clone(),
                    role: None,
                };
                let rows = names
                    .iter()
                    .map(|(folder, name)| (folder.clone(), row(name)))
                    .collect();
                Ok(Self {
                    origin: format!("maps.{name}"),
                    rows,
                })
            }
            MapSource::File {
                path,
                folder_column,
                name_column,
                role_column,
            } => {
                let path = data_root.join(path);
                let bytes = read_limited(&path, LIMIT)?;
                let columns = [
                    Some(folder_column.as_str()),
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

    /// The roles that rows have, sorted.
    pub(super) fn roles(&self) -> BTreeSet<&str> {
        self.rows
            .values()
            .filter_map(|row| row.role.as_deref())
            .collect()
    }
}

fn has_csv_name(path: &Path) -> bool {
    path.extension()
        .is_some_and(|extension| extension.eq_ignore_ascii_case("csv"))
}

/// A map file being parsed.
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

    /// Parses the columns folder, name and, where given, role.
    fn parse(self, bytes: &[u8], columns: [Option<&str>; 3]) -> Result<FolderMap, DatasetError> {
        // In tab-separated tables a quotation mark is a character like any other.
        let delimiter = if self.comma { b',' } else { b'\t' };
        let mut reader = csv::ReaderBuilder::new()
            .delimiter(delimiter)
            .quoting(self.comma)
            .from_reader(bytes);
        let told = |error: &csv::Error| {
            let line = error.position().map(csv::Position::line);
            self.problem(
                line,
                format!("{error}; give every line as many columns as the heading has"),
            )
        };
        let headings = reader.headers().map_err(|error| told(&error))?.clone();
        let [folder, name, role] =
            columns.map(|column| column.map(|column| self.column(&headings, column)));
        let (folder, name, role) = (folder.transpose()?, name.transpose()?, role.transpose()?);
        let mut rows = IndexMap::new();
        for record in reader.records() {
            let record = record.map_err(|error| told(&error))?;
            let line = record.position().map(csv::Position::line);
            let field = |column: Option<usize>| {
                column
                    .and_then(|c| record.get(c))
                    .unwrap_or_default()
                    .trim()
            };
            if field(folder).is_empty() || field(name).is_empty() {
                return Err(self.problem(
                    line,
                    "the folder or the class name is empty: give both".to_string(),
                ));
            }
            let role = role.map(|_| field(role).to_string());
            if rows
                .insert(
                    field(folder).to_string(),
                    MapRow {
                        name: field(name).to_string(),
                        role,
                    },
                )
                .is_some()
            {
                let problem = format!(
                    "folder `{}` stands twice: keep one of the lines",
                    field(folder)
                );
                return Err(self.problem(line, problem));
            }
        }
        if rows.is_empty() {
            return Err(self.problem(
                None,
                "there is no line below the heading: give one for each class".to_string(),
            ));
        }
        Ok(FolderMap {
            origin: self.origin,
            rows,
        })
    }

    fn column(&self, headings: &csv::StringRecord, wanted: &str) -> Result<usize, DatasetError> {
        headings.iter().position(|heading| heading.trim() == wanted).ok_or_else(|| {
            let there = headings.iter().collect::<Vec<_>>().join(", ");
            let problem = format!(
                "no column `{wanted}` in the heading (there are: {there}): correct the column's name"
            );
            self.problem(Some(1), problem)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<FolderMap, String> {
        let table = Table {
            origin: "classes.tsv".to_string(),
            comma: false,
        };
        table
            .parse(text.as_bytes(), [Some("wnid"), Some("name"), Some("role")])
            .map_err(|e| e.to_string())
    }

    #[test]
    fn reads_columns_by_heading() {
        let map = parse("name\tmore\twnid\trole\na \"b\" c\tx\tn1\tid\nd\ty\tn2\tnear\n").unwrap();
        assert_eq!(
            map.rows["n1"],
            MapRow {
                name: "a \"b\" c".to_string(),
                role: Some("id".to_string())
            }
        );
        assert_eq!(map.roles().into_iter().collect::<Vec<_>>(), ["id", "near"]);
    }

    #[test]
    fn faults_name_their_line() {
        let fault = |text: &str| parse(text).unwrap_err();
        assert!(
            fault("wnid\tname\n")
                .contains("no column `role` in the heading (there are: wnid, name)")
        );
        assert!(fault("wnid\tname\trole\n").contains("no line below"));
        assert!(
            fault("wnid\tname\trole\nn1\ta\tid\nn1\tb\tid\n")
                .starts_with("classes.tsv line 3: folder `n1`")
        );
        assert!(fault("wnid\tname\trole\nn1\t\tid\n").starts_with("classes.tsv line 2:"));
        assert!(fault("wnid\tname\trole\nn1\ta\n").starts_with("classes.tsv line 2:"));
    }
}
