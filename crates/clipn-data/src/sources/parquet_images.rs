//! Images of a Parquet file, row group by row group.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use crate::error::DatasetError;
use crate::sources::NamedImage;
use crate::sources::named_image::ImageContent;
use crate::sources::table_images::{DEFAULT_IMAGE_KEY, beside};
use crate::tables::IMAGE_KEYS;
use crate::tables::parquet::{CellImage, ColumnNames, Columns, GroupRows, ParquetTable};

/// Names of the column of images, which is `image_key` or else one with a usual name.
pub(crate) fn image_column(image_key: Option<&str>) -> ColumnNames<'_> {
    ColumnNames {
        wanted: image_key.unwrap_or(DEFAULT_IMAGE_KEY),
        default: if image_key.is_none() {
            DEFAULT_IMAGE_KEY
        } else {
            ""
        },
        usual: &IMAGE_KEYS,
    }
}

/// Path that an embedded image is known by: `TABLE:ROW`, with rows from 0.
pub(crate) fn row_path(table: &Path, row: u64) -> PathBuf {
    let mut path = OsString::from(table);
    path.push(format!(":{row}"));
    path.into()
}

/// Reads the embedded image of a row; `None` if it cannot be read.
pub(crate) fn read_row(table: &Path, row: u64) -> Option<Vec<u8>> {
    let table = ParquetTable::open(table).ok()?;
    let columns = table.columns(image_column(None), None, &[]).ok()?;
    let mut start = row;
    for (group, &rows) in table.groups().iter().enumerate() {
        if start < rows {
            let row = table.read_group(group, &columns, start).ok()?.next().ok()?;
            return match row {
                Some((CellImage::Bytes(bytes), _)) => Some(bytes),
                _ => None,
            };
        }
        start -= rows;
    }
    None
}

/// Iterator over the images of a file.
#[derive(Debug)]
pub(super) struct ParquetImages {
    table: ParquetTable,
    columns: Columns,
    group: usize,
    rows: Option<GroupRows>,
    /// Index of the next row in the file.
    row: u64,
}

impl ParquetImages {
    /// Opens a file, whose images are in the column `image_key` or in one that is found.
    pub(super) fn open(path: &Path, image_key: Option<&str>) -> Result<Self, DatasetError> {
        let refuse = |problem: String| DatasetError::Table {
            path: path.to_path_buf(),
            problem,
        };
        let damaged = |problem| refuse(format!("damaged Parquet file: {problem}"));
        let table = ParquetTable::open(path).map_err(damaged)?;
        let columns = table
            .columns(image_column(image_key), None, &[])
            .map_err(refuse)?;
        Ok(Self {
            table,
            columns,
            group: 0,
            rows: None,
            row: 0,
        })
    }

    pub(super) fn total(&self) -> u64 {
        self.table.rows()
    }

    pub(super) fn image_key(&self) -> &str {
        &self.columns.image_name
    }

    pub(super) fn next(&mut self) -> Option<NamedImage> {
        while self.group < self.table.groups().len() {
            match self.read() {
                Ok(Some((image, _))) => {
                    self.row += 1;
                    return Some(self.image(image));
                }
                Ok(None) => {
                    self.rows = None;
                    self.group += 1;
                }
                Err(problem) => {
                    self.group = usize::MAX;
                    let name = self.table.path().display().to_string();
                    return Some(NamedImage::lost(name, self.row, io::Error::other(problem)));
                }
            }
        }
        None
    }

    fn read(&mut self) -> Result<Option<(CellImage, Option<String>)>, String> {
        let rows = match &mut self.rows {
            Some(rows) => rows,
            None => {
                let rows = self.table.read_group(self.group, &self.columns, 0)?;
                self.rows.insert(rows)
            }
        };
        rows.next()
    }

    fn image(&self, image: CellImage) -> NamedImage {
        let name = row_path(self.table.path(), self.row - 1);
        let name = name.display().to_string();
        match image {
            CellImage::Bytes(bytes) => NamedImage {
                name,
                content: ImageContent::Bytes(bytes),
            },
            CellImage::Path(path) => NamedImage::from_path(beside(self.table.path(), path)),
            CellImage::None => {
                NamedImage::failed(name, io::Error::other("no value in the column of images"))
            }
        }
    }
}
