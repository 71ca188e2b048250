//! Results of images.

use clipn::detector::Detection as Inner;
use pyo3::prelude::*;

use crate::errors::invalid;

/// A function and its arguments, which restore an object.
type Pickled<'py> = (Bound<'py, PyAny>, (String, Option<String>));

/// Result of one image.
#[pyclass(frozen, module = "clipn")]
#[derive(Clone)]
pub(crate) struct Detection {
    inner: Inner,
    path: Option<String>,
}

impl Detection {
    pub(crate) fn new(inner: Inner, path: Option<String>) -> Self {
        Self { inner, path }
    }
}

#[pymethods]
impl Detection {
    /// Path of the image; None for one in memory.
    #[getter]
    fn path(&self) -> Option<&str> {
        self.path.as_deref()
    }

    /// Name of the class; None for an unknown image.
    #[getter]
    fn label(&self) -> Option<&str> {
        self.inner.label.as_deref()
    }

    /// Name of the class, or "unknown".
    #[getter]
    fn label_or_unknown(&self) -> &str {
        self.inner.label_or_unknown()
    }

    /// Index of the class; None for an unknown image.
    #[getter]
    fn class_index(&self) -> Option<usize> {
        self.inner.class
    }

    /// Whether the image belongs to none of the classes.
    #[getter]
    fn is_unknown(&self) -> bool {
        self.inner.is_unknown()
    }

    /// Score that decided.
    #[getter]
    fn score(&self) -> f64 {
        self.inner.score
    }

    /// Minimum score of a known image.
    #[getter]
    fn threshold(&self) -> f64 {
        self.inner.threshold
    }

    /// Conformal p-value, with a calibrated threshold.
    #[getter]
    fn p_value(&self) -> Option<f64> {
        self.inner.p_value
    }

    /// Explanation of the decision.
    #[getter]
    fn reason(&self) -> &str {
        &self.inner.reason
    }

    /// Top classes as tuples (label, p, q), p descending; q is None without "no".
    #[getter]
    fn top(&self) -> Vec<(String, f32, Option<f32>)> {
        let top = self.inner.top.iter();
        top.map(|class| (class.label.clone(), class.probability, class.agreement))
            .collect()
    }

    /// The serialized form of docs/serving.md, as JSON.
    fn to_json(&self) -> PyResult<String> {
        serde_json::to_string(&self.inner).map_err(|error| invalid(error.to_string()))
    }

    /// Reads what `to_json` returned.
    #[staticmethod]
    #[pyo3(signature = (text, path=None))]
    fn from_json(text: &str, path: Option<String>) -> PyResult<Self> {
        let inner = serde_json::from_str(text).map_err(|error| invalid(error.to_string()))?;
        Ok(Self { inner, path })
    }

    /// Pickles a detection, so that it can be sent to other processes.
    fn __reduce__(slf: PyRef<'_, Self>) -> PyResult<Pickled<'_>> {
        let arguments = (slf.to_json()?, slf.path.clone());
        let from_json = slf.py().get_type::<Self>().getattr("from_json")?;
        Ok((from_json, arguments))
    }

    fn __eq__(&self, other: &Self) -> bool {
        self.path == other.path && self.inner == other.inner
    }

    fn __repr__(&self) -> String {
        let path = self
            .path
            .as_ref()
            .map(|path| format!("{path}: "))
            .unwrap_or_default();
        format!(
            "<clipn.Detection {path}{}, score {:.4}, threshold {:.4}>",
            self.inner.label_or_unknown(),
            self.inner.score,
            self.inner.threshold
        )
    }
}
