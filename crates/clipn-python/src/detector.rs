//! Detection of images: one, many, or a stream.

use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use clipn::count::count;
use clipn::detector::{DetectMany, Detection as InnerDetection, Detector as Inner, DetectorError};
use clipn::image::{ImageError, ImageSource, Preprocessing};
use clipn::inference::ItemError;
use clipn::progress::Progress;
use clipn::scores::{DecisionRule, MaxLogit, by_name};
use pyo3::exceptions::PyStopIteration;
use pyo3::prelude::*;
use pyo3::types::PyIterator;

use crate::arrays::Matrix;
use crate::bundle::Bundle;
use crate::classifier::Classifier;
use crate::detection::Detection;
use crate::errors::{OrRaise, invalid};
use crate::identity::{Identity, SharedIdentity, check_features};
use crate::images::InputImage;
use crate::interrupt::{Reporter, run};
use crate::model::{Failed, Model, item_exception, parallelism};
use crate::process;

/// A classifier with its image tower and its decision rule.
#[pyclass(frozen, module = "clipn")]
pub(crate) struct Detector {
    inner: Inner,
    /// The model that encoded the class names.
    model: Option<SharedIdentity>,
}

impl Detector {
    fn of_bundle(inner: Inner) -> Self {
        let identity = inner.bundle().map(|bundle| bundle.identity());
        let model = identity.map(Identity::from_bundle);
        Self { inner, model }
    }

    /// The exception or the result of each image.
    fn results(
        py: Python<'_>,
        outcomes: Vec<Result<InnerDetection, ItemError>>,
        names: &[Option<String>],
        keep_errors: bool,
    ) -> PyResult<Vec<Py<PyAny>>> {
        let mut results = Vec::with_capacity(outcomes.len());
        for (index, outcome) in outcomes.into_iter().enumerate() {
            results.push(match outcome {
                Ok(detection) => {
                    let path = names.get(index).cloned().flatten();
                    Py::new(py, Detection::new(detection, path))?.into_any()
                }
                Err(error) => {
                    let error =
                        item_exception(index, names.get(index).and_then(Option::as_deref), error);
                    if !keep_errors {
                        return Err(error);
                    }
                    error.into_value(py).into_any()
                }
            });
        }
        Ok(results)
    }
}

#[pymethods]
impl Detector {
    #[staticmethod]
    fn open(py: Python<'_>, path: PathBuf, model: Option<&Model>) -> PyResult<Self> {
        process::check()?;
        let inner = match model {
            None => py.detach(|| Inner::open(&path)).or_raise()?,
            Some(model) => {
                let bundle = py
                    .detach(|| clipn::bundle::Bundle::open(&path))
                    .or_raise()?;
                py.detach(|| Inner::new(bundle, &model.weights))
                    .or_raise()?
            }
        };
        Ok(Self::of_bundle(inner))
    }

    #[staticmethod]
    fn from_bundle(py: Python<'_>, bundle: &Bundle, model: Option<&Model>) -> PyResult<Self> {
        process::check()?;
        let bundle = bundle.inner.clone();
        let inner = py.detach(|| match model {
            Some(model) => Inner::new(bundle, &model.weights),
            None if bundle.has_image_tower() => Inner::from_bundle(bundle),
            None => Inner::for_features_of(bundle),
        });
        Ok(Self::of_bundle(inner.or_raise()?))
    }

    #[staticmethod]
    fn from_classifier(
        py: Python<'_>,
        classifier: &Classifier,
        model: Option<&Model>,
    ) -> PyResult<Self> {
        let identity = model.map(|model| &model.identity);
        check_features(py, classifier.model.as_ref(), identity)?;
        let known = classifier.model.clone();
        let classifier = classifier.inner.clone();
        let inner = match model {
            None => Inner::for_features(classifier),
            Some(model) => {
                let preprocessing = model.preprocessing.clone();
                Inner::from_classifier(classifier, Arc::clone(&model.tower), preprocessing)
                    .or_raise()?
            }
        };
        Ok(Self {
            inner,
            model: known,
        })
    }

    fn with_rule(
        &self,
        score: Option<&str>,
        threshold: Option<f64>,
        reject: bool,
    ) -> PyResult<Self> {
        let score = score.map(by_name).transpose().or_raise()?;
        let own = self.inner.rule();
        let rule = match (score, threshold) {
            _ if !reject => DecisionRule::AcceptAll {
                score: score.unwrap_or(&MaxLogit),
            },
            (score, Some(threshold)) if !threshold.is_nan() => self
                .inner
                .threshold_rule(score.unwrap_or(own.score()), threshold),
            (_, Some(_)) => return Err(invalid("the threshold is not a number")),
            (Some(score), None) => DecisionRule::default_for(score).ok_or_else(|| {
                invalid(format!(
                    "the score {} has no default threshold",
                    score.name()
                ))
            })?,
            (None, None) => own,
        };
        Ok(Self {
            inner: self.inner.clone().with_rule(rule).or_raise()?,
            model: self.model.clone(),
        })
    }

