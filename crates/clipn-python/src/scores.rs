//! Scores of logits.

use clipn::scores::{
    LogitsRow, NegativeLogits, Score, ScoreInputs, all, by_name, stable as stable_f32,
};
use numpy::{IntoPyArray, PyReadonlyArray2};
use pyo3::prelude::*;
use rayon::prelude::*;

use crate::arrays::Matrix;
use crate::errors::{OrRaise, invalid};

/// Minimum number of rows that a thread takes at a time.
const MIN_ROWS: usize = 64;

/// Logits of N images in one float type.
struct Logits<'a, T> {
    yes: &'a [T],
    no: &'a [T],
    negatives: &'a [T],
    classes: usize,
    words: usize,
    group_ends: &'a [usize],
    scale: f64,
}

impl<T: Copy + Send + Sync> Logits<'_, T> {
    fn map<R: Send>(&self, score: impl Fn(LogitsRow<'_, T>) -> R + Sync) -> Vec<R> {
        let rows = self.yes.len() / self.classes;
        (0..rows)
            .into_par_iter()
            .with_min_len(MIN_ROWS)
            .map(|index| {
                let row_of = |values, width| part(values, index, width);
                let row = LogitsRow::new(
                    row_of(self.yes, self.classes),
                    row_of(self.no, self.classes),
                )
                .with_scale(self.scale)
                .with_negatives(NegativeLogits::new(
                    row_of(self.negatives, self.words),
                    self.group_ends,
                ));
                score(row)
            })
            .collect()
    }
}

fn part<T>(values: &[T], index: usize, width: usize) -> &[T] {
    values
        .get(index * width..(index + 1) * width)
        .unwrap_or_default()
}

/// Computes a score of every row; the arrays have one float type and are contiguous.
#[pyfunction]
#[pyo3(signature = (name, yes, no, negatives, group_ends, scale, stable))]
pub(crate) fn score<'py>(
    py: Python<'py>,
    name: &str,
    yes: &Bound<'py, PyAny>,
    no: Option<&Bound<'py, PyAny>>,
    negatives: Option<&Bound<'py, PyAny>>,
    group_ends: Option<Vec<usize>>,
    scale: f64,
    stable: bool,
) -> PyResult<Bound<'py, PyAny>> {
    let score = by_name(name).or_raise()?;
    let yes = Matrix::extract(yes, "the yes logits")?;
    let [rows, classes] = yes.shape();
    let no = no
        .map(|no| Matrix::extract(no, "the no logits"))
        .transpose()?;
    let negatives = negatives
        .map(|values| Matrix::extract(values, "the negative logits"))
        .transpose()?;
    if let Some(no) = no.as_ref().filter(|no| no.shape() != [rows, classes]) {
        let [n, k] = no.shape();
        return Err(invalid(format!(
            "expected no logits of shape ({rows}, {classes}), got ({n}, {k})"
        )));
    }
    let words = negatives
        .as_ref()
        .map_or(0, |negatives| negatives.shape()[1]);
    if let Some(other) = negatives.as_ref().filter(|other| other.shape()[0] != rows) {
        let n = other.shape()[0];
        return Err(invalid(format!(
            "expected {rows} rows of negative logits, got {n}"
        )));
    }
    let inputs = ScoreInputs {
        classes,
        has_no: no.is_some(),
        has_negatives: words > 0,
    };
    inputs.check(score).or_raise()?;
    let group_ends = group_ends.unwrap_or_else(|| vec![words]);
    match (&yes, &no, &negatives) {
        (Matrix::F32(yes), None | Some(Matrix::F32(_)), None | Some(Matrix::F32(_))) => {
            let (no, negatives) = (f32_slice(no.as_ref())?, f32_slice(negatives.as_ref())?);
            let logits = Logits {
                yes: yes.as_slice()?,
                no,
                negatives,
                classes,
                words,
                group_ends: &group_ends,
                scale,
            };
            if stable {
                let values = py.detach(|| logits.map(|row| stable_f32(score, row)));
                return Ok(values.into_pyarray(py).into_any());
            }
            let values = py.detach(|| logits.map(|row| score.faithful(row)));
            Ok(values.into_pyarray(py).into_any())
        }
        (Matrix::F64(yes), None | Some(Matrix::F64(_)), None | Some(Matrix::F64(_))) => {
            let (no, negatives) = (f64_slice(no.as_ref())?, f64_slice(negatives.as_ref())?);
            let logits = Logits {
                yes: yes.as_slice()?,
                no,
                negatives,
                classes,
                words,
                group_ends: &group_ends,
                scale,
            };
            let published = |value: f64| {
                if stable {
                    value
                } else {
                    score.from_stable(value)
                }
            };
            let values = py.detach(|| logits.map(|row| published(score.stable(row))));
            Ok(values.into_pyarray(py).into_any())
        }
        _ => Err(invalid(
            "expected logits of one float type, got float32 and float64",
        )),
    }
}

fn f32_slice<'a>(matrix: Option<&'a Matrix<'_>>) -> PyResult<&'a [f32]> {
    match matrix {
        Some(Matrix::F32(array)) => Ok(slice(array)?),
        _ => Ok(&[]),
    }
}

fn f64_slice<'a>(matrix: Option<&'a Matrix<'_>>) -> PyResult<&'a [f64]> {
    match matrix {
        Some(Matrix::F64(array)) => Ok(slice(array)?),
        _ => Ok(&[]),
    }
}

fn slice<'a, T: numpy::Element>(array: &'a PyReadonlyArray2<'_, T>) -> PyResult<&'a [T]> {
    Ok(array.as_slice()?)
}

/// Returns name, label and inputs of every score that is selected by `all`.
#[pyfunction]
pub(crate) fn score_names() -> Vec<(&'static str, &'static str, bool, bool)> {
    let describe = |score: &&'static dyn Score| {
        (
            score.name(),
            score.display_name(),
            score.uses_no(),
            score.uses_negatives(),
        )
    };
    all().iter().map(describe).collect()
}
