use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use crate::features::{FeatureError, npy};

/// Length of the header of a safetensors file, with spaces that make room for any number of rows.
const SAFETENSORS_HEADER: usize = 248;

/// Format of a file of features that is written row by row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum FeatureFormat {
    /// A NumPy array `[N, D]`.
    Npy,
    /// A safetensors file with the tensor `features`, `[N, D]`.
    Safetensors,
}

impl FeatureFormat {
    /// The start of a file. Its length does not depend on the number of rows.
    fn header(self, rows: u64, dim: usize, size: usize) -> Vec<u8> {
        match self {
            Self::Npy => npy::header_of_matrix(rows, dim, size),
            Self::Safetensors => {
                let end = rows * (dim * size) as u64;
                let dtype = if size == 2 { "F16" } else { "F32" };
                let json = format!(
                    r#"{{"features":{{"dtype":"{dtype}","shape":[{rows},{dim}],"data_offsets":[0,{end}]}}}}"#
                );
                let mut bytes = (SAFETENSORS_HEADER as u64).to_le_bytes().to_vec();
                bytes.extend(format!("{json:<SAFETENSORS_HEADER$}").into_bytes());
                bytes
            }
        }
    }
}

/// Writes features row by row into a file that is valid once [`finish`](Self::finish) returns.
/// [`FeatureFile`](crate::FeatureFile) has an example.
pub struct FeatureWriter {
    path: PathBuf,
    file: BufWriter<File>,
    format: FeatureFormat,
    half: bool,
    dim: usize,
    rows: u64,
}

impl fmt::Debug for FeatureWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FeatureWriter")
            .field("path", &self.path)
            .field("format", &self.format)
            .field("dim", &self.dim)
            .field("rows", &self.rows)
            .finish_non_exhaustive()
    }
}

impl FeatureWriter {
    /// Creates a file of rows of `dim` values, or replaces it. With `half`, values are rounded to `f16`.
    ///
    /// # Errors
    /// [`FeatureError::Write`], and [`FeatureError::Dimension`] for a dimension of 0.
    pub fn create(
        path: impl AsRef<Path>,
        format: FeatureFormat,
        half: bool,
        dim: usize,
    ) -> Result<Self, FeatureError> {
        let mut writer = Self::open(path.as_ref(), format, half, dim)?;
        writer.truncate(0)?;
        Ok(writer)
    }

    /// Opens a file that was not finished; [`rows`](Self::rows) is the number of complete rows in it.
    ///
    /// # Errors
    /// Same as [`create`](Self::create).
    pub fn resume(
        path: impl AsRef<Path>,
        format: FeatureFormat,
        half: bool,
        dim: usize,
    ) -> Result<Self, FeatureError> {
        let mut writer = Self::open(path.as_ref(), format, half, dim)?;
        let length = writer.file.get_ref().metadata();
        let length = length.map_err(|source| writer.failed(source))?.len();
        writer.rows = length.saturating_sub(writer.header(0).len() as u64) / writer.row_bytes();
        writer.truncate(writer.rows)?;
        Ok(writer)
    }

