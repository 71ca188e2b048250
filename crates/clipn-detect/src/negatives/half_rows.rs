//! Rows of length 1 in `f16`, as files store them.

use clipn_checkpoint::{CheckpointError, Tensor};
use clipn_model::{Real, normalize_row};
use half::f16;
use half::slice::HalfFloatSliceExt;

use crate::negatives::NegativesError;

/// How far the length of a stored row may be from 1. Rounding to `f16` changes it by less than 0.001.
const LENGTH_TOLERANCE: f64 = 0.01;

/// Rounds rows of `dim` values to `f16`, `[N, D]`. An incomplete last row is an error.
pub(super) fn to_half<T: Real>(rows: &[T], dim: usize) -> Result<Tensor, CheckpointError> {
    let mut half = vec![f16::ZERO; rows.len()];
    match T::as_f32s(rows) {
        Some(rows) => half.convert_from_f32_slice(rows),
        None => {
            for (half, value) in half.iter_mut().zip(rows) {
                *half = f16::from_f64(value.to_f64().unwrap_or(f64::NAN));
            }
        }
    }
    let count = rows.len() / dim.max(1);
    let bits: Vec<u16> = half.into_iter().map(f16::to_bits).collect();
    Tensor::from_f16_bits(&[count, dim], &bits)
}

/// Reads rows of `dim` values and normalizes them; the error is the index of the first row whose
/// length is not about 1.
pub(super) fn from_half<T: Real>(tensor: &Tensor, dim: usize) -> Result<Vec<T>, usize> {
    let mut rows = T::load(tensor).into_vec();
    for (index, row) in rows.chunks_exact_mut(dim.max(1)).enumerate() {
        let squared: f64 = row
            .iter()
            .map(|&v| (v * v).to_f64().unwrap_or(f64::NAN))
            .sum();
        if (squared.sqrt() - 1.0).abs() > LENGTH_TOLERANCE || squared.is_nan() {
            return Err(index);
        }
        normalize_row(row);
    }
    Ok(rows)
}

/// Rounds rows to `f16` and normalizes them again, as writing and reading them does.
pub(super) fn round_to_half<T: Real>(
    rows: &[T],
    dim: usize,
    words: &[String],
) -> Result<Vec<T>, NegativesError> {
    words_from_half(&to_half(rows, dim)?, dim, words)
}

/// Same as [`from_half`]; the error names the word of the row.
pub(super) fn words_from_half<T: Real>(
    tensor: &Tensor,
    dim: usize,
    words: &[String],
) -> Result<Vec<T>, NegativesError> {
    from_half(tensor, dim).map_err(|index| NegativesError::NotFinite {
        word: words.get(index).cloned().unwrap_or_default(),
    })
}
