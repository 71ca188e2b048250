//! Tensors as stored in files: element type, shape and contiguous little-endian bytes.

use std::fmt;
use std::ops::Range;
use std::sync::{Arc, OnceLock};

use clipn_base::files::ChangedFile;

use crate::buffer::{Buffer, Element, FileBytes};
use crate::{CheckpointError, Dtype, convert};

/// Tensor as stored in a file: contiguous, row-major, little-endian. Clones share the data.
///
/// ```
/// use clipn_checkpoint::{Dtype, Tensor};
///
/// let tensor = Tensor::from_bytes(Dtype::I16, &[3], vec![1, 0, 2, 0, 255, 255])?;
/// assert_eq!((tensor.shape(), tensor.len()), (&[3][..], 3));
/// assert_eq!(tensor.to_f32()[..], [1.0, 2.0, -1.0]);
/// # Ok::<(), clipn_checkpoint::CheckpointError>(())
/// ```
#[derive(Clone)]
pub struct Tensor {
    inner: Arc<Inner>,
}

struct Inner {
    dtype: Dtype,
    shape: Vec<usize>,
    len: usize,
    data: Data,
}

enum Data {
    /// Invariant: `range` is within `bytes` and `len * dtype.size()` bytes long.
    Bytes {
        bytes: FileBytes,
        range: Range<usize>,
    },
    /// Numbers created in memory. Only used on little-endian hosts, where their bytes equal the
    /// file's.
    F32(Buffer<f32>),
    /// 8-bit integers with a factor per index of the first dimension: the tensor is their product
    /// in `f32`.
    Scaled {
        /// Of type `I8`, with the shape of this tensor.
        integers: Tensor,
        scales: Buffer<f32>,
        /// Little-endian bytes of the products, computed when they are needed.
        bytes: OnceLock<Vec<u8>>,
    },
}

/// Returns the number of elements of `shape`, or `None` if their size in bytes exceeds the address
/// space. Dimensions of zero are ignored in that check: a shape that is too large without them
/// cannot be multiplied out safely in any order.
pub(crate) fn checked_len(shape: &[usize], element_size: usize) -> Option<usize> {
    let limit = isize::MAX as usize;
    shape
        .iter()
        .filter(|&&n| n > 0)
        .try_fold(element_size, |bytes, &n| bytes.checked_mul(n))
        .filter(|&bytes| bytes <= limit)?;
    Some(shape.iter().product())
}

impl Tensor {
    /// Returns a tensor over `bytes[range]`, or `None` if the range is out of bounds or does not
    /// have the size of the shape.
    pub(crate) fn from_range(
        dtype: Dtype,
        shape: Vec<usize>,
        bytes: &FileBytes,
        range: Range<usize>,
    ) -> Option<Tensor> {
        let len = checked_len(&shape, dtype.size())?;
        let slice = bytes.as_slice().get(range.clone())?;
        if slice.len() != len * dtype.size() {
            return None;
        }
        let data = Data::Bytes {
            bytes: bytes.clone(),
            range,
        };
        Some(Tensor {
            inner: Arc::new(Inner {
                dtype,
                shape,
                len,
                data,
            }),
        })
    }

    /// Creates a tensor from little-endian `bytes` in row-major order.
    ///
    /// # Errors
    /// [`CheckpointError::ShapeMismatch`] if the number of bytes does not match `shape` and
    /// `dtype`.
    pub fn from_bytes(
        dtype: Dtype,
        shape: &[usize],
        bytes: Vec<u8>,
    ) -> Result<Tensor, CheckpointError> {
        let elements = bytes.len() / dtype.size();
        let end = bytes.len();
        Tensor::from_range(dtype, shape.to_vec(), &FileBytes::from(bytes), 0..end).ok_or_else(
            || CheckpointError::ShapeMismatch {
                shape: shape.to_vec(),
                elements,
            },
        )
    }

