use std::fs::File;
use std::io::{self, BufReader};
use std::path::{Path, PathBuf};

use clipn_base::content::ContentKind;
use serde_json::Value;

use crate::error::DatasetError;
use crate::sources::NamedImage;
#[cfg(feature = "parquet")]
use crate::sources::parquet_images::ParquetImages;
use crate::tables::{IMAGE_KEYS, JsonLine, JsonLines, TableKind, find_key, list_keys};

/// Key or column of images, unless another is given.
pub(crate) const DEFAULT_IMAGE_KEY: &str = "filepath";

/// Iterator over the images that a table lists: JSON Lines with paths or, with the feature
/// `parquet`, Parquet with paths or embedded images.
///
/// Paths are relative to the directory of the table. An embedded image is named `TABLE:ROW`, with
/// rows from 0. A malformed line is a failed image named `TABLE:LINE`.
///
/// ```
/// use clipn_data::TableImages;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let directory = tempfile::tempdir()?;
/// let path = directory.path().join("list.jsonl");
/// std::fs::write(&path, "{\"image\": \"a.jpg\"}\n{\"image\": \"b.jpg\"}\n")?;
/// let images = TableImages::open(&path, None)?;
/// assert_eq!((images.total(), images.image_key()), (2, "image"));
/// assert!(images.last().unwrap().name.ends_with("b.jpg"));
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct TableImages {
    total: u64,
    image_key: String,
    rows: Rows,
}

#[derive(Debug)]
enum Rows {
    JsonLines(Box<JsonLineImages>),
    #[cfg(feature = "parquet")]
    Parquet(Box<ParquetImages>),
}

impl TableImages {
    /// Opens a table and counts its rows. `image_key` is the key or column of images; `None` for
    /// `filepath` or another usual name, or in Parquet the first column of images.
    ///
    /// # Errors
    /// [`DatasetError::Table`] if the file is no table or has no such column, and the errors of
    /// reading it.
    pub fn open(path: impl AsRef<Path>, image_key: Option<&str>) -> Result<Self, DatasetError> {
        let path = path.as_ref();
        let kind = ContentKind::of_file(path).map_err(|error| DatasetError::io(path, error))?;
        if kind == ContentKind::Parquet || TableKind::of_file(path) == Some(TableKind::Parquet) {
            return Self::open_parquet(path, image_key);
        }
        let (total, key) = scan(path, image_key, kind)?;
        let rows = Rows::JsonLines(Box::new(JsonLineImages::open(path, &key)?));
        Ok(Self {
            total,
            image_key: key,
            rows,
        })
    }

    #[cfg(feature = "parquet")]
    fn open_parquet(path: &Path, image_key: Option<&str>) -> Result<Self, DatasetError> {
        let images = ParquetImages::open(path, image_key)?;
        Ok(Self {
            total: images.total(),
            image_key: images.image_key().to_string(),
            rows: Rows::Parquet(Box::new(images)),
        })
    }

    #[cfg(not(feature = "parquet"))]
    fn open_parquet(path: &Path, _: Option<&str>) -> Result<Self, DatasetError> {
        Err(DatasetError::WithoutParquet {
            path: path.to_path_buf(),
        })
    }

    /// Returns the number of rows.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// Returns the key or column of images.
    pub fn image_key(&self) -> &str {
        &self.image_key
    }
}

impl Iterator for TableImages {
    type Item = NamedImage;

    fn next(&mut self) -> Option<NamedImage> {
        match &mut self.rows {
            Rows::JsonLines(images) => images.next(),
            #[cfg(feature = "parquet")]
            Rows::Parquet(images) => images.next(),
        }
    }
}

/// Counts the lines of a file, and finds the key of images in the first object.
pub(crate) fn scan(
    path: &Path,
    image_key: Option<&str>,
    kind: ContentKind,
) -> Result<(u64, String), DatasetError> {
    let refuse = |problem: String| DatasetError::Table {
        path: path.to_path_buf(),
        problem,
    };
    let unreadable = |error| DatasetError::io(path, error);
    let mut lines = JsonLines::new(BufReader::new(File::open(path).map_err(unreadable)?));
    let (mut total, mut found) = (0, None);
    while let Some((_, line)) = lines.next().map_err(unreadable)? {
        total += 1;
        if let (JsonLine::Object(object), None) = (line, &found) {
            let keys: Vec<&str> = object.keys().map(String::as_str).collect();
            let wanted = image_key.unwrap_or(DEFAULT_IMAGE_KEY);
            let default = if image_key.is_none() { wanted } else { "" };
            let key = find_key(&keys, wanted, default, &IMAGE_KEYS).ok_or_else(|| {
                refuse(format!(
                    "missing key `{wanted}`; keys of the first object: {}",
                    list_keys(&keys)
                ))
            })?;
            found = Some(key.to_string());
        }
    }
    let key =
        found.ok_or_else(|| refuse(format!("expected one JSON object per line, got {kind}")))?;
    Ok((total, key))
}

/// Path of an image that a table lists.
pub(crate) fn beside(table: &Path, image: impl AsRef<Path>) -> PathBuf {
    table.parent().unwrap_or(Path::new("")).join(image)
}

/// Images of JSON Lines.
#[derive(Debug)]
struct JsonLineImages {
    path: PathBuf,
    key: String,
    lines: JsonLines<BufReader<File>>,
    read: u64,
    is_finished: bool,
}

impl JsonLineImages {
    fn open(path: &Path, key: &str) -> Result<Self, DatasetError> {
        let file = File::open(path).map_err(|error| DatasetError::io(path, error))?;
        Ok(Self {
            path: path.to_path_buf(),
            key: key.to_string(),
            lines: JsonLines::new(BufReader::new(file)),
            read: 0,
            is_finished: false,
        })
    }

    fn image(&self, line: u64, content: &JsonLine) -> NamedImage {
        let failed = |problem: &str| {
            let name = format!("{}:{line}", self.path.display());
            NamedImage::failed(name, io::Error::other(problem.to_string()))
        };
        match content {
            JsonLine::Malformed(problem) => failed(problem),
            JsonLine::Object(object) => match object.get(&self.key) {
                Some(Value::String(image)) if !image.is_empty() => {
                    NamedImage::from_path(beside(&self.path, image))
                }
                _ => failed(&format!("no path under the key `{}`", self.key)),
            },
        }
    }

    fn next(&mut self) -> Option<NamedImage> {
        if self.is_finished {
            return None;
        }
        match self.lines.next() {
            Ok(Some((line, content))) => {
                self.read += 1;
                Some(self.image(line, &content))
            }
            Ok(None) => {
                self.is_finished = true;
                None
            }
            Err(error) => {
                self.is_finished = true;
                let name = self.path.display().to_string();
                Some(NamedImage::lost(name, self.read, error))
            }
        }
    }
}
