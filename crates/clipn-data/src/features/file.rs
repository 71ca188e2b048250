use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use clipn_base::content::ContentKind;
use clipn_base::features::row_problem;
use clipn_checkpoint::{Checkpoint, Dtype, Tensor};

use crate::features::{FeatureError, keys, npy};

/// Names of the tensor with features in a file of several, the first one wins.
const TENSOR_NAMES: [&str; 6] = [
    "features",
    "image_features",
    "text_features",
    "embeddings",
    "image_embeds",
    "text_embeds",
];

/// A file of features `[N, D]` in `f16`, `bf16`, `f32` or `f64`, with a key for each row if there are
/// keys beside it ([`keys_beside`](crate::keys_beside)) or in it. Rows are read as they are needed.
///
/// | format | contents |
/// |---|---|
/// | `.npy` | an array of two dimensions |
/// | `.safetensors`, `.pt` | a tensor of two dimensions, the only one or one called `features`, `image_features`, `text_features`, `embeddings`, `image_embeds` or `text_embeds` |
/// | `.parquet` | a column of lists of floats, and perhaps one of keys; needs the feature `parquet` |
///
/// ```
/// use clipn_data::{FeatureFile, FeatureFormat, FeatureWriter};
///
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("photos.npy");
/// let mut writer = FeatureWriter::create(&path, FeatureFormat::Npy, false, 2)?;
/// writer.push(&[0.6, 0.8])?;
/// writer.finish()?;
///
/// let mut file = FeatureFile::open(&path)?;
/// assert_eq!((file.len(), file.dim(), file.dtype()), (1, 2, "f32"));
/// assert_eq!(file.read_rows(0, 1)?, [0.6, 0.8]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct FeatureFile {
    path: PathBuf,
    rows: usize,
    dim: usize,
    dtype: Dtype,
    source: Source,
    keys: Option<Vec<String>>,
}

#[derive(Debug)]
pub(super) enum Source {
    /// Rows in a file, from an offset.
    File {
        file: File,
        offset: u64,
        big_endian: bool,
    },
    /// A tensor, which may be mapped.
    Tensor(Tensor),
}

/// Features of a file before they are checked.
pub(super) struct Contents {
    pub rows: usize,
    pub dim: usize,
    pub dtype: Dtype,
    pub source: Source,
    pub keys: Option<Vec<String>>,
}