    /// Creates an `f32` tensor from a vector or a shared [`Buffer`], without a copy on
    /// little-endian hosts.
    ///
    /// # Errors
    /// [`CheckpointError::ShapeMismatch`] if the number of `values` does not match `shape`.
    pub fn from_f32(
        shape: &[usize],
        values: impl Into<Buffer<f32>>,
    ) -> Result<Tensor, CheckpointError> {
        let values = values.into();
        if cfg!(target_endian = "big") {
            return Tensor::from_numbers(Dtype::F32, shape, &values, f32::to_le_bytes);
        }
        let shape = shape.to_vec();
        match checked_len(&shape, 4) {
            Some(len) if len == values.len() => {
                let inner = Inner {
                    dtype: Dtype::F32,
                    shape,
                    len,
                    data: Data::F32(values),
                };
                Ok(Tensor {
                    inner: Arc::new(inner),
                })
            }
            _ => Err(CheckpointError::ShapeMismatch {
                shape,
                elements: values.len(),
            }),
        }
    }

    /// Creates an `f64` tensor in row-major order; copies `values`.
    ///
    /// # Errors
    /// [`CheckpointError::ShapeMismatch`] if the number of `values` does not match `shape`.
    pub fn from_f64(shape: &[usize], values: &[f64]) -> Result<Tensor, CheckpointError> {
        Tensor::from_numbers(Dtype::F64, shape, values, f64::to_le_bytes)
    }

    /// Creates an `f16` tensor in row-major order from the bits of its elements; copies them.
    ///
    /// With the `half` crate, an element's bits are `half::f16::to_bits`.
    ///
    /// # Errors
    /// [`CheckpointError::ShapeMismatch`] if the number of elements does not match `shape`.
    pub fn from_f16_bits(shape: &[usize], bits: &[u16]) -> Result<Tensor, CheckpointError> {
        Tensor::from_numbers(Dtype::F16, shape, bits, u16::to_le_bytes)
    }

    /// Creates an `i64` tensor in row-major order; copies `values`.
    ///
    /// # Errors
    /// [`CheckpointError::ShapeMismatch`] if the number of `values` does not match `shape`.
    pub fn from_i64(shape: &[usize], values: &[i64]) -> Result<Tensor, CheckpointError> {
        Tensor::from_numbers(Dtype::I64, shape, values, i64::to_le_bytes)
    }

    fn from_numbers<T: Copy, const N: usize>(
        dtype: Dtype,
        shape: &[usize],
        values: &[T],
        to_le_bytes: fn(T) -> [u8; N],
    ) -> Result<Tensor, CheckpointError> {
        let bytes = values
            .iter()
            .flat_map(|&value| to_le_bytes(value))
            .collect();
        Tensor::from_bytes(dtype, shape, bytes)
    }

    /// Creates the `f32` tensor of 8-bit integers times a factor for each index of the first
    /// dimension. Only the integers and factors take memory.
    ///
    /// ```
    /// use clipn_checkpoint::{Dtype, Tensor};
    ///
    /// let integers = Tensor::from_bytes(Dtype::I8, &[2, 2], vec![1, 255, 2, 3])?;
    /// let tensor = Tensor::from_scaled_integers(integers, vec![0.5, 10.0])?;
    /// assert_eq!((tensor.dtype(), tensor.shape()), (Dtype::F32, &[2, 2][..]));
    /// assert_eq!(tensor.to_f32()[..], [0.5, -0.5, 20.0, 30.0]);
    /// # Ok::<(), clipn_checkpoint::CheckpointError>(())
    /// ```
    ///
    /// # Errors
    /// [`CheckpointError::ShapeMismatch`] if the integers are not of type `I8`, or the number of
    /// scales is not their first dimension.
    pub fn from_scaled_integers(
        integers: Tensor,
        scales: impl Into<Buffer<f32>>,
    ) -> Result<Tensor, CheckpointError> {
        let scales = scales.into();
        let shape = integers.shape().to_vec();
        if integers.dtype() != Dtype::I8 || shape.first() != Some(&scales.len()) {
            return Err(CheckpointError::ShapeMismatch {
                shape,
                elements: scales.len(),
            });
        }
        let (len, dtype) = (integers.len(), Dtype::F32);
        let data = Data::Scaled {
            integers,
            scales,
            bytes: OnceLock::new(),
        };
        Ok(Tensor {
            inner: Arc::new(Inner {
                dtype,
                shape,
                len,
                data,
            }),
        })
    }

