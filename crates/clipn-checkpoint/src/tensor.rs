//! A named file's tensor: element type, shape and contiguous little-endian bytes.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use super::buffer::{Buffer, Bytes};
use super::{CheckpointError, Dtype, convert};

/// An array of numbers as a file holds it: contiguous, row-major, little-endian. Clones share everything.
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
    /// Invariant: `range` lies in `bytes` and is `len * dtype.size()` long.
    Bytes { bytes: Bytes, range: Range<usize> },
    /// Numbers made in memory; only on little-endian hosts, where their bytes are the file's bytes.
    F32(Buffer<f32>),
}

/// Elements of `shape`, or `None` where their bytes (or those of the shape without its zeros) exceed the address
/// space: such a shape cannot be multiplied out safely in any order.
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
    /// A tensor over `bytes[range]`, or `None` where the range is out of bounds or of another length than the shape.
    pub(crate) fn over(
        dtype: Dtype,
        shape: Vec<usize>,
        bytes: &Bytes,
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

    /// A tensor of little-endian `bytes` in row-major order.
    ///
    /// # Errors
    /// [`CheckpointError::Shape`] where the bytes are not those of a `shape` of `dtype`.
    pub fn from_bytes(
        dtype: Dtype,
        shape: &[usize],
        bytes: Vec<u8>,
    ) -> Result<Tensor, CheckpointError> {
        let elements = bytes.len() / dtype.size();
        let end = bytes.len();
        Tensor::over(dtype, shape.to_vec(), &Bytes::from(bytes), 0..end).ok_or_else(|| {
            CheckpointError::Shape {
                shape: shape.to_vec(),
                elements,
            }
        })
    }

    /// An `f32` tensor that takes over a vector, or shares a [`Buffer`], without a copy.
    ///
    /// # Errors
    /// [`CheckpointError::Shape`] where `values` are more or fewer than `shape` has elements.
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
            _ => Err(CheckpointError::Shape {
                shape,
                elements: values.len(),
            }),
        }
    }

    /// An `f64` tensor.
    ///
    /// # Errors
    /// [`CheckpointError::Shape`] where `values` are more or fewer than `shape` has elements.
    pub fn from_f64(shape: &[usize], values: &[f64]) -> Result<Tensor, CheckpointError> {
        Tensor::from_numbers(Dtype::F64, shape, values, f64::to_le_bytes)
    }

    /// An `f16` tensor.
    ///
    /// # Errors
    /// [`CheckpointError::Shape`] where `values` are more or fewer than `shape` has elements.
    pub fn from_f16(shape: &[usize], values: &[half::f16]) -> Result<Tensor, CheckpointError> {
        Tensor::from_numbers(Dtype::F16, shape, values, half::f16::to_le_bytes)
    }

    /// An `i64` tensor.
    ///
    /// # Errors
    /// [`CheckpointError::Shape`] where `values` are more or fewer than `shape` has elements.
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

    /// Element type in the file.
    pub fn dtype(&self) -> Dtype {
        self.inner.dtype
    }

    /// Length of each dimension; empty for a scalar.
    pub fn shape(&self) -> &[usize] {
        &self.inner.shape
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        self.inner.len
    }

    /// Whether some dimension is zero, so that there are no elements.
    pub fn is_empty(&self) -> bool {
        self.inner.len == 0
    }

    /// The elements' little-endian bytes in row-major order.
    pub fn bytes(&self) -> &[u8] {
        match &self.inner.data {
            Data::Bytes { bytes, range } => &bytes.as_slice()[range.clone()],
            Data::F32(values) => bytemuck::cast_slice(values),
        }
    }

    /// Rows of the first dimension, sharing the bytes; `None` where there are not so many. Numbers that were made in
    /// memory are copied.
    pub(crate) fn rows(&self, rows: Range<usize>) -> Option<Tensor> {
        let (first, rest) = self.shape().split_first()?;
        if rows.start > rows.end || rows.end > *first {
            return None;
        }
        let row = rest.iter().product::<usize>() * self.dtype().size();
        let taken = rows.start * row..rows.end * row;
        let shape = [&[rows.len()], rest].concat();
        match &self.inner.data {
            Data::Bytes { bytes, range } => Tensor::over(
                self.dtype(),
                shape,
                bytes,
                range.start + taken.start..range.start + taken.end,
            ),
            Data::F32(_) => {
                Tensor::from_bytes(self.dtype(), &shape, self.bytes().get(taken)?.to_vec()).ok()
            }
        }
    }

    /// A matrix the other way round, copied; `None` for anything else.
    pub(crate) fn transposed(&self) -> Option<Tensor> {
        let &[rows, columns] = self.shape() else {
            return None;
        };
        let (bytes, size) = (self.bytes(), self.dtype().size());
        let mut turned = Vec::with_capacity(bytes.len());
        if !self.is_empty() {
            for column in 0..columns {
                for row in 0..rows {
                    let at = (row * columns + column) * size;
                    turned.extend_from_slice(&bytes[at..at + size]);
                }
            }
        }
        Tensor::from_bytes(self.dtype(), &[columns, rows], turned).ok()
    }

    /// The same elements in another shape of as many; `None` where it has more or fewer.
    pub fn reshaped(&self, shape: &[usize]) -> Option<Tensor> {
        match &self.inner.data {
            Data::Bytes { bytes, range } => {
                Tensor::over(self.dtype(), shape.to_vec(), bytes, range.clone())
            }
            Data::F32(values) => Tensor::from_f32(shape, values.clone()).ok(),
        }
    }

    /// Hands the memory of a mapped tensor back to the system; it is read from the file again when it is next looked at.
    pub fn release(&self) {
        match &self.inner.data {
            Data::Bytes { bytes, range } => bytes.release(range),
            Data::F32(values) => values.release(),
        }
    }

    /// The elements as `f32`: without a copy when they are stored so and aligned, converted otherwise (`f64` and
    /// integers rounded to the nearest, booleans as 0 and 1).
    pub fn to_f32(&self) -> Buffer<f32> {
        match &self.inner.data {
            Data::F32(values) => Some(values.clone()),
            Data::Bytes { bytes, range } => self.view(Dtype::F32, bytes, range),
        }
        .unwrap_or_else(|| convert::to_f32(self.dtype(), self.bytes()).into())
    }

    /// The elements as `f64`: without a copy when they are stored so and aligned, converted otherwise.
    pub fn to_f64(&self) -> Buffer<f64> {
        match &self.inner.data {
            Data::F32(_) => None,
            Data::Bytes { bytes, range } => self.view(Dtype::F64, bytes, range),
        }
        .unwrap_or_else(|| convert::to_f64(self.dtype(), self.bytes()).into())
    }

    /// The elements as `i64`; fractions are cut towards zero.
    pub fn to_i64(&self) -> Vec<i64> {
        convert::to_i64(self.dtype(), self.bytes())
    }

    /// The stored bytes as they are, where they are numbers of the host's own form.
    fn view<T: bytemuck::Pod>(
        &self,
        form: Dtype,
        bytes: &Bytes,
        range: &Range<usize>,
    ) -> Option<Buffer<T>> {
        if self.dtype() != form || cfg!(target_endian = "big") {
            return None;
        }
        Buffer::view(bytes, range.clone())
    }
}

/// Equal in element type, shape and bytes (so NaN equals the same NaN).
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