impl FeatureFile {
    /// Opens a file; the format is detected from its content.
    ///
    /// # Errors
    /// [`FeatureError::Read`], [`FeatureError::Checkpoint`] or [`FeatureError::Format`] if the file has no
    /// features, and [`FeatureError::Count`] if it has keys, but not one for each row.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, FeatureError> {
        let path = path.as_ref();
        let kind = ContentKind::of_file(path).map_err(|source| FeatureError::Read {
            path: path.to_owned(),
            source,
        })?;
        let contents = match kind {
            ContentKind::NumPy => open_npy(path)?,
            ContentKind::Parquet => open_parquet(path)?,
            ContentKind::Safetensors | ContentKind::Zip | ContentKind::Pickle => open_tensor(path)?,
            kind => {
                return Err(FeatureError::Kind {
                    path: path.to_owned(),
                    expected: "features as a NumPy array (.npy), safetensors or Parquet",
                    kind,
                });
            }
        };
        let Contents {
            rows,
            dim,
            dtype,
            source,
            keys,
        } = contents;
        if dim == 0 {
            return Err(FeatureError::Format {
                path: path.to_owned(),
                reason: "the rows are empty".to_owned(),
            });
        }
        let keys = match keys {
            Some(keys) => Some(keys),
            None => keys::read_beside(path)?,
        };
        if let Some(keys) = keys.as_ref().filter(|keys| keys.len() != rows) {
            return Err(FeatureError::Count {
                path: keys::keys_beside(path)
                    .into_iter()
                    .find(|beside| beside.is_file())
                    .unwrap_or_else(|| path.to_owned()),
                what: "keys",
                rows,
                found: keys.len(),
            });
        }
        Ok(Self {
            path: path.to_owned(),
            rows,
            dim,
            dtype,
            source,
            keys,
        })
    }

    /// Returns the path of the file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the number of rows N.
    pub fn len(&self) -> usize {
        self.rows
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.rows == 0
    }

    /// Returns the dimension D.
    pub fn dim(&self) -> usize {
        self.dim
    }

    /// Returns the name of the element type: `f16`, `bf16`, `f32` or `f64`.
    pub fn dtype(&self) -> &'static str {
        match self.dtype {
            Dtype::F16 => "f16",
            Dtype::Bf16 => "bf16",
            Dtype::F64 => "f64",
            _ => "f32",
        }
    }

    /// Returns one key per row, if the file has keys.
    pub fn keys(&self) -> Option<&[String]> {
        self.keys.as_deref()
    }

    /// Returns the key of a row, or the name of the file with the index of the row.
    pub fn key(&self, row: usize) -> String {
        match self.keys.as_ref().and_then(|keys| keys.get(row)) {
            Some(key) => key.clone(),
            None => format!("{}[{row}]", self.path.display()),
        }
    }

    /// Checks that there are rows.
    ///
    /// # Errors
    /// [`FeatureError::Format`] for a file without rows.
    pub fn check_not_empty(&self) -> Result<(), FeatureError> {
        if self.is_empty() {
            return Err(FeatureError::Format {
                path: self.path.clone(),
                reason: "it has no rows".to_owned(),
            });
        }
        Ok(())
    }

    /// Checks the dimension.
    ///
    /// # Errors
    /// [`FeatureError::Dimension`].
    pub fn check_dim(&self, expected: usize) -> Result<(), FeatureError> {
        if self.dim == expected {
            return Ok(());
        }
        Err(FeatureError::Dimension {
            path: self.path.clone(),
            expected,
            found: self.dim,
        })
    }

    /// Reads rows as `f32`, `[count, D]`; fewer at the end of the file. Values are not checked.
    ///
    /// # Errors
    /// [`FeatureError::Read`].
    pub fn read_rows(&mut self, start: usize, count: usize) -> Result<Vec<f32>, FeatureError> {
        let start = start.min(self.rows);
        let count = count.min(self.rows - start);
        let row_bytes = self.dim * self.dtype.size();
        let bytes = match &mut self.source {
            Source::Tensor(tensor) => {
                tensor.bytes()[start * row_bytes..][..count * row_bytes].to_vec()
            }
            Source::File {
                file,
                offset,
                big_endian,
            } => {
                let mut bytes = vec![0; count * row_bytes];
                file.seek(SeekFrom::Start(*offset + (start * row_bytes) as u64))
                    .and_then(|_| file.read_exact(&mut bytes))
                    .map_err(|source| FeatureError::Read {
                        path: self.path.clone(),
                        source,
                    })?;
                if *big_endian {
                    bytes
                        .chunks_exact_mut(self.dtype.size())
                        .for_each(<[u8]>::reverse);
                }
                bytes
            }
        };
        let rows = Tensor::from_bytes(self.dtype, &[count, self.dim], bytes)?;
        Ok(rows.to_f32().into_vec())
    }

    /// Reads all rows as `f32`, `[N, D]`, and checks that every one has a direction: it is finite, and not
    /// zero.
    ///
    /// # Errors
    /// [`FeatureError::Read`], and [`FeatureError::Row`] with the first row without a direction.
    pub fn read_all(&mut self) -> Result<Vec<f32>, FeatureError> {
        let values = self.read_rows(0, self.rows)?;
        let rows = values.chunks_exact(self.dim);
        let mut invalid = rows
            .enumerate()
            .filter_map(|(row, values)| Some((row, row_problem(values)?)));
        let Some((row, problem)) = invalid.next() else {
            return Ok(values);
        };
        let more = match invalid.count() {
            0 => String::new(),
            more => format!("; {more} more of the {} rows are invalid", self.rows),
        };
        Err(FeatureError::Row {
            path: self.path.clone(),
            row,
            problem: format!("{problem}{more}"),
        })
    }
}

