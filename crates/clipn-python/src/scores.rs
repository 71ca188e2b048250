//! Scores of logits.

use clipn::scores::{
    FittedScoreSet, LocalLogits, LogitsRow, NegativeLogits, Score, ScoreInputs, all, by_name,
    stable as stable_f32,
};
use numpy::IntoPyArray;
use pyo3::prelude::*;
use rayon::prelude::*;

use crate::arrays::Matrix;
use crate::errors::{OrRaise, invalid};
use crate::process::install;

/// Minimum number of rows that a thread takes at a time.
const MIN_ROWS: usize = 64;

/// Logits of N images in one float type.
struct Logits<'a, T> {
    yes: &'a [T],
    no: &'a [T],
    negatives: &'a [T],
    /// `[N, P·K]`.
    local: &'a [T],
    shape: Shape<'a>,
}

/// Widths of rows, and what all rows share.
#[derive(Clone, Copy)]
struct Shape<'a> {
    classes: usize,
    words: usize,
    local: usize,
    group_ends: &'a [usize],
    scale: f64,
}

impl<T: Copy + Send + Sync> Logits<'_, T> {
    fn map<R: Send>(&self, score: impl Fn(LogitsRow<'_, T>) -> R + Sync) -> Vec<R> {
        let shape = self.shape;
        let rows = self.yes.len() / shape.classes;
        (0..rows)
            .into_par_iter()
            .with_min_len(MIN_ROWS)
            .map(|index| {
                let row_of = |values, width| part(values, index, width);
                let row = LogitsRow::new(
                    row_of(self.yes, shape.classes),
                    row_of(self.no, shape.classes),
                )
                .with_scale(shape.scale)
                .with_local(LocalLogits::new(row_of(self.local, shape.local)))
                .with_negatives(NegativeLogits::new(
                    row_of(self.negatives, shape.words),
                    shape.group_ends,
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
#[pyo3(signature = (name, yes, no, negatives, local, group_ends, scale, stable))]
pub(crate) fn score<'py>(
    py: Python<'py>,
    name: &str,
    yes: &Bound<'py, PyAny>,
    no: Option<&Bound<'py, PyAny>>,
    negatives: Option<&Bound<'py, PyAny>>,
    local: Option<&Bound<'py, PyAny>>,
    group_ends: Option<Vec<usize>>,
    scale: f64,
    stable: bool,
) -> PyResult<Bound<'py, PyAny>> {
    let score = by_name(name).or_raise()?;
    let yes = Matrix::extract(yes, "the yes logits")?;
    let [rows, classes] = yes.shape();
    let no = extract(no, "the no logits")?;
    let negatives = extract(negatives, "the negative logits")?;
    let local = extract(local, "the local logits")?;
    if let Some(no) = no.as_ref().filter(|no| no.shape() != [rows, classes]) {
        let [n, k] = no.shape();
        return Err(invalid(format!(
            "expected no logits of shape ({rows}, {classes}), got ({n}, {k})"
        )));
    }
    let width = |matrix: Option<&Matrix<'_>>| matrix.map_or(0, |matrix| matrix.shape()[1]);
    let (words, local_width) = (width(negatives.as_ref()), width(local.as_ref()));
    for (other, what) in [(&negatives, "negative"), (&local, "local")] {
        if let Some(other) = other.as_ref().filter(|other| other.shape()[0] != rows) {
            let n = other.shape()[0];
            return Err(invalid(format!(
                "expected {rows} rows of {what} logits, got {n}"
            )));
        }
    }
    if local_width.checked_rem(classes).unwrap_or(0) != 0 {
        return Err(invalid(format!(
            "expected local logits of {classes} classes for each patch, got rows of {local_width}"
        )));
    }
    let inputs = ScoreInputs {
        classes,
        has_no: no.is_some(),
        has_negatives: words > 0,
        has_local: local_width > 0,
        fitted: FittedScoreSet::default(),
    };
    inputs.check(score).or_raise()?;
    if !(scale.is_finite() && scale > 0.0) {
        return Err(invalid(format!("expected a positive scale, got {scale}")));
    }
    let group_ends = group_ends.unwrap_or_else(|| vec![words]);
    let groups = vec![(); words];
    if words > 0 && !NegativeLogits::new(&groups, &group_ends).has_valid_groups() {
        return Err(invalid(format!(
            "expected ascending ends of groups up to the number of negatives, {words}, got {group_ends:?}"
        )));
    }
    let shape = Shape {
        classes,
        words,
        local: local_width,
        group_ends: &group_ends,
        scale,
    };
    let others = [no.as_ref(), negatives.as_ref(), local.as_ref()];
    match &yes {
        Matrix::F32(_) => {
            let logits = logits_of(&yes, others, shape, f32_slice)?;
            if stable {
                let values = py.detach(|| install(|| logits.map(|row| stable_f32(score, row))))?;
                return Ok(values.into_pyarray(py).into_any());
            }
            let values = py.detach(|| install(|| logits.map(|row| score.faithful(row))))?;
            Ok(values.into_pyarray(py).into_any())
        }
        Matrix::F64(_) => {
            let logits = logits_of(&yes, others, shape, f64_slice)?;
            let published = |value: f64| {
                if stable {
                    value
                } else {
                    score.from_stable(value)
                }
            };
            let values =
                py.detach(|| install(|| logits.map(|row| published(score.stable(row)))))?;
            Ok(values.into_pyarray(py).into_any())
        }
    }
}

fn extract<'py>(array: Option<&Bound<'py, PyAny>>, name: &str) -> PyResult<Option<Matrix<'py>>> {
    array.map(|array| Matrix::extract(array, name)).transpose()
}

/// Borrows the values of all arrays in the type of `yes`.
fn logits_of<'a, T>(
    yes: &'a Matrix<'_>,
    others: [Option<&'a Matrix<'_>>; 3],
    shape: Shape<'a>,
    slice: impl Fn(&'a Matrix<'_>) -> PyResult<&'a [T]>,
) -> PyResult<Logits<'a, T>> {
    let [no, negatives, local] = others.map(|matrix| matrix.map_or(Ok(&[][..]), &slice));
    Ok(Logits {
        yes: slice(yes)?,
        no: no?,
        negatives: negatives?,
        local: local?,
        shape,
    })
}

fn f32_slice<'a>(matrix: &'a Matrix<'_>) -> PyResult<&'a [f32]> {
    match matrix {
        Matrix::F32(array) => Ok(array.as_slice()?),
        Matrix::F64(_) => Err(mixed_types()),
    }
}

fn f64_slice<'a>(matrix: &'a Matrix<'_>) -> PyResult<&'a [f64]> {
    match matrix {
        Matrix::F64(array) => Ok(array.as_slice()?),
        Matrix::F32(_) => Err(mixed_types()),
    }
}

fn mixed_types() -> PyErr {
    invalid("expected logits of one float type, got float32 and float64")
}

/// Returns name, label and inputs of every score of logits that is selected by `all`.
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
    // A fitted score needs features, which these functions do not get.
    let of_logits = all().iter().filter(|score| score.fitted().is_none());
    of_logits.map(describe).collect()
}