    fn with_top(&self, top: usize) -> Self {
        Self {
            inner: self.inner.clone().with_top_k(top),
            model: self.model.clone(),
        }
    }

    /// Names of the classes.
    #[getter]
    fn class_names(&self) -> Vec<String> {
        self.inner.classifier().class_names().to_vec()
    }

    /// Name of the score that decides.
    #[getter]
    fn score_name(&self) -> &'static str {
        self.inner.score_name()
    }

    /// Whether the threshold was calibrated.
    #[getter]
    fn is_calibrated(&self) -> bool {
        self.inner.calibration().is_some()
    }

    /// Whether every image gets its best label.
    #[getter]
    fn accepts_all(&self) -> bool {
        matches!(self.inner.rule(), DecisionRule::AcceptAll { .. })
    }

    /// Side S of the images in pixels.
    #[getter]
    fn image_size(&self) -> usize {
        self.inner.preprocessing().size
    }

    /// The classifier.
    #[getter]
    fn classifier(&self) -> Classifier {
        Classifier {
            inner: self.inner.classifier().clone(),
            prompts: self.inner.bundle().map(|bundle| bundle.prompts().clone()),
            model: self.model.clone(),
        }
    }

    /// Classifies a list of images.
    fn detect_list(
        &self,
        py: Python<'_>,
        images: &Bound<'_, PyAny>,
        keep_errors: bool,
        batch_size: usize,
        workers: Option<usize>,
        progress: Option<Py<PyAny>>,
    ) -> PyResult<Vec<Py<PyAny>>> {
        let (images, mut failed) = extract_each(images, keep_errors)?;
        let names: Vec<Option<String>> = images
            .iter()
            .map(|image| image.0.as_ref().ok().and_then(InputImage::name))
            .collect();
        let reporter = Reporter::new(progress);
        let mut outcomes = Vec::with_capacity(images.len());
        let outcome = run(py, &reporter, || -> Result<(), Failed> {
            reporter.begin("classifying", images.len() as u64);
            let pipeline = self
                .inner
                .pipeline()?
                .with_parallelism(parallelism(batch_size, workers))
                .with_progress(&reporter);
            let mut index = 0;
            pipeline.run(
                images,
                |_, row| row.and_then(|row| self.inner.decide(row)),
                |outcome: Result<InnerDetection, ItemError>| -> Result<(), Failed> {
                    match outcome {
                        Err(error) if !keep_errors => return Err(Failed::Item(index, error)),
                        outcome => outcomes.push(outcome),
                    }
                    index += 1;
                    Ok(())
                },
            )
        })?;
        outcome.map_err(|error| error.into_py_err(&names))?;
        let mut results = Self::results(py, outcomes, &names, keep_errors)?;
        for (index, error) in failed.drain(..) {
            results[index] = error.into_value(py).into_any();
        }
        Ok(results)
    }

    /// Classifies features [N, D].
    fn detect_features(
        &self,
        py: Python<'_>,
        features: &Bound<'_, PyAny>,
        keep_errors: bool,
    ) -> PyResult<Vec<Py<PyAny>>> {
        let matrix = Matrix::extract(features, "features")?;
        let (dim, found) = (self.inner.classifier().dim(), matrix.shape()[1]);
        if dim != found {
            return Err(invalid(format!(
                "expected features of dimension {dim}, got {found}"
            )));
        }
        let features = matrix.to_f32()?;
        let outcomes = py
            .detach(|| process::install(|| self.inner.detect_features(&features)))?
            .or_raise()?;
        Self::results(py, outcomes, &[], keep_errors)
    }

    /// Classifies the images of an iterator as they come.
    fn stream(
        &self,
        images: &Bound<'_, PyAny>,
        keep_errors: bool,
        batch_size: usize,
        workers: Option<usize>,
    ) -> PyResult<DetectionStream> {
        process::check()?;
        let source = PythonImages {
            iterator: images.try_iter()?.unbind(),
            is_finished: false,
        };
        let batches = self
            .inner
            .detect_many_with(source, parallelism(batch_size, workers));
        Ok(DetectionStream {
            batches: Mutex::new(Some(batches.or_raise()?)),
            returned: AtomicUsize::new(0),
            keep_errors,
        })
    }

    fn __repr__(&self) -> String {
        format!(
            "<clipn.Detector: {}, decides by {}{}>",
            count(self.inner.classifier().len(), "class"),
            self.inner.score_name(),
            if self.is_calibrated() {
                ", calibrated"
            } else {
                ""
            }
        )
    }
}

