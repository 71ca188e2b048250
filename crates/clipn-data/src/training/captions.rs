use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};

use csv::{ByteRecord, ReaderBuilder};
use serde::{Deserialize, Serialize};

use crate::error::DatasetError;
use crate::training::error::TrainingDataError;
use crate::training::skipped::{SkipReason, SkippedSample};

/// Maximum size of a table in bytes; its captions are kept in memory.
const MAX_BYTES: u64 = 8 << 30;

/// Maximum length of a caption or path in bytes. An unclosed quote swallows the rows after it.
const MAX_FIELD: usize = 64 << 10;

/// Format of a caption table, with open_clip's names and defaults.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CaptionTableFormat {
    /// Separator of columns, one ASCII character; open_clip's `--csv-separator`.
    pub separator: char,
    /// Header of the column of image paths; open_clip's `--csv-img-key`.
    pub image_key: String,
    /// Header of the column of captions; open_clip's `--csv-caption-key`.
    pub caption_key: String,
}

impl Default for CaptionTableFormat {
    /// Returns open_clip's defaults: tab, `filepath`, `title`.
    fn default() -> Self {
        Self {
            separator: '\t',
            image_key: "filepath".to_string(),
            caption_key: "title".to_string(),
        }
    }
}

/// End offsets of a row's texts in [`CaptionTable::text`], and its line number.
#[derive(Debug, Clone, Copy)]
struct Row {
    image_end: u64,
    caption_end: u64,
    line: u64,
    problem: Option<(SkipReason, &'static str)>,
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
    /// Image paths and captions of all rows, concatenated.
    text: String,
    rows: Vec<Row>,
}

impl CaptionTable {
    /// Reads a table with a header line. Image paths are absolute or relative to the table's
    /// directory; a missing image is detected only when it is decoded. Fields may be quoted with
    /// `"`. Malformed rows are kept and reported when they are read.
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
        let separator = u8::try_from(format.separator)
            .ok()
            .filter(|byte| byte.is_ascii() && *byte != b'"');
        let separator = separator.ok_or_else(|| TrainingDataError::Setting {
            setting: "separator",
            problem: format!(
                "expected one ASCII character other than a quote, got `{}`",
                format.separator
            ),
        })?;
        let metadata = std::fs::metadata(path).map_err(|source| DatasetError::io(path, source))?;
        if !metadata.is_file() {
            let source = std::io::Error::other("not a regular file");
            return Err(DatasetError::Io {
                path: path.to_path_buf(),
                source,
            }
            .into());
        }
        if metadata.len() > MAX_BYTES {
            let size = metadata.len();
            return Err(DatasetError::TooLarge {
                path: path.to_path_buf(),
                size,
                limit: MAX_BYTES,
            }
            .into());
        }
        let file = File::open(path).map_err(|source| DatasetError::io(path, source))?;
        let mut reader = ReaderBuilder::new()
            .delimiter(separator)
            .flexible(true)
            .from_reader(BufReader::new(file));
        let header = reader
            .byte_headers()
            .map_err(|error| refuse(path, error.to_string()))?
            .clone();
        let image = column(path, &header, &format.image_key)?;
        let caption = column(path, &header, &format.caption_key)?;
        let directory = path.parent().unwrap_or(Path::new("")).to_path_buf();
        let mut table = Self {
            path: path.to_path_buf(),
            directory,
            text: String::new(),
            rows: Vec::new(),
        };
        let mut record = ByteRecord::new();
        while reader
            .read_byte_record(&mut record)
            .map_err(|error| refuse(path, error.to_string()))?
        {
            let line = record.position().map_or(0, csv::Position::line);
            table.push(&record, line, header.len(), image, caption);
        }
        if table.rows.is_empty() {
            return Err(refuse(path, "no rows after the header".to_string()));
        }
        Ok(table)
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
            return Err(SkippedSample::new(self.key(index), reason, detail));
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

    fn push(
        &mut self,
        record: &ByteRecord,
        line: u64,
        columns: usize,
        image: usize,
        caption: usize,
    ) {
        let problem = match fields(record, columns, image, caption) {
            Ok((image, caption)) => {
                self.text.push_str(image);
                let image_end = self.text.len() as u64;
                self.text.push_str(caption);
                let caption_end = self.text.len() as u64;
                return self.rows.push(Row {
                    image_end,
                    caption_end,
                    line,
                    problem: None,
                });
            }
            Err(problem) => problem,
        };
        let end = self.text.len() as u64;
        self.rows.push(Row {
            image_end: end,
            caption_end: end,
            line,
            problem: Some(problem),
        });
    }
}

/// Returns the image path and the caption of a record, or why it is malformed.
fn fields(
    record: &ByteRecord,
    columns: usize,
    image: usize,
    caption: usize,
) -> Result<(&str, &str), (SkipReason, &'static str)> {
    if record.len() != columns {
        return Err((
            SkipReason::BadRow,
            "the number of columns differs from the header",
        ));
    }
    let (image, caption) = (&record[image], &record[caption]);
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
    if caption.trim().is_empty() {
        return Err((SkipReason::NoCaption, "the caption is empty"));
    }
    Ok((image, caption))
}

/// Returns the index of a column; a byte order mark before the name is ignored.
fn column(path: &Path, header: &ByteRecord, key: &str) -> Result<usize, TrainingDataError> {
    let plain = |name: &[u8]| {
        String::from_utf8_lossy(name)
            .trim_start_matches('\u{feff}')
            .to_string()
    };
    let names: Vec<String> = header.iter().map(plain).collect();
    names.iter().position(|name| name == key).ok_or_else(|| {
        let shown: Vec<String> = names
            .iter()
            .take(8)
            .map(|name| format!("`{name:.40}`"))
            .collect();
        refuse(
            path,
            format!(
                "missing column `{key}`; columns in the header: {}",
                shown.join(", ")
            ),
        )
    })
}

fn refuse(path: &Path, problem: String) -> TrainingDataError {
    TrainingDataError::Table {
        path: path.to_path_buf(),
        problem,
    }
}
