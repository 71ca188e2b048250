//! NumPy arrays in and out, without a copy where the memory layout allows.

use numpy::{PyArray1, PyArray2, PyArrayMethods, PyReadonlyArray1, PyReadonlyArray2};
use pyo3::prelude::*;

use crate::errors::invalid;

/// A matrix of floats `[N, D]`, contiguous.
pub(crate) enum Matrix<'py> {
    F32(PyReadonlyArray2<'py, f32>),
    F64(PyReadonlyArray2<'py, f64>),
}

impl<'py> Matrix<'py> {
    /// Takes an array that the package has made contiguous.
    pub(crate) fn extract(array: &Bound<'py, PyAny>, name: &str) -> PyResult<Self> {
        if let Ok(array) = array.extract::<PyReadonlyArray2<'py, f32>>() {
            return Ok(Self::F32(array));
        }
        match array.extract::<PyReadonlyArray2<'py, f64>>() {
            Ok(array) => Ok(Self::F64(array)),
            Err(_) => Err(invalid(format!(
                "expected {name} as a float32 or float64 array of shape (N, D)"
            ))),
        }
    }

    pub(crate) fn shape(&self) -> [usize; 2] {
        let shape = match self {
            Self::F32(array) => array.as_array().shape().to_vec(),
            Self::F64(array) => array.as_array().shape().to_vec(),
        };
        [shape[0], shape[1]]
    }

    /// The values in `f32`; those of `f64` are converted.
    pub(crate) fn to_f32(&self) -> PyResult<Vec<f32>> {
        Ok(match self {
            Self::F32(array) => array.as_slice()?.to_vec(),
            Self::F64(array) => array
                .as_slice()?
                .iter()
                .map(|&value| value as f32)
                .collect(),
        })
    }
}

/// A list of floats `[N]`, contiguous.
pub(crate) enum Floats<'py> {
    F32(PyReadonlyArray1<'py, f32>),
    F64(PyReadonlyArray1<'py, f64>),
}

impl<'py> Floats<'py> {
    pub(crate) fn extract(array: &Bound<'py, PyAny>, name: &str) -> PyResult<Self> {
        if let Ok(array) = array.extract::<PyReadonlyArray1<'py, f32>>() {
            return Ok(Self::F32(array));
        }
        match array.extract::<PyReadonlyArray1<'py, f64>>() {
            Ok(array) => Ok(Self::F64(array)),
            Err(_) => Err(invalid(format!(
                "expected {name} as a float32 or float64 array of shape (N,)"
            ))),
        }
    }

    pub(crate) fn to_f64(&self) -> PyResult<Vec<f64>> {
        Ok(match self {
            Self::F32(array) => array
                .as_slice()?
                .iter()
                .map(|&value| f64::from(value))
                .collect(),
            Self::F64(array) => array.as_slice()?.to_vec(),
        })
    }
}

/// Rows `[N, D]` as an array that owns them.
pub(crate) fn to_matrix<'py, T: numpy::Element>(
    py: Python<'py>,
    values: Vec<T>,
    dim: usize,
) -> PyResult<Bound<'py, PyArray2<T>>> {
    let rows = values.len() / dim.max(1);
    PyArray1::from_vec(py, values).reshape([rows, dim])
}
