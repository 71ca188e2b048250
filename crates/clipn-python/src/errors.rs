//! Errors of the library as Python exceptions of `clipn._errors`, with the same texts and hints.

use std::error::Error;
use std::ffi::CString;

use clipn::error::chain_in_one_line;
use pyo3::exceptions::PyUserWarning;
use pyo3::prelude::*;

/// Creates an exception of a class of `clipn._errors`.
pub(crate) fn exception(class: &str, message: &str, hint: Option<&str>) -> PyErr {
    Python::attach(|py| {
        let create = || -> PyResult<PyErr> {
            let class = py.import("clipn._errors")?.getattr(class)?;
            Ok(PyErr::from_value(class.call1((message, hint))?))
        };
        create().unwrap_or_else(|error| error)
    })
}

/// Creates an exception of wrong arguments.
pub(crate) fn invalid(message: impl AsRef<str>) -> PyErr {
    exception("InvalidArgumentError", message.as_ref(), None)
}

/// Issues a `UserWarning` at the caller of the package's function.
pub(crate) fn warn(py: Python<'_>, text: &str) -> PyResult<()> {
    // No text of a warning has a zero byte, unless a name of a class does.
    let text = CString::new(text.replace('\0', "\u{fffd}"))?;
    PyErr::warn(py, &py.get_type::<PyUserWarning>(), &text, 2)
}

fn of_error(class: &str, error: &(dyn Error + 'static), hint: Option<String>) -> PyErr {
    let hint = hint.and_then(|hint| in_python(&hint));
    exception(class, &chain_in_one_line(error), hint.as_deref())
}

/// What Rust's names in hints are in Python.
const PYTHON_NAMES: [(&str, &str); 11] = [
    ("`Bundle::build`", "`clipn.Bundle.build`"),
    ("`BundleBuilder::with_image_tower`", "`image_tower=True`"),
    (
        "`Checkpoint::open_model`",
        "`clipn convert --weights-key` on the command line",
    ),
    ("`Classifier::class_names`", "`Classifier.class_names`"),
    (
        "`Classifier::with_scale`",
        "`scale=` of `Classifier.from_features`",
    ),
    ("`Classifier::without_classes`", "`Classifier.remove`"),
    ("`Detector::new`", "`clipn.Detector(bundle, pretrained)`"),
    ("`Detector::with_rule`", "`Detector.with_rule`"),
    (
        "scale the image down, or raise `DecodeOptions::max_pixels`",
        "scale the image down",
    ),
    (
        "name the bands of red, green and blue with `DecodeOptions::bands`",
        "choose three bands with another program, and pass an array `[H, W, 3]`",
    ),
    (
        "name the number of bits that the samples use with `DecodeOptions::sample_bits`; 16 if the image is meant to be that dark",
        "scale the samples to 8 bits with another program, and pass an array",
    ),
];

/// A hint in the words of a Python user; `None` if it advises what only Rust can do.
fn in_python(hint: &str) -> Option<String> {
    let hint = PYTHON_NAMES
        .iter()
        .fold(hint.to_owned(), |hint, (rust, python)| {
            hint.replace(rust, python)
        });
    (!hint.contains("::")).then_some(hint)
}

/// Conversion of an error of the library.
pub(crate) trait IntoException {
    fn into_exception(self) -> PyErr;
}

macro_rules! exceptions {
    ($($error:path => $class:literal $($hint:ident)?;)*) => {$(
        impl IntoException for $error {
            fn into_exception(self) -> PyErr {
                let hint: Option<String> = None;
                $(let hint = hint.or_else(|| self.$hint().map(|hint| hint.to_string()));)?
                of_error($class, &self, hint)
            }
        }
    )*};
}

exceptions! {
    clipn::bundle::BundleError => "BundleError" hint;
    clipn::calibration::CalibrationError => "CalibrationError" hint;
    clipn::checkpoint::CheckpointError => "ModelError" hint;
    clipn::classifier::ClassifierError => "ClassifierError" hint;
    clipn::detector::DetectorError => "DetectorError" hint;
    clipn::download::DownloadError => "DownloadError" hint;
    clipn::fitting::FittingError => "CalibrationError";
    clipn::image::ImageError => "ImageError" hint;
    clipn::inference::InferenceError => "DetectorError";
    clipn::inference::ItemError => "ImageError" hint;
    clipn::metrics::MetricError => "MetricError";
    clipn::model::ConvertError => "ModelError";
    clipn::model::ModelError => "ModelError" hint;
    clipn::negatives::NegativesError => "ClassifierError";
    clipn::prompts::PromptError => "ClassifierError" hint;
    clipn::scores::ScoreError => "ScoreError";
    clipn::tokenizer::TokenizerError => "ClassifierError" hint;
}

/// `?` for errors of the library.
pub(crate) trait OrRaise<T> {
    fn or_raise(self) -> PyResult<T>;
}

impl<T, E: IntoException> OrRaise<T> for Result<T, E> {
    fn or_raise(self) -> PyResult<T> {
        self.map_err(IntoException::into_exception)
    }
}
