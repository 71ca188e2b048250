//! The native module of the Python package `clipn`: a thin layer over the library. The package around it
//! is in `python/clipn`; its functions validate and convert arguments, and have the documentation.

#![expect(
    clippy::needless_pass_by_value,
    clippy::too_many_arguments,
    reason = "arguments of Python functions are converted and owned, and each is a keyword of the package"
)]

mod arrays;
mod bundle;
mod calibrate;
mod calibration;
mod classifier;
mod convert;
mod detection;
mod detector;
mod errors;
mod identity;
mod images;
mod interrupt;
mod metrics;
mod model;
mod process;
mod program;
mod scores;
mod tokenize;

use pyo3::prelude::*;

/// Registers functions and classes.
#[pymodule]
fn _clipn(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add("__version__", env!("CARGO_PKG_VERSION"))?;
    module.add_function(wrap_pyfunction!(scores::score, module)?)?;
    module.add_function(wrap_pyfunction!(scores::score_names, module)?)?;
    module.add_function(wrap_pyfunction!(metrics::evaluate, module)?)?;
    module.add_function(wrap_pyfunction!(metrics::metric, module)?)?;
    module.add_function(wrap_pyfunction!(metrics::fpr_at_tpr, module)?)?;
    module.add_function(wrap_pyfunction!(metrics::accuracy, module)?)?;
    module.add_function(wrap_pyfunction!(metrics::aurc, module)?)?;
    module.add_function(wrap_pyfunction!(tokenize::tokenize, module)?)?;
    module.add_function(wrap_pyfunction!(images::preprocess, module)?)?;
    module.add_function(wrap_pyfunction!(model::load, module)?)?;
    module.add_function(wrap_pyfunction!(convert::convert, module)?)?;
    module.add_function(wrap_pyfunction!(calibrate::calibrate_scores, module)?)?;
    module.add_function(wrap_pyfunction!(calibrate::calibrate_bundle, module)?)?;
    module.add_function(wrap_pyfunction!(program::run_program, module)?)?;
    module.add_class::<model::Model>()?;
    module.add_class::<classifier::Classifier>()?;
    module.add_class::<bundle::Bundle>()?;
    module.add_class::<calibration::Calibration>()?;
    module.add_class::<detection::Detection>()?;
    module.add_class::<detector::Detector>()?;
    module.add_class::<detector::DetectionStream>()?;
    Ok(())
}