    fn open(
        path: &Path,
        format: FeatureFormat,
        half: bool,
        dim: usize,
    ) -> Result<Self, FeatureError> {
        if dim == 0 {
            return Err(FeatureError::Dimension {
                path: path.to_owned(),
                expected: 1,
                found: 0,
            });
        }
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)
            .map_err(|source| FeatureError::Write {
                path: path.to_owned(),
                source,
            })?;
        Ok(Self {
            path: path.to_owned(),
            file: BufWriter::new(file),
            format,
            half,
            dim,
            rows: 0,
        })
    }

    /// Returns the number of rows.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Removes all rows but the first `rows`, if there are more.
    ///
    /// # Errors
    /// [`FeatureError::Write`].
    pub fn truncate(&mut self, rows: u64) -> Result<(), FeatureError> {
        let rows = rows.min(self.rows);
        let header = self.header(0);
        let end = header.len() as u64 + rows * self.row_bytes();
        self.rows = rows;
        self.file
            .seek(SeekFrom::Start(0))
            .and_then(|_| self.file.write_all(&header))
            .and_then(|()| self.file.flush())
            .and_then(|()| self.file.get_ref().set_len(end))
            .and_then(|()| self.file.seek(SeekFrom::Start(end)))
            .map(drop)
            .map_err(|source| self.failed(source))
    }

    /// Appends a row `[D]`.
    ///
    /// # Errors
    /// [`FeatureError::Write`], and [`FeatureError::Dimension`] for a row of another length.
    pub fn push(&mut self, row: &[f32]) -> Result<(), FeatureError> {
        if row.len() != self.dim {
            return Err(FeatureError::Dimension {
                path: self.path.clone(),
                expected: self.dim,
                found: row.len(),
            });
        }
        let bytes: Vec<u8> = if self.half {
            row.iter()
                .flat_map(|&value| half::f16::from_f32(value).to_le_bytes())
                .collect()
        } else {
            row.iter().flat_map(|value| value.to_le_bytes()).collect()
        };
        self.file
            .write_all(&bytes)
            .map_err(|source| self.failed(source))?;
        self.rows += 1;
        Ok(())
    }

    /// Writes buffered rows to the file.
    ///
    /// # Errors
    /// [`FeatureError::Write`].
    pub fn flush(&mut self) -> Result<(), FeatureError> {
        self.file.flush().map_err(|source| self.failed(source))
    }

    /// Writes the number of rows, and syncs the file.
    ///
    /// # Errors
    /// [`FeatureError::Write`].
    pub fn finish(mut self) -> Result<(), FeatureError> {
        let header = self.header(self.rows);
        self.file
            .flush()
            .and_then(|()| self.file.seek(SeekFrom::Start(0)))
            .and_then(|_| self.file.write_all(&header))
            .and_then(|()| self.file.flush())
            .and_then(|()| self.file.get_ref().sync_all())
            .map_err(|source| self.failed(source))
    }

    fn header(&self, rows: u64) -> Vec<u8> {
        self.format.header(rows, self.dim, self.element_bytes())
    }

    fn element_bytes(&self) -> usize {
        if self.half { 2 } else { 4 }
    }

    fn row_bytes(&self) -> u64 {
        (self.dim * self.element_bytes()) as u64
    }

    fn failed(&self, source: io::Error) -> FeatureError {
        FeatureError::Write {
            path: self.path.clone(),
            source,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::FeatureFile;

    #[test]
    fn rows_are_removed_and_never_invented() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("f.npy");
        let mut writer = FeatureWriter::create(&path, FeatureFormat::Npy, false, 2).unwrap();
        writer.push(&[1.0, 2.0]).unwrap();
        writer.push(&[3.0, 4.0]).unwrap();
        writer.truncate(u64::MAX).unwrap();
        assert_eq!(writer.rows(), 2);
        writer.truncate(1).unwrap();
        writer.finish().unwrap();
        let mut file = FeatureFile::open(&path).unwrap();
        assert_eq!(file.read_all().unwrap(), [1.0, 2.0]);
        assert!(FeatureWriter::create(&path, FeatureFormat::Npy, false, 0).is_err());
    }

    #[test]
    fn a_file_cut_anywhere_is_continued() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("f");
        let rows = [[0.5, -1.0, 2.0], [0.25, 0.0, 1.0]];
        for (format, half) in [
            (FeatureFormat::Npy, false),
            (FeatureFormat::Npy, true),
            (FeatureFormat::Safetensors, false),
            (FeatureFormat::Safetensors, true),
        ] {
            let mut writer = FeatureWriter::create(&path, format, half, 3).unwrap();
            rows.iter().for_each(|row| writer.push(row).unwrap());
            writer.flush().unwrap();
            let whole = std::fs::read(&path).unwrap();
            for cut in 0..=whole.len() {
                std::fs::write(&path, &whole[..cut]).unwrap();
                let mut writer = FeatureWriter::resume(&path, format, half, 3).unwrap();
                let kept = writer.rows() as usize;
                rows[kept..]
                    .iter()
                    .for_each(|row| writer.push(row).unwrap());
                writer.finish().unwrap();
                let mut file = FeatureFile::open(&path).unwrap();
                assert_eq!((file.len(), file.dim()), (2, 3), "{format:?} cut at {cut}");
                assert_eq!(file.read_all().unwrap(), rows.concat());
                assert_eq!(file.dtype(), if half { "f16" } else { "f32" });
            }
        }
    }

    #[test]
    fn refuses_a_row_of_another_length() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("f");
        let mut writer = FeatureWriter::create(&path, FeatureFormat::Npy, false, 3).unwrap();
        let error = writer.push(&[1.0]).unwrap_err().to_string();
        assert!(
            error.contains("dimension 3") && error.contains("got 1"),
            "{error}"
        );
    }
}
