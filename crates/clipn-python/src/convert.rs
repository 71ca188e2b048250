//! Conversion of weights.

use std::path::PathBuf;

use clipn::checkpoint::FloatType;
use clipn::model::{ConversionTarget, ModelConfig, PretrainedWeights, WeightsConversion};
use pyo3::prelude::*;

use crate::errors::{OrRaise, invalid};
use crate::interrupt::{Reporter, run};

/// Converts weights; returns the files that were written with their sizes.
#[pyfunction]
pub(crate) fn convert(
    py: Python<'_>,
    source: PathBuf,
    output: PathBuf,
    to: &str,
    dtype: &str,
    model: Option<&str>,
    force: bool,
    progress: Option<Py<PyAny>>,
) -> PyResult<Vec<(PathBuf, u64)>> {
    let to: ConversionTarget = to.parse().map_err(|error| invalid(format!("{error}")))?;
    let (float, int8) = match dtype {
        "keep" => (None, false),
        "f32" => (Some(FloatType::F32), false),
        "f16" => (Some(FloatType::F16), false),
        "bf16" => (Some(FloatType::Bf16), false),
        "int8" => (None, true),
        other => {
            return Err(invalid(format!(
                "expected dtype \"keep\", \"f32\", \"f16\", \"bf16\" or \"int8\", got {other:?}"
            )));
        }
    };
    let model = model.map(ModelConfig::resolve).transpose().or_raise()?;
    let conversion = WeightsConversion {
        to,
        float,
        int8,
        only_training_vocabulary: false,
        templates: None,
        logit_scale: None,
        replace: force,
    };
    let reporter = Reporter::new(progress);
    let weights = py.detach(|| PretrainedWeights::open(&source)).or_raise()?;
    let summary = run(py, &reporter, || {
        conversion.run_with_progress(&weights, model, &output, &reporter)
    })?;
    Ok(summary.or_raise()?.files)
}
