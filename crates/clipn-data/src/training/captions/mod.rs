//! Tables of image paths and captions: CSV, TSV and JSON Lines, and Parquet without embedded images.

mod delimited;
mod format;
mod json_lines;
mod quoting;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

pub use format::{CaptionTableFormat, TableQuoting};

use crate::error::DatasetError;
use crate::tables::TableKind;
use crate::training::error::TrainingDataError;
use crate::training::random::StableHash;
use crate::training::skipped::{SkipReason, SkippedSample};

/// Maximum size of a table in bytes; its captions are kept in memory.
const MAX_BYTES: u64 = 8 << 30;

/// Maximum length of a caption or path in bytes. An unclosed quote swallows the rows after it.
const MAX_FIELD: usize = 64 << 10;

/// Why a row is malformed.
pub(crate) type RowProblem = (SkipReason, &'static str);

/// End offsets of a row's texts in [`CaptionTable::text`], and its line number.
#[derive(Debug, Clone, Copy)]
struct Row {
    image_end: u64,
    caption_end: u64,
    line: u64,
    problem: Option<RowProblem>,
}

/// Fields of a table that hold line ends. They may be texts of several lines, or rows that an
/// unclosed quote joined.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct MultilineFields {
    /// Number of such fields in the columns of images and captions.
    pub count: u64,
    /// Line on which the row of the first of them begins.
    pub first_line: u64,
}

/// Caption table in memory: pairs of an image path and a caption.
///
/// ```
/// use clipn_data::{CaptionTable, CaptionTableFormat};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let directory = tempfile::tempdir()?;
/// let path = directory.path().join("captions.tsv");
/// std::fs::write(&path, "filepath\ttitle\ncat.jpg\ta cat on a mat\n")?;
/// let table = CaptionTable::read(&path, &CaptionTableFormat::default())?;
/// let (image, caption) = table.row(0).unwrap();
/// assert_eq!((image, caption), (directory.path().join("cat.jpg"), "a cat on a mat"));
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct CaptionTable {
    path: PathBuf,
    directory: PathBuf,
    image_key: String,
    caption_key: String,
    quoting: TableQuoting,
    has_quotes: bool,
    multiline: Option<MultilineFields>,
    /// Image paths and captions of all rows, concatenated.
    text: String,
    rows: Vec<Row>,
    /// Numbers of lines of malformed rows that have more than one, by row.
    swallowed: BTreeMap<usize, u64>,
}

impl CaptionTable {
    /// Reads a CSV or TSV table with a header line, or JSON Lines if the extension is `.jsonl` or
    /// `.ndjson`. Image paths are absolute or relative to the table's directory; a missing image is
    /// detected only when it is decoded. Malformed rows are kept and reported when they are read.
    ///
    /// In JSON Lines, keys that are usual for images (`image`, `file_name`, …) and captions
    /// (`caption`, `text`, …) replace defaults that are missing.
    ///
    /// # Errors
    /// [`TrainingDataError::Table`] if a column is missing or there are no rows,
    /// [`TrainingDataError::Setting`] if the separator is not a single ASCII character,
    /// [`TrainingDataError::File`] if the file cannot be read.
    pub fn read(
        path: impl AsRef<Path>,
        format: &CaptionTableFormat,
    ) -> Result<Self, TrainingDataError> {
        let path = path.as_ref();
        if TableKind::of_file(path) == Some(TableKind::JsonLines) {
            return Self::read_json_lines(path, format);
        }
        check_size(path)?;
        delimited::read(path, format)?.with_rows()
    }

    /// Reads JSON Lines, whatever the extension; see [`read`](Self::read).
    ///
    /// # Errors
    /// Same as [`read`](Self::read).
    pub fn read_json_lines(
        path: impl AsRef<Path>,
        format: &CaptionTableFormat,
    ) -> Result<Self, TrainingDataError> {
        let path = path.as_ref();
        check_size(path)?;
        json_lines::read(path, format)?.with_rows()
    }

    /// Checks that there are rows.
    pub(crate) fn with_rows(self) -> Result<Self, TrainingDataError> {
        if self.rows.is_empty() {
            return Err(refuse(&self.path, "no rows".to_string()));
        }
        Ok(self)
    }

    /// Creates a table without rows.
    pub(crate) fn new(path: &Path, image_key: &str, caption_key: &str) -> Self {
        Self {
            path: path.to_path_buf(),
            directory: path.parent().unwrap_or(Path::new("")).to_path_buf(),
            image_key: image_key.to_string(),
            caption_key: caption_key.to_string(),
            quoting: TableQuoting::None,
            has_quotes: false,
            multiline: None,
            text: String::new(),
            rows: Vec::new(),
            swallowed: BTreeMap::new(),
        }
    }

    /// Returns the column or key of images, as found in the table.
    pub fn image_key(&self) -> &str {
        &self.image_key
    }

    /// Returns the column or key of captions, as found in the table.
    pub fn caption_key(&self) -> &str {
        &self.caption_key
    }

    /// Returns the meaning of quotes in the table, given or detected: [`TableQuoting::Minimal`] or
    /// [`TableQuoting::None`].
    pub fn quoting(&self) -> TableQuoting {
        self.quoting
    }

    /// Returns whether a field of a CSV or TSV table begins with a quote, so that
    /// [`quoting`](Self::quoting) matters.
    pub fn has_quotes(&self) -> bool {
        self.has_quotes
    }

