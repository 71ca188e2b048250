//! A calibrated threshold.

use clipn::calibration::Calibration as Inner;
use clipn::count::count;
use pyo3::prelude::*;

use crate::errors::invalid;

/// A calibrated threshold.
#[pyclass(frozen, module = "clipn")]
#[derive(Clone)]
pub(crate) struct Calibration {
    pub(crate) inner: Inner,
}

#[pymethods]
impl Calibration {
    /// Threshold in the published unit of the score.
    #[getter]
    fn threshold(&self) -> f64 {
        self.inner.published_threshold()
    }

    /// Name of the score.
    #[getter]
    fn score(&self) -> &'static str {
        self.inner.score().name()
    }

    /// Number of in-distribution images.
    #[getter]
    fn n(&self) -> usize {
        self.inner.len()
    }

    /// Warnings about the calibration set.
    #[getter]
    fn warnings(&self) -> Vec<String> {
        self.inner
            .warnings()
            .iter()
            .map(ToString::to_string)
            .collect()
    }

    /// Conformal p-value of a score in its published unit.
    fn p_value(&self, score: f64) -> f64 {
        self.inner.p_value(self.inner.score().to_stable(score))
    }

    /// All figures as JSON, with scores in their published unit.
    fn to_json(&self) -> PyResult<String> {
        serde_json::to_string(&self.inner.summary()).map_err(|error| invalid(error.to_string()))
    }

    fn __repr__(&self) -> String {
        format!(
            "<clipn.Calibration: {} >= {:.6}, {}>",
            self.score(),
            self.threshold(),
            count(self.n(), "image")
        )
    }
}