/// An image of a Python iterator, or the exception that it raised.
struct StreamedImage(Result<InputImage, Option<PyErr>>);

impl ImageSource for StreamedImage {
    fn read_tensor(
        &mut self,
        preprocessing: &Preprocessing,
        out: &mut [f32],
    ) -> Result<(), ImageError> {
        match &mut self.0 {
            Ok(image) => image.read_tensor(preprocessing, out),
            Err(_) => Err(ImageError::NotFound {
                origin: clipn::image::ImageOrigin::Memory,
            }),
        }
    }

    fn bytes_in_memory(&self) -> usize {
        self.0.as_ref().map_or(0, ImageSource::bytes_in_memory)
    }
}

/// Images that could not be converted, by index, with their exceptions.
type FailedImages = Vec<(usize, PyErr)>;

/// Converts a list of images. With `keep_errors`, those that cannot be converted are returned too.
fn extract_each(
    images: &Bound<'_, PyAny>,
    keep_errors: bool,
) -> PyResult<(Vec<StreamedImage>, FailedImages)> {
    let (mut all, mut failed) = (Vec::new(), Vec::new());
    for (index, image) in images.try_iter()?.enumerate() {
        match InputImage::extract(&image?) {
            Ok(image) => all.push(StreamedImage(Ok(image))),
            Err(error) if keep_errors => {
                failed.push((index, error));
                all.push(StreamedImage(Err(None)));
            }
            Err(error) => return Err(error),
        }
    }
    Ok((all, failed))
}

/// Draws images from a Python iterator, on the threads that need them.
struct PythonImages {
    iterator: Py<PyIterator>,
    is_finished: bool,
}

impl Iterator for PythonImages {
    type Item = StreamedImage;

    fn next(&mut self) -> Option<StreamedImage> {
        if self.is_finished {
            return None;
        }
        let next = Python::try_attach(|py| {
            let item = self.iterator.bind(py).clone().next()?;
            let has_failed = item.is_err();
            // An image that cannot be converted does not end the stream, but an exception of the iterator does.
            let image = item.and_then(|item| InputImage::extract(&item));
            Some((StreamedImage(image.map_err(Some)), has_failed))
        });
        let (image, has_failed) = next.flatten().unzip();
        self.is_finished = has_failed.unwrap_or(true);
        image
    }
}

/// Iterator over the detections of a stream, in order.
#[pyclass(frozen, module = "clipn")]
pub(crate) struct DetectionStream {
    batches: Mutex<Option<DetectMany<StreamedImage>>>,
    /// Number of images that were returned.
    returned: AtomicUsize,
    keep_errors: bool,
}

impl DetectionStream {
    fn next(&self) -> Option<(StreamedImage, Result<InnerDetection, DetectorError>)> {
        let mut batches = self.batches.lock().unwrap_or_else(PoisonError::into_inner);
        batches.as_mut()?.next()
    }
}

#[pymethods]
impl DetectionStream {
    fn __iter__(this: Py<Self>) -> Py<Self> {
        this
    }

    fn __next__(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        py.check_signals()?;
        process::check()?;
        let Some((image, outcome)) = py.detach(|| self.next()) else {
            py.check_signals()?;
            return Err(PyStopIteration::new_err(()));
        };
        let index = self.returned.fetch_add(1, Ordering::Relaxed);
        let (name, error) = match image.0 {
            Ok(image) => (image.name(), None),
            Err(error) => (None, error),
        };
        let error = match (error, outcome) {
            (Some(error), _) => error,
            (None, Ok(detection)) => {
                return Ok(Py::new(py, Detection::new(detection, name))?.into_any());
            }
            (None, Err(error)) => match error {
                DetectorError::Item(error) => item_exception(index, name.as_deref(), error),
                DetectorError::Image(error) => item_exception(index, name.as_deref(), error.into()),
                other => crate::errors::IntoException::into_exception(other),
            },
        };
        if self.keep_errors {
            return Ok(error.into_value(py).into_any());
        }
        Err(error)
    }

    /// Stops the work.
    fn close(&self, py: Python<'_>) {
        // Threads may wait for the GIL.
        py.detach(|| {
            let batches = self
                .batches
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .take();
            drop(batches);
        });
    }
}

impl Drop for DetectionStream {
    fn drop(&mut self) {
        let batches = self
            .batches
            .get_mut()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        // Threads may wait for the GIL, which the thread that drops this has.
        let _ = Python::try_attach(|py| py.detach(|| drop(batches)));
    }
}
