//! Metrics of scores.

use clipn::metrics::{self, FprConvention, MetricError, RankedScores};
use numpy::PyReadonlyArray1;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::arrays::Floats;
use crate::errors::{OrRaise, invalid};

/// Sorts both sets once.
fn ranked(py: Python<'_>, id: &Bound<'_, PyAny>, ood: &Bound<'_, PyAny>) -> PyResult<RankedScores> {
    let (id, ood) = (
        Floats::extract(id, "the in-distribution scores")?,
        Floats::extract(ood, "the out-of-distribution scores")?,
    );
    let ranked: Result<RankedScores, MetricError> = match (&id, &ood) {
        (Floats::F32(id), Floats::F32(ood)) => {
            let (id, ood) = (id.as_slice()?, ood.as_slice()?);
            py.detach(|| RankedScores::new(id, ood))
        }
        _ => {
            let (id, ood) = (id.to_f64()?, ood.to_f64()?);
            py.detach(|| RankedScores::new(&id, &ood))
        }
    };
    ranked.or_raise()
}

fn convention(name: &str) -> PyResult<FprConvention> {
    name.parse().or_raise()
}

/// Computes one of the areas, such as `auroc` or `aupr_in_trapezoid`.
#[pyfunction]
pub(crate) fn metric(
    py: Python<'_>,
    name: &str,
    id: &Bound<'_, PyAny>,
    ood: &Bound<'_, PyAny>,
) -> PyResult<f64> {
    let ranked = ranked(py, id, ood)?;
    match name {
        "auroc" => Ok(py.detach(|| ranked.auroc())),
        "aupr_in" => Ok(py.detach(|| ranked.aupr_in())),
        "aupr_out" => Ok(py.detach(|| ranked.aupr_out())),
        "aupr_in_trapezoid" => Ok(py.detach(|| ranked.aupr_in_trapezoid())),
        "aupr_out_trapezoid" => Ok(py.detach(|| ranked.aupr_out_trapezoid())),
        other => Err(invalid(format!("unknown metric {other:?}"))),
    }
}

/// Computes the FPR at a TPR, and its range over ties.
#[pyfunction]
pub(crate) fn fpr_at_tpr(
    py: Python<'_>,
    id: &Bound<'_, PyAny>,
    ood: &Bound<'_, PyAny>,
    tpr: f64,
    name: &str,
) -> PyResult<(f64, [f64; 2])> {
    let convention = convention(name)?;
    let ranked = ranked(py, id, ood)?;
    let fpr = ranked.fpr_at_tpr(tpr, convention).or_raise()?;
    Ok((fpr, ranked.fpr_range(tpr, convention).or_raise()?))
}

/// Computes all metrics from one sort.
#[pyfunction]
pub(crate) fn evaluate<'py>(
    py: Python<'py>,
    id: &Bound<'py, PyAny>,
    ood: &Bound<'py, PyAny>,
    tpr: f64,
) -> PyResult<Bound<'py, PyDict>> {
    let ranked = ranked(py, id, ood)?;
    let figures = PyDict::new(py);
    figures.set_item("auroc", ranked.auroc())?;
    figures.set_item("aupr_in", ranked.aupr_in())?;
    figures.set_item("aupr_out", ranked.aupr_out())?;
    figures.set_item("aupr_in_trapezoid", ranked.aupr_in_trapezoid())?;
    figures.set_item("aupr_out_trapezoid", ranked.aupr_out_trapezoid())?;
    let (fpr, ties) = (PyDict::new(py), PyDict::new(py));
    for convention in FprConvention::ALL {
        fpr.set_item(
            convention.as_str(),
            ranked.fpr_at_tpr(tpr, convention).or_raise()?,
        )?;
        ties.set_item(
            convention.as_str(),
            ranked.fpr_range(tpr, convention).or_raise()?,
        )?;
    }
    figures.set_item("fpr", fpr)?;
    figures.set_item("fpr_ties", ties)?;
    figures.set_item("n_id", ranked.id_len())?;
    figures.set_item("n_ood", ranked.ood_len())?;
    figures.set_item("distinct", ranked.distinct_len())?;
    Ok(figures)
}

/// Computes the fraction of predictions that equal their labels.
#[pyfunction]
pub(crate) fn accuracy(
    predictions: PyReadonlyArray1<'_, i64>,
    labels: PyReadonlyArray1<'_, i64>,
) -> PyResult<f64> {
    let indices = |values: &[i64]| -> PyResult<Vec<usize>> {
        let index = |&value: &i64| {
            usize::try_from(value)
                .map_err(|_| invalid(format!("expected class indices, got {value}")))
        };
        values.iter().map(index).collect()
    };
    let (predictions, labels) = (
        indices(predictions.as_slice()?)?,
        indices(labels.as_slice()?)?,
    );
    metrics::accuracy(&predictions, &labels).or_raise()
}

/// Computes the area under the risk-coverage curve.
#[pyfunction]
pub(crate) fn aurc(
    py: Python<'_>,
    id: &Bound<'_, PyAny>,
    is_wrong: PyReadonlyArray1<'_, bool>,
    ood: Option<&Bound<'_, PyAny>>,
) -> PyResult<f64> {
    let id = Floats::extract(id, "the in-distribution scores")?.to_f64()?;
    let ood = match ood {
        Some(ood) => Floats::extract(ood, "the out-of-distribution scores")?.to_f64()?,
        None => Vec::new(),
    };
    let is_wrong = is_wrong.as_slice()?;
    py.detach(|| metrics::aurc(&id, is_wrong, &ood)).or_raise()
}