    /// Returns the factors of a tensor of [`from_scaled_integers`](Self::from_scaled_integers).
    pub fn row_scales(&self) -> Option<&[f32]> {
        match &self.inner.data {
            Data::Scaled { scales, .. } => Some(scales),
            _ => None,
        }
    }

    /// Returns the integers and factors of a tensor of
    /// [`from_scaled_integers`](Self::from_scaled_integers).
    pub(crate) fn scaled_parts(&self) -> Option<(Tensor, Tensor)> {
        match &self.inner.data {
            Data::Scaled {
                integers, scales, ..
            } => {
                let scales = Tensor::from_f32(&[scales.len()], scales.clone()).ok()?;
                Some((integers.clone(), scales))
            }
            _ => None,
        }
    }

    /// Returns the stored element type; that of integers with factors is `F32`.
    pub fn dtype(&self) -> Dtype {
        self.inner.dtype
    }

    /// Returns the length of each dimension; empty for a scalar.
    pub fn shape(&self) -> &[usize] {
        &self.inner.shape
    }

    /// Returns the number of elements.
    pub fn len(&self) -> usize {
        self.inner.len
    }

    /// Whether there are no elements because a dimension is zero.
    pub fn is_empty(&self) -> bool {
        self.inner.len == 0
    }

    /// Returns the elements as little-endian bytes in row-major order.
    pub fn bytes(&self) -> &[u8] {
        match &self.inner.data {
            Data::Bytes { bytes, range } => &bytes.as_slice()[range.clone()],
            Data::F32(values) => bytemuck::cast_slice(values),
            Data::Scaled {
                integers,
                scales,
                bytes,
            } => bytes.get_or_init(|| {
                let products = convert::scaled(integers.bytes(), scales);
                products.into_iter().flat_map(f32::to_le_bytes).collect()
            }),
        }
    }

    /// Returns a range of the first dimension, or `None` if it is out of bounds. The rows share the
    /// bytes of a file; numbers created in memory are copied.
    pub(crate) fn rows(&self, rows: Range<usize>) -> Option<Tensor> {
        let (first, rest) = self.shape().split_first()?;
        if rows.start > rows.end || rows.end > *first {
            return None;
        }
        let row = rest.iter().product::<usize>() * self.dtype().size();
        let taken = rows.start * row..rows.end * row;
        let shape = [&[rows.len()], rest].concat();
        match &self.inner.data {
            Data::Bytes { bytes, range } => Tensor::from_range(
                self.dtype(),
                shape,
                bytes,
                range.start + taken.start..range.start + taken.end,
            ),
            Data::F32(_) | Data::Scaled { .. } => {
                Tensor::from_bytes(self.dtype(), &shape, self.bytes().get(taken)?.to_vec()).ok()
            }
        }
    }

    /// Returns the transpose of a matrix as a copy; `None` if the tensor is not a matrix.
    pub(crate) fn transposed(&self) -> Option<Tensor> {
        let &[rows, columns] = self.shape() else {
            return None;
        };
        let (bytes, size) = (self.bytes(), self.dtype().size());
        let mut transposed_bytes = Vec::with_capacity(bytes.len());
        if !self.is_empty() {
            for column in 0..columns {
                for row in 0..rows {
                    let at = (row * columns + column) * size;
                    transposed_bytes.extend_from_slice(&bytes[at..at + size]);
                }
            }
        }
        Tensor::from_bytes(self.dtype(), &[columns, rows], transposed_bytes).ok()
    }