    /// Returns the fields that hold line ends, if there are any.
    pub fn multiline_fields(&self) -> Option<MultilineFields> {
        self.multiline
    }

    /// Returns the number of rows, including malformed ones.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Returns whether there are no rows; tables that were read have at least one.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Returns the path of the file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the image path and caption of a row, from 0.
    ///
    /// # Errors
    /// A [`SkippedSample`] if the row is malformed or past the end.
    pub fn row(&self, index: usize) -> Result<(PathBuf, &str), SkippedSample> {
        let Some(row) = self.rows.get(index) else {
            return Err(SkippedSample::new(
                self.key(index),
                SkipReason::BadRow,
                "row index out of range",
            ));
        };
        if let Some((reason, detail)) = row.problem {
            return Err(SkippedSample {
                samples: self.swallowed.get(&index).copied().unwrap_or(1),
                ..SkippedSample::new(self.key(index), reason, detail)
            });
        }
        let start = if index == 0 {
            0
        } else {
            self.rows[index - 1].caption_end as usize
        };
        let (image_end, caption_end) = (row.image_end as usize, row.caption_end as usize);
        Ok((
            self.directory.join(&self.text[start..image_end]),
            &self.text[image_end..caption_end],
        ))
    }

    /// Returns the key of a row, `file:line`.
    pub fn key(&self, index: usize) -> String {
        let line = self.rows.get(index).map_or(0, |row| row.line);
        format!(
            "{}:{line}",
            self.path.file_name().unwrap_or_default().to_string_lossy()
        )
    }

    /// Adds the rows to a hash: their texts, and which of them are malformed.
    pub(crate) fn add_to(&self, hash: &mut StableHash) {
        hash.text(&self.text);
        for row in &self.rows {
            hash.word(row.image_end);
            hash.word(row.caption_end);
            hash.word(u64::from(row.problem.is_some()));
        }
    }

    /// Adds a malformed row that took up several lines: it may have swallowed the rows on them.
    pub(crate) fn push_swallowed(&mut self, line: u64, lines: u64, problem: RowProblem) {
        self.swallowed.insert(self.rows.len(), lines);
        self.push(line, Err(problem));
    }

    /// Adds a row, of an image path and a caption, or why it is malformed.
    pub(crate) fn push(&mut self, line: u64, fields: Result<(&str, Cow<'_, str>), RowProblem>) {
        let (image, caption, problem) = match fields {
            Ok((image, caption)) => (image, caption, None),
            Err(problem) => ("", Cow::Borrowed(""), Some(problem)),
        };
        let multiline = [image, &*caption]
            .iter()
            .filter(|field| field.trim_end().contains(['\n', '\r']))
            .count() as u64;
        if multiline > 0 {
            let all = self.multiline.get_or_insert(MultilineFields {
                count: 0,
                first_line: line,
            });
            all.count += multiline;
        }
        self.text.push_str(image);
        let image_end = self.text.len() as u64;
        self.text.push_str(&caption);
        self.rows.push(Row {
            image_end,
            caption_end: self.text.len() as u64,
            line,
            problem,
        });
    }
}

/// Checks an image path and a caption. With class names, the caption is the index of a class.
pub(crate) fn check_fields<'a>(
    image: &'a [u8],
    caption: &'a [u8],
    class_names: &'a [String],
) -> Result<(&'a str, Cow<'a, str>), RowProblem> {
    if image.len() > MAX_FIELD || caption.len() > MAX_FIELD {
        return Err((
            SkipReason::BadRow,
            "a field exceeds 65536 bytes, possibly because of an unclosed quote",
        ));
    }
    let image = str::from_utf8(image).map_err(|_| (SkipReason::BadRow, "the path is not UTF-8"))?;
    let caption = str::from_utf8(caption)
        .map_err(|_| (SkipReason::BadCaption, "the caption is not UTF-8"))?;
    if image.is_empty() {
        return Err((SkipReason::NoImage, "the path is empty"));
    }
    check_caption(caption, class_names).map(|caption| (image, caption))
}

/// Checks a caption, and looks up the name of a class index.
pub(crate) fn check_caption<'a>(
    caption: &'a str,
    class_names: &'a [String],
) -> Result<Cow<'a, str>, RowProblem> {
    if caption.trim().is_empty() {
        return Err((SkipReason::NoCaption, "the caption is empty"));
    }
    if class_names.is_empty() {
        return Ok(Cow::Borrowed(caption));
    }
    let index: Option<usize> = caption.trim().parse().ok();
    let name = index.and_then(|index| class_names.get(index));
    name.map(|name| Cow::Borrowed(name.as_str())).ok_or((
        SkipReason::BadCaption,
        "the caption is not the index of a class",
    ))
}

fn check_size(path: &Path) -> Result<(), DatasetError> {
    let metadata = std::fs::metadata(path).map_err(|source| DatasetError::io(path, source))?;
    if !metadata.is_file() {
        let source = std::io::Error::other("not a regular file");
        return Err(DatasetError::Io {
            path: path.to_path_buf(),
            source,
        });
    }
    if metadata.len() > MAX_BYTES {
        return Err(DatasetError::TooLarge {
            path: path.to_path_buf(),
            size: metadata.len(),
            limit: MAX_BYTES,
        });
    }
    Ok(())
}

pub(crate) fn refuse(path: &Path, problem: String) -> TrainingDataError {
    TrainingDataError::Table {
        path: path.to_path_buf(),
        problem,
    }
}