fn open_npy(path: &Path) -> Result<Contents, FeatureError> {
    let unreadable = |source| FeatureError::Read {
        path: path.to_owned(),
        source,
    };
    let format = |reason| FeatureError::Format {
        path: path.to_owned(),
        reason,
    };
    let mut file = File::open(path).map_err(unreadable)?;
    let mut start = Vec::new();
    (&mut file)
        .take(npy::MAX_PREFIX)
        .read_to_end(&mut start)
        .map_err(unreadable)?;
    let header = npy::matrix_header(&start).map_err(format)?;
    let dtype = match header.size {
        2 => Dtype::F16,
        4 => Dtype::F32,
        _ => Dtype::F64,
    };
    let expected = header
        .rows
        .checked_mul(header.columns)
        .and_then(|values| values.checked_mul(header.size))
        .filter(|&bytes| bytes < isize::MAX as usize);
    let metadata = file.metadata().map_err(unreadable)?;
    if !metadata.is_file() {
        return Err(format("not a regular file".to_owned()));
    }
    let found = metadata.len().saturating_sub(header.offset as u64);
    if expected.map(|bytes| bytes as u64) != Some(found) {
        return Err(format(format!(
            "expected {} rows of {} values of {} bytes after the header, got {found} bytes",
            header.rows, header.columns, header.size
        )));
    }
    let source = if header.fortran_order {
        let mut bytes = Vec::new();
        file.seek(SeekFrom::Start(header.offset as u64))
            .and_then(|_| file.read_to_end(&mut bytes))
            .map_err(unreadable)?;
        let rows = transposed(&bytes, &header);
        Source::Tensor(Tensor::from_bytes(
            dtype,
            &[header.rows, header.columns],
            rows,
        )?)
    } else {
        Source::File {
            file,
            offset: header.offset as u64,
            big_endian: header.big_endian,
        }
    };
    Ok(Contents {
        rows: header.rows,
        dim: header.columns,
        dtype,
        source,
        keys: None,
    })
}

/// Returns the values of an array in Fortran order row by row, in little-endian.
fn transposed(bytes: &[u8], header: &npy::MatrixHeader) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len());
    for row in 0..header.rows {
        for column in 0..header.columns {
            let value = &bytes[(column * header.rows + row) * header.size..][..header.size];
            if header.big_endian {
                out.extend(value.iter().rev());
            } else {
                out.extend_from_slice(value);
            }
        }
    }
    out
}

fn open_tensor(path: &Path) -> Result<Contents, FeatureError> {
    let checkpoint = Checkpoint::open(path)?;
    let matrices: Vec<(&str, &Tensor)> = checkpoint
        .iter()
        .filter(|(_, tensor)| tensor.shape().len() == 2 && tensor.dtype().is_float())
        .collect();
    let named = TENSOR_NAMES
        .iter()
        .find_map(|wanted| matrices.iter().find(|(name, _)| name == wanted));
    let tensor = match (named, matrices.as_slice()) {
        (Some((_, tensor)), _) | (None, [(_, tensor)]) => *tensor,
        (None, found) => {
            let names: Vec<&str> = found.iter().map(|(name, _)| *name).take(5).collect();
            return Err(FeatureError::Format {
                path: path.to_owned(),
                reason: format!(
                    "expected one tensor of shape [N, D] or one called `{}`, got {} such tensors{}{}",
                    TENSOR_NAMES.join("`, `"),
                    found.len(),
                    if names.is_empty() { "" } else { ": " },
                    names.join(", ")
                ),
            });
        }
    };
    Ok(Contents {
        rows: tensor.shape()[0],
        dim: tensor.shape()[1],
        dtype: tensor.dtype(),
        source: Source::Tensor(tensor.clone()),
        keys: None,
    })
}

#[cfg(feature = "parquet")]
fn open_parquet(path: &Path) -> Result<Contents, FeatureError> {
    super::parquet::open(path)
}

