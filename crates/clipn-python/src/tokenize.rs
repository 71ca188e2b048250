//! CLIP's tokenizer.

use clipn::tokenizer::{MAX_CONTEXT_LENGTH, Tokenizer};
use numpy::PyArray2;
use pyo3::prelude::*;
use rayon::prelude::*;

use crate::arrays::to_matrix;
use crate::errors::invalid;
use crate::process;

/// Tokenizes texts; returns the ids `[N, L]` and the number of texts that were cut.
#[pyfunction]
pub(crate) fn tokenize(
    py: Python<'_>,
    texts: Vec<String>,
    context_length: usize,
) -> PyResult<(Bound<'_, PyArray2<i64>>, usize)> {
    if !(1..=MAX_CONTEXT_LENGTH).contains(&context_length) {
        return Err(invalid(format!(
            "expected a context length from 1 to {MAX_CONTEXT_LENGTH}, got {context_length}"
        )));
    }
    let rows = || -> Vec<_> {
        let tokenizer = Tokenizer::clip();
        let rows = texts.par_iter().with_min_len(64);
        rows.map(|text| tokenizer.tokenize_row(text, context_length))
            .collect()
    };
    let rows = py.detach(|| process::install(rows))?;
    let truncated = rows.iter().filter(|row| row.truncated).count();
    let length = rows.first().map_or(context_length, |row| row.ids.len());
    let ids = rows
        .iter()
        .flat_map(|row| row.ids.iter().map(|&id| i64::from(id)));
    Ok((to_matrix(py, ids.collect(), length)?, truncated))
}
