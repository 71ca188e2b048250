//! Scores from anywhere: tables and arrays that any program wrote.
//!
//! A table has a header, a column that separates the sets and one or more columns of scores. An array
//! is a `.npy` file of one dimension. Both are data: nothing in them is executed.
//!
//! ```
//! use clipn_eval::score_files::{ScoreTableOptions, read_score_table};
//!
//! # let dir = tempfile::tempdir()?;
//! # let path = dir.path().join("scores.csv");
//! std::fs::write(&path, "dataset,msp\nid,0.9\nid,0.8\nnoise,0.3\nlines,0.85\n")?;
//! let sets = read_score_table(&path, &ScoreTableOptions::default())?;
//! assert_eq!(sets.ood_names, ["noise", "lines"]);
//! assert_eq!(sets.scores[0].id, [0.9, 0.8]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod error;
mod roles;
mod table;

pub use error::ScoreFileError;

use std::fs::File;
use std::io::Read;
use std::path::Path;

use clipn_base::content::ContentKind;
use clipn_data::npy;
use indexmap::IndexSet;

use roles::{Meaning, Role, roles};
use table::Table;

/// Maximum size of a file in bytes.
const MAX_BYTES: u64 = 1 << 30;

/// Scores of one in-distribution set and of any number of out-of-distribution sets.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct ScoreSets {
    /// Name of the in-distribution set.
    pub id_name: String,
    /// Names of the out-of-distribution sets.
    pub ood_names: Vec<String>,
    /// Scores, at least one.
    pub scores: Vec<ScoreColumn>,
    /// Number of rows without scores, which report an error instead.
    pub skipped: usize,
    /// Column that separates the sets, if they come from one table.
    pub set_column: Option<String>,
}

/// Values of one score.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct ScoreColumn {
    /// Name of the score.
    pub name: String,
    /// Values of the in-distribution set, in the order of the file.
    pub id: Vec<f64>,
    /// Values of each out-of-distribution set.
    pub ood: Vec<Vec<f64>>,
}

/// Which columns of a table are read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ScoreTableOptions {
    /// Columns of scores. If empty, those with a known name: `score`, `confidence`, the names of
    /// [`clipn_ood::scores`] and others; else the only column of numbers.
    pub score_columns: Vec<String>,
    /// Column that separates the sets. If `None`, one with a known name: `is_ood`, `is_id`, `set`,
    /// `dataset`, `label` and others.
    pub set_column: Option<String>,
    /// Value of in-distribution rows in that column; every other value is a set of its own.
    pub id_value: Option<String>,
}

impl ScoreTableOptions {
    /// Sets the columns of scores.
    #[must_use]
    pub fn with_score_columns(mut self, columns: impl Into<Vec<String>>) -> Self {
        self.score_columns = columns.into();
        self
    }

    /// Sets the column that separates the sets.
    #[must_use]
    pub fn with_set_column(mut self, column: Option<String>) -> Self {
        self.set_column = column;
        self
    }

    /// Sets the value of in-distribution rows.
    #[must_use]
    pub fn with_id_value(mut self, value: Option<String>) -> Self {
        self.id_value = value;
        self
    }
}

impl ScoreSets {
    /// Combines lists of scores, each with the name of its set, in-distribution first.
    ///
    /// # Errors
    /// [`ScoreFileError::EmptySet`] for an empty list, or without out-of-distribution sets; `path` is
    /// the file that the error names.
    pub fn from_lists(
        id: (String, Vec<f64>),
        ood: Vec<(String, Vec<f64>)>,
        path: impl AsRef<Path>,
    ) -> Result<Self, ScoreFileError> {
        let (ood_names, ood) = ood.into_iter().unzip();
        let (id_name, id) = id;
        let sets = Self {
            id_name,
            ood_names,
            scores: vec![ScoreColumn {
                name: "score".to_owned(),
                id,
                ood,
            }],
            skipped: 0,
            set_column: None,
        };
        sets.checked(path.as_ref())
    }
}

/// Reads a table with a header and one row per scored image; separators are commas, tabs or
/// semicolons.
///
/// # Errors
/// [`ScoreFileError`] for a file that is no table, for columns that are unknown or not known to have
/// scores or sets, for values that do not say what is in-distribution, and for the first cell that is
/// no finite number, with its line.
pub fn read_score_table(
    path: impl AsRef<Path>,
    options: &ScoreTableOptions,
) -> Result<ScoreSets, ScoreFileError> {
    let path = path.as_ref();
    let bytes = read(path)?;
    if bytes.starts_with(npy::MAGIC) {
        return Err(ScoreFileError::NoSets {
            path: path.to_owned(),
        });
    }
    Table::parse(path, &bytes)?.sets(options)
}

/// Reads the scores of one set: a `.npy` array of one dimension, or a text file with one number per
/// line, which may begin with a name.
///
/// # Errors
/// [`ScoreFileError`] for a file that is neither, and for the first value that is no finite number.
pub fn read_score_list(path: impl AsRef<Path>) -> Result<Vec<f64>, ScoreFileError> {
    let path = path.as_ref();
    let bytes = read(path)?;
    if !bytes.starts_with(npy::MAGIC) {
        return text_list(path, &bytes);
    }
    let values = npy_values(path, &bytes)?;
    match values.iter().enumerate().find(|(_, v)| !v.is_finite()) {
        Some((index, &value)) => Err(ScoreFileError::NotFinite {
            path: path.to_owned(),
            index,
            value,
        }),
        None => Ok(values),
    }
}

