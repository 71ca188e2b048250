//! Sets of images in tables: JSON Lines with paths and, with the feature `parquet`, Parquet with paths
//! or embedded images.

use std::fs::File;
use std::io::{self, BufReader};
use std::path::{Path, PathBuf};

use clipn_base::content::ContentKind;
use indexmap::IndexSet;
use serde_json::Value;

use crate::error::DatasetError;
use crate::eval_sets::archive::{LABEL_KEYS, LabelUse, check_label};
use crate::eval_sets::class_matching::number;
use crate::eval_sets::{ImageSet, LabeledImage};
use crate::skipped_files::SkippedFiles;
use crate::sources::{ImageContent, LostSource, NamedImage, TableImages, beside, scan};
use crate::tables::{JsonLine, JsonLines, TableKind};

/// Lists the images in a table with their labels. The table is read once to its end, so that damage is
/// found before any image is scored. If the labels have names, these are the class directories of the
/// set.
pub(super) fn read_table(
    name: &str,
    path: &Path,
    labels: LabelUse,
) -> Result<ImageSet, DatasetError> {
    let kind = ContentKind::of_file(path).map_err(|error| DatasetError::io(path, error))?;
    let mut samples = TableSamples::new(labels);
    if kind == ContentKind::Parquet || TableKind::of_file(path) == Some(TableKind::Parquet) {
        read_parquet(path, &mut samples)?;
    } else {
        read_json_lines(path, kind, &mut samples)?;
    }
    samples.into_set(name, path)
}

fn read_json_lines(
    path: &Path,
    kind: ContentKind,
    samples: &mut TableSamples,
) -> Result<(), DatasetError> {
    let unreadable = |error| DatasetError::io(path, error);
    let (_, key) = scan(path, None, kind)?;
    let mut lines = JsonLines::new(BufReader::new(File::open(path).map_err(unreadable)?));
    while let Some((line, content)) = lines.next().map_err(unreadable)? {
        let pushed = match content {
            JsonLine::Malformed(problem) => Err(problem.to_string()),
            JsonLine::Object(object) => {
                let image = object.get(&key).and_then(Value::as_str);
                let image = image.filter(|image| !image.is_empty());
                let label = || {
                    let label = LABEL_KEYS.iter().find_map(|key| object.get(*key));
                    label_of_json(label)
                };
                samples.push(image.map(|image| beside(path, image)), label)
            }
        };
        pushed.map_err(|problem| DatasetError::ListLine {
            path: path.to_path_buf(),
            line: usize::try_from(line).unwrap_or(usize::MAX),
            problem,
        })?;
    }
    Ok(())
}

fn label_of_json(value: Option<&Value>) -> Result<Label, String> {
    match value {
        None => Err(format!(
            "no label; expected one of the keys {}",
            LABEL_KEYS.join(", ")
        )),
        Some(Value::String(name)) => Label::from_name(name),
        Some(value) => value
            .as_i64()
            .map(Label::Index)
            .ok_or_else(|| format!("label `{value:.40}` is neither an integer nor a class name")),
    }
}

#[cfg(feature = "parquet")]
fn read_parquet(path: &Path, samples: &mut TableSamples) -> Result<(), DatasetError> {
    use crate::sources::{image_column, row_path};
    use crate::tables::parquet::{CellImage, ParquetTable};

    let refuse = |problem: String| DatasetError::Table {
        path: path.to_path_buf(),
        problem,
    };
    let damaged = |problem: String| refuse(format!("damaged Parquet file: {problem}"));
    let table = ParquetTable::open(path).map_err(damaged)?;
    let columns = match samples.labels {
        LabelUse::Ignored => table.columns(image_column(None), None, &[]),
        LabelUse::Required { .. } => table.label_columns(image_column(None), &LABEL_KEYS),
    };
    let columns = columns.map_err(refuse)?;
    let has_names = columns.has_text();
    if !has_names {
        samples.name_indices(table.class_names(&columns.text_name));
    }
    let mut number = 0;
    for group in 0..table.groups().len() {
        let mut rows = table.read_group(group, &columns, 0).map_err(damaged)?;
        while let Some((image, label)) = rows.next().map_err(damaged)? {
            let image = match image {
                CellImage::Bytes(_) => Some(row_path(path, number)),
                CellImage::Path(image) => Some(beside(path, image)),
                CellImage::None => None,
            };
            let label = || match label.as_deref() {
                None => Err(format!("no label in the column `{}`", columns.text_name)),
                Some(name) if has_names => Label::from_name(name),
                Some(index) => index
                    .parse()
                    .map(Label::Index)
                    .map_err(|_| format!("label `{index}` is not an integer")),
            };
            samples
                .push(image, label)
                .map_err(|problem| DatasetError::TableRow {
                    path: path.to_path_buf(),
                    row: number,
                    problem,
                })?;
            number += 1;
        }
    }
    Ok(())
}

#[cfg(not(feature = "parquet"))]
fn read_parquet(path: &Path, _: &mut TableSamples) -> Result<(), DatasetError> {
    Err(DatasetError::WithoutParquet {
        path: path.to_path_buf(),
    })
}

/// Label of a row.
enum Label {
    /// An index of the class names, or -1 for none.
    Index(i64),
    Name(String),
}

impl Label {
    fn from_name(name: &str) -> Result<Self, String> {
        match name.trim() {
            "" => Err("empty label".to_string()),
            name => Ok(Self::Name(name.to_string())),
        }
    }
}