#[cfg(not(feature = "parquet"))]
fn open_parquet(path: &Path) -> Result<Contents, FeatureError> {
    Err(FeatureError::WithoutParquet {
        path: path.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An array as `numpy.save` writes it.
    fn npy(descr: &str, fortran: &str, shape: &str, data: &[u8]) -> Vec<u8> {
        let header =
            format!("{{'descr': '{descr}', 'fortran_order': {fortran}, 'shape': {shape}, }}\n");
        let length = (header.len() as u16).to_le_bytes();
        [b"\x93NUMPY\x01\x00", &length[..], header.as_bytes(), data].concat()
    }

    fn write(bytes: &[u8]) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("f.npy");
        std::fs::write(&path, bytes).unwrap();
        (folder, path)
    }

    #[test]
    fn reads_every_type_byte_order_and_memory_order() {
        let rows = [0.5_f32, -1.0, 2.0, 0.25, 4.0, -8.0];
        let columns = [0.5_f32, 0.25, -1.0, 4.0, 2.0, -8.0];
        let f64s = |values: [f32; 6]| values.map(|v| f64::from(v).to_le_bytes()).concat();
        let half = |values: [f32; 6]| {
            values
                .map(|v| half::f16::from_f32(v).to_be_bytes())
                .concat()
        };
        for (descr, fortran, data) in [
            ("<f4", "False", rows.map(f32::to_le_bytes).concat()),
            (">f4", "False", rows.map(f32::to_be_bytes).concat()),
            (">f4", "True", columns.map(f32::to_be_bytes).concat()),
            ("<f8", "False", f64s(rows)),
            ("<f8", "True", f64s(columns)),
            (">f2", "False", half(rows)),
        ] {
            let (_folder, path) = write(&npy(descr, fortran, "(2, 3)", &data));
            let mut file = FeatureFile::open(&path).unwrap();
            assert_eq!(file.read_all().unwrap(), rows, "{descr} {fortran}");
            assert_eq!(
                file.read_rows(1, 9).unwrap(),
                rows[3..],
                "{descr} {fortran}"
            );
        }
    }

    #[test]
    fn a_tensor_may_be_saved_by_itself() {
        let rows = [0.5_f32, -1.0, 2.0, 0.25, 4.0, -8.0];
        for name in ["tensor", "transposed_f16", "legacy"] {
            let path = clipn_testing::fixture(&format!("features/{name}.pt"));
            let mut file = FeatureFile::open(&path).unwrap();
            assert_eq!((file.len(), file.dim()), (2, 3), "{name}");
            assert_eq!(file.read_all().unwrap(), rows, "{name}");
        }
    }

    #[test]
    fn refuses_rows_without_direction_and_names_the_first() {
        let rows = [1.0_f32, 2.0, 0.0, 0.0, f32::NAN, 1.0];
        let bytes = rows.map(f32::to_le_bytes).concat();
        let (_folder, path) = write(&npy("<f4", "False", "(3, 2)", &bytes));
        let error = FeatureFile::open(&path).unwrap().read_all().unwrap_err();
        let problem = "has only zeros, and so no direction; 1 more of the 3 rows are invalid";
        assert!(error.to_string().ends_with(problem), "{error}");
        // A number that is finite in 64 bits only.
        let huge = [1.0_f64, 1e300].map(f64::to_le_bytes).concat();
        let (_folder, path) = write(&npy("<f8", "False", "(1, 2)", &huge));
        let error = FeatureFile::open(&path).unwrap().read_all().unwrap_err();
        assert!(
            error
                .to_string()
                .ends_with("has a value that is infinite or too large for f32 in column 1"),
            "{error}"
        );
    }

    #[test]
    fn refuses_other_shapes_and_lengths() {
        let message = |bytes: &[u8]| {
            let (_folder, path) = write(bytes);
            FeatureFile::open(&path).unwrap_err().to_string()
        };
        let one = message(&npy("<f4", "False", "(2,)", &[0; 8]));
        assert!(
            one.ends_with("expected the shape (N, D), got (2,)"),
            "{one}"
        );
        let short = message(&npy("<f4", "False", "(2, 3)", &[0; 20]));
        assert!(
            short.contains("expected 2 rows of 3 values of 4 bytes"),
            "{short}"
        );
        let empty = message(&npy("<f4", "False", "(2, 0)", &[]));
        assert!(empty.ends_with("the rows are empty"), "{empty}");
        let text = message(b"1 2 3");
        assert!(
            text.contains("expected features as a NumPy array (.npy)"),
            "{text}"
        );
    }

    #[test]
    fn a_file_needs_one_key_for_each_row() {
        let bytes = [1.0_f32, 2.0].map(f32::to_le_bytes).concat();
        let (folder, path) = write(&npy("<f4", "False", "(2, 1)", &bytes));
        assert!(
            FeatureFile::open(&path)
                .unwrap()
                .key(1)
                .ends_with("f.npy[1]")
        );
        let keys = folder.path().join("f.keys.jsonl");
        std::fs::write(&keys, "{\"image_path\": \"a.jpg\"}\n").unwrap();
        let error = FeatureFile::open(&path).unwrap_err().to_string();
        assert!(
            error.contains("expected 2 keys in") && error.ends_with("got 1"),
            "{error}"
        );
        std::fs::write(&keys, "{\"key\": \"a\"}\n{\"key\": \"b\"}\n").unwrap();
        assert_eq!(FeatureFile::open(&path).unwrap().key(1), "b");
    }
}