/// Reads scores and a list of labels of the same length: `.npy` arrays of one dimension, or text files
/// with one value per line. Without `id_value`, labels must be names of sets, or numbers that are
/// negative for out-of-distribution scores.
///
/// # Errors
/// Those of [`read_score_list`]; [`ScoreFileError::LabelCount`] if the lengths differ, and
/// [`ScoreFileError::UnknownId`] or [`ScoreFileError::NoIdRows`] if the labels do not say what is
/// in-distribution.
pub fn read_labeled_scores(
    scores: impl AsRef<Path>,
    labels: impl AsRef<Path>,
    id_value: Option<&str>,
) -> Result<ScoreSets, ScoreFileError> {
    let path = labels.as_ref();
    let values = read_score_list(scores)?;
    let labels = label_list(path)?;
    if labels.len() != values.len() {
        return Err(ScoreFileError::LabelCount {
            scores: values.len(),
            labels: labels.len(),
        });
    }
    let distinct: IndexSet<String> = labels.iter().cloned().collect();
    let found = roles(&distinct, Meaning::Labels, id_value);
    let found =
        found.ok_or_else(|| ScoreFileError::without_id(path, "labels", id_value, &distinct))?;
    let (mut id, mut ood) = (Vec::new(), Vec::<(String, Vec<f64>)>::new());
    for (label, value) in labels.iter().zip(values) {
        match distinct.get_index_of(label).map(|index| &found[index]) {
            Some(Role::Ood(name)) => match ood.iter_mut().find(|(other, _)| other == name) {
                Some((_, values)) => values.push(value),
                None => ood.push((name.clone(), vec![value])),
            },
            _ => id.push(value),
        }
    }
    ScoreSets::from_lists(("id".to_owned(), id), ood, path)
}

/// The labels in a file, as text.
fn label_list(path: &Path) -> Result<Vec<String>, ScoreFileError> {
    let bytes = read(path)?;
    if bytes.starts_with(npy::MAGIC) {
        let values = npy_values(path, &bytes)?;
        return Ok(values.iter().map(f64::to_string).collect());
    }
    Ok(text_lines(path, &bytes)?
        .into_iter()
        .map(|(_, line)| line.to_owned())
        .collect())
}

fn npy_values(path: &Path, bytes: &[u8]) -> Result<Vec<f64>, ScoreFileError> {
    npy::read_list(bytes).map_err(|reason| ScoreFileError::NumPy {
        path: path.to_owned(),
        reason,
    })
}

/// The lines of a text that are not empty, with their numbers from 1.
fn text_lines<'a>(path: &Path, bytes: &'a [u8]) -> Result<Vec<(u64, &'a str)>, ScoreFileError> {
    let text = std::str::from_utf8(bytes).map_err(|error| ScoreFileError::Table {
        path: path.to_owned(),
        reason: error.to_string(),
    })?;
    let lines = text.trim_start_matches('\u{feff}').lines();
    Ok((1..)
        .zip(lines.map(str::trim))
        .filter(|(_, line)| !line.is_empty())
        .collect())
}

fn text_list(path: &Path, bytes: &[u8]) -> Result<Vec<f64>, ScoreFileError> {
    let lines = text_lines(path, bytes)?;
    // What begins like a number is a damaged score, not a heading.
    let is_like_number = |c: char| c.is_ascii_digit() || "+-.".contains(c);
    let is_name = |text: &str| text.parse::<f64>().is_err() && !text.starts_with(is_like_number);
    let name = lines.first().filter(|(_, line)| is_name(line));
    let column = name.map_or("score", |(_, line)| line).to_owned();
    let values = &lines[usize::from(name.is_some())..];
    let value = |&(line, text): &(u64, &str)| match text.parse::<f64>() {
        Ok(value) if value.is_finite() => Ok(value),
        _ => Err(ScoreFileError::Cell {
            path: path.to_owned(),
            line,
            column: column.clone(),
            reason: format!("expected a finite number, got {text:?}"),
        }),
    };
    values.iter().map(value).collect()
}

/// Reads a file that is a table or an array.
fn read(path: &Path) -> Result<Vec<u8>, ScoreFileError> {
    let unreadable = |source| ScoreFileError::Read {
        path: path.to_owned(),
        source,
    };
    let mut bytes = Vec::new();
    File::open(path)
        .map_err(unreadable)?
        .take(MAX_BYTES + 1)
        .read_to_end(&mut bytes)
        .map_err(unreadable)?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(ScoreFileError::TooLarge {
            path: path.to_owned(),
            limit: MAX_BYTES,
        });
    }
    let expected = [ContentKind::NumPy, ContentKind::Text];
    match ContentKind::other_than(&bytes, &expected) {
        Some(kind) => Err(ScoreFileError::Kind {
            path: path.to_owned(),
            kind,
        }),
        None => Ok(bytes),
    }
}