/// The samples of a table, row by row.
struct TableSamples {
    labels: LabelUse,
    samples: Vec<LabeledImage>,
    skipped: SkippedFiles,
    /// Names of the classes that the indices belong to, if the table has them.
    index_names: Vec<String>,
    /// Names that are labels, in the order in which they are found.
    names: IndexSet<String>,
    has_indices: bool,
}

impl TableSamples {
    fn new(labels: LabelUse) -> Self {
        Self {
            labels,
            samples: Vec::new(),
            skipped: SkippedFiles::default(),
            index_names: Vec::new(),
            names: IndexSet::new(),
            has_indices: false,
        }
    }

    /// Sets the names of the classes that indices belong to; empty if they have no names.
    #[cfg(feature = "parquet")]
    fn name_indices(&mut self, names: Vec<String>) {
        if let LabelUse::Required { classes } = &mut self.labels
            && !names.is_empty()
        {
            *classes = Some(names.len());
            self.index_names = names;
        }
    }

    /// Adds a row. The error describes what is wrong with it.
    fn push(
        &mut self,
        image: Option<PathBuf>,
        label: impl FnOnce() -> Result<Label, String>,
    ) -> Result<(), String> {
        let label = match (&image, self.labels) {
            (_, LabelUse::Ignored) => None,
            (None, LabelUse::Required { .. }) => return Err("no image".to_string()),
            (Some(_), LabelUse::Required { classes }) => self.index(label()?, classes)?,
        };
        match image {
            Some(path) => self.samples.push(LabeledImage { path, label }),
            None => self.skipped.add_sample_without_image(),
        }
        Ok(())
    }

    fn index(&mut self, label: Label, classes: Option<usize>) -> Result<Option<usize>, String> {
        match label {
            Label::Index(-1) => Ok(None),
            Label::Index(index) if !self.names.is_empty() => Err(format!(
                "label {index} is an integer, but labels before it are class names"
            )),
            Label::Index(index) => {
                self.has_indices = true;
                check_label(index, classes)
            }
            Label::Name(name) if self.has_indices => Err(format!(
                "label `{name}` is a class name, but labels before it are integers"
            )),
            Label::Name(name) => Ok(Some(self.names.insert_full(name).0)),
        }
    }

    fn into_set(mut self, name: &str, path: &Path) -> Result<ImageSet, DatasetError> {
        if self.samples.is_empty() {
            return Err(DatasetError::NoImages {
                path: path.to_path_buf(),
                skipped: self.skipped,
            });
        }
        let class_directories = if self.names.is_empty() {
            self.index_names
        } else {
            sort_names(self.names, &mut self.samples)
        };
        Ok(ImageSet {
            name: name.to_string(),
            root: path.parent().unwrap_or(Path::new("")).to_path_buf(),
            samples: self.samples,
            class_directories,
            skipped: self.skipped,
            table: Some(path.to_path_buf()),
            ..ImageSet::default()
        })
    }
}

/// Sorts names as class directories are, and changes the labels accordingly.
fn sort_names(names: IndexSet<String>, samples: &mut [LabeledImage]) -> Vec<String> {
    let mut sorted: Vec<(usize, String)> = names.into_iter().enumerate().collect();
    if sorted.iter().all(|(_, name)| number(name).is_some()) {
        sorted.sort_by_key(|(_, name)| number(name));
    } else {
        sorted.sort_by(|(_, a), (_, b)| a.cmp(b));
    }
    let mut labels = vec![0; sorted.len()];
    for (label, (found, _)) in sorted.iter().enumerate() {
        labels[*found] = label;
    }
    for sample in samples {
        sample.label = sample.label.map(|found| labels[found]);
    }
    sorted.into_iter().map(|(_, name)| name).collect()
}

/// Stream of the images of a table.
pub(super) struct TableStream(Result<TableImages, String>);

impl TableStream {
    pub(super) fn new(path: &Path) -> Self {
        Self(TableImages::open(path, None).map_err(|error| error.to_string()))
    }

    /// Reads the image with this name, which is the next one that a row has.
    pub(super) fn read(&mut self, name: String) -> NamedImage {
        let images = match &mut self.0 {
            Ok(images) => images,
            Err(problem) => {
                let error = io::Error::other(problem.clone());
                return NamedImage::failed(name, error);
            }
        };
        loop {
            let Some(image) = images.next() else { break };
            if image.name == name {
                return image;
            }
            match image.content {
                ImageContent::Failed(error) => match LostSource::find(&error) {
                    // A row without an image, which is no sample.
                    None => continue,
                    Some(_) => return NamedImage::failed(name, error),
                },
                _ => break,
            }
        }
        NamedImage::failed(name, io::Error::other("the table changed"))
    }
}

/// Reads an image that is embedded in a table; `None` if the path is not one of these.
#[cfg(feature = "parquet")]
pub(super) fn read_embedded(path: &Path) -> Option<Vec<u8>> {
    let text = path.to_str().filter(|_| !path.exists())?;
    let (table, row) = text.rsplit_once(':')?;
    let row = row.parse().ok()?;
    let is_file = Path::new(table).is_file();
    is_file.then(|| crate::sources::read_row(Path::new(table), row))?
}

#[cfg(not(feature = "parquet"))]
pub(super) fn read_embedded(_: &Path) -> Option<Vec<u8>> {
    None
}