    /// Returns the same elements in another shape; `None` if the number of elements differs.
    pub fn reshaped(&self, shape: &[usize]) -> Option<Tensor> {
        match &self.inner.data {
            Data::Bytes { bytes, range } => {
                Tensor::from_range(self.dtype(), shape.to_vec(), bytes, range.clone())
            }
            Data::F32(values) => Tensor::from_f32(shape, values.clone()).ok(),
            Data::Scaled { .. } => Tensor::from_f32(shape, self.to_f32()).ok(),
        }
    }

    /// Checks that the file of the elements was not changed since it was opened. Elements read before a
    /// successful check are those of the opened file.
    ///
    /// # Errors
    /// [`ChangedFile`] if it was changed in place.
    pub fn check_unchanged(&self) -> Result<(), ChangedFile> {
        match &self.inner.data {
            Data::Bytes { bytes, .. } => bytes.check_unchanged(),
            Data::F32(values) => values.check_unchanged(),
            Data::Scaled { integers, .. } => integers.check_unchanged(),
        }
    }

    /// Whether the elements are in a memory-mapped file and so take no memory of their own.
    pub fn is_mapped(&self) -> bool {
        match &self.inner.data {
            Data::Bytes { bytes, .. } => bytes.is_mapped(),
            Data::F32(values) => values.is_mapped(),
            Data::Scaled { integers, .. } => integers.is_mapped(),
        }
    }

    /// Returns the pages of a mapped tensor to the operating system. They are read from the file
    /// again at the next access.
    pub fn release(&self) {
        match &self.inner.data {
            Data::Bytes { bytes, range } => bytes.release(range),
            Data::F32(values) => values.release(),
            Data::Scaled { integers, .. } => integers.release(),
        }
    }

    /// Returns the elements as `f32`. Stored, aligned `f32` elements are not copied. Others are
    /// converted: `f64` and integers round to nearest, booleans become 0 and 1.
    pub fn to_f32(&self) -> Buffer<f32> {
        match &self.inner.data {
            Data::F32(values) => Some(values.clone()),
            Data::Bytes { bytes, range } => self.view(Dtype::F32, bytes, range),
            Data::Scaled {
                integers, scales, ..
            } => Some(convert::scaled(integers.bytes(), scales).into()),
        }
        .unwrap_or_else(|| convert::to_f32(self.dtype(), self.bytes()).into())
    }

    /// Returns the elements as `f64`. Stored, aligned `f64` elements are not copied; others are
    /// converted.
    pub fn to_f64(&self) -> Buffer<f64> {
        match &self.inner.data {
            Data::F32(_) | Data::Scaled { .. } => None,
            Data::Bytes { bytes, range } => self.view(Dtype::F64, bytes, range),
        }
        .unwrap_or_else(|| convert::to_f64(self.dtype(), self.bytes()).into())
    }

    /// Returns the elements as `i64`; fractions are truncated toward zero.
    pub fn to_i64(&self) -> Vec<i64> {
        convert::to_i64(self.dtype(), self.bytes())
    }

    /// Returns a view of the stored bytes, or `None` if they are not of type `dtype` in host byte
    /// order, or misaligned.
    fn view<T: Element>(
        &self,
        dtype: Dtype,
        bytes: &FileBytes,
        range: &Range<usize>,
    ) -> Option<Buffer<T>> {
        if self.dtype() != dtype || cfg!(target_endian = "big") {
            return None;
        }
        Buffer::view(bytes, range.clone())
    }
}

/// Equality of element type, shape and bytes, so a NaN equals the same NaN.
impl PartialEq for Tensor {
    fn eq(&self, other: &Tensor) -> bool {
        self.dtype() == other.dtype()
            && self.shape() == other.shape()
            && self.bytes() == other.bytes()
    }
}

impl fmt::Debug for Tensor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tensor({} {:?})", self.dtype(), self.shape())
    }
}
