//! Thresholds.

use std::path::{Path, PathBuf};

use clipn::calibration::{
    CalibrationSample, CalibrationSettings, ComparisonSettings, ScoreColumn, calibrate,
    check_calibration_set, compare_scores,
};
use clipn::dataset::{ImageFolder, ListedClasses};
use clipn::detector::Detector;
use clipn::inference::{ItemError, map_features};
use clipn::progress::Progress;
use clipn::scores::{LogitsRow, MaxLogit, Score, by_name, stable};
use pyo3::prelude::*;

use crate::arrays::{Floats, Matrix};
use crate::bundle::Bundle;
use crate::calibration::Calibration;
use crate::errors::{IntoException, OrRaise, invalid};
use crate::images::{InputImage, extract_all};
use crate::interrupt::{Reporter, run};
use crate::model::{Failed, Model, item_exception, parallelism};

fn settings(
    score: &'static dyn Score,
    target_tpr: f64,
    choice: &str,
    confidence: f64,
) -> PyResult<CalibrationSettings> {
    Ok(CalibrationSettings::default()
        .with_score(score)
        .with_target_tpr(target_tpr)
        .with_method(choice.parse().or_raise()?)
        .with_confidence(confidence))
}

/// Chooses a threshold from scores in their published unit.
#[pyfunction]
pub(crate) fn calibrate_scores(
    id: &Bound<'_, PyAny>,
    ood: Option<&Bound<'_, PyAny>>,
    score: &str,
    target_tpr: f64,
    choice: &str,
    confidence: f64,
) -> PyResult<Calibration> {
    let score = by_name(score).or_raise()?;
    let values = |array: &Bound<'_, PyAny>| -> PyResult<Vec<f64>> {
        let values = Floats::extract(array, "scores")?.to_f64()?;
        Ok(values
            .into_iter()
            .map(|value| score.to_stable(value))
            .collect())
    };
    let (id, ood) = (
        values(id)?,
        ood.map(values).transpose()?.unwrap_or_default(),
    );
    let settings = settings(score, target_tpr, choice, confidence)?;
    Ok(Calibration {
        inner: calibrate(&id, &ood, &settings).or_raise()?,
    })
}

/// A scored image: its sample, and the values of all candidates.
type Scored = (CalibrationSample, Vec<f64>);

fn score_row(candidates: &[&'static dyn Score], row: LogitsRow<'_, f32>) -> Scored {
    let values: Vec<f64> = candidates.iter().map(|score| stable(*score, row)).collect();
    let representative = candidates.iter().find(|score| score.uses_no());
    let sample = CalibrationSample::from_logits(*representative.unwrap_or(&candidates[0]), row);
    (sample, values)
}

/// Images or features to calibrate on.
enum Input {
    Images {
        images: Vec<InputImage>,
        /// Class folder of each image.
        folders: Vec<Option<String>>,
    },
    Features(Vec<f32>),
}

impl Input {
    fn extract(object: &Bound<'_, PyAny>, class_names: &[String], dim: usize) -> PyResult<Self> {
        if let Ok(path) = object.extract::<PathBuf>()
            && path.is_dir()
        {
            return Self::directory(&path, class_names);
        }
        if object.hasattr("dtype")? {
            let matrix = Matrix::extract(object, "features")?;
            let found = matrix.shape()[1];
            if found != dim {
                return Err(invalid(format!(
                    "expected features of dimension {dim}, got {found}"
                )));
            }
            return Ok(Self::Features(matrix.to_f32()?));
        }
        Ok(Self::Images {
            images: extract_all(object)?,
            folders: Vec::new(),
        })
    }

    fn directory(path: &Path, class_names: &[String]) -> PyResult<Self> {
        let set = ImageFolder::read(path).and_then(|folder| folder.unlabeled("images"));
        let set = set.map_err(|error| {
            let message = clipn::error::chain_in_one_line(&error);
            crate::errors::exception("ImageError", &message, error.hint())
        })?;
        let folder = |file: &Path| {
            let mut parts = file.strip_prefix(path).ok()?.components();
            let first = parts.next()?.as_os_str().to_string_lossy().into_owned();
            parts.next().map(|_| first)
        };
        let folders: Vec<Option<String>> = set
            .samples
            .iter()
            .map(|sample| folder(&sample.path))
            .collect();
        let listed = ListedClasses::from(class_names.to_vec());
        let named = folders
            .iter()
            .map(|folder| {
                let name = folder.clone()?;
                let class = listed.classes_of_directories(std::slice::from_ref(&name));
                let class = class.first().copied().flatten();
                Some(
                    class
                        .and_then(|class| class_names.get(class).cloned())
                        .unwrap_or(name),
                )
            })
            .collect();
        let paths = set.samples.into_iter();
        Ok(Self::Images {
            images: paths.map(|sample| InputImage::Path(sample.path)).collect(),
            folders: named,
        })
    }

    /// Scores all images; returns the exceptions' texts of those that cannot be read too.
    fn scored(
        self,
        py: Python<'_>,
        detector: &Detector,
        candidates: &[&'static dyn Score],
        workers: Option<usize>,
        reporter: &Reporter,
    ) -> PyResult<(Vec<Scored>, Vec<String>)> {
        match self {
            Self::Features(values) => {
                let rows = py.detach(|| {
                    map_features(detector.classifier(), &values, |_, row| {
                        row.map(|row| score_row(candidates, row))
                    })
                });
                let rows = rows.or_raise()?.into_iter().enumerate();
                let rows =
                    rows.map(|(index, row)| row.map_err(|error| item_exception(index, &[], error)));
                Ok((rows.collect::<PyResult<_>>()?, Vec::new()))
            }
            Self::Images { images, folders } => {
                let (mut scored, mut skipped) = (Vec::new(), Vec::new());
                let outcome = run(py, reporter, || -> Result<(), Failed> {
                    reporter.begin("scoring images", images.len() as u64);
                    let pipeline = detector
                        .pipeline_for(candidates)?
                        .with_parallelism(parallelism(16, workers))
                        .with_progress(reporter);
                    let mut index = 0;
                    pipeline.run(
                        images,
                        |_, row| row.map(|row| score_row(candidates, row)),
                        |row: Result<Scored, ItemError>| -> Result<(), Failed> {
                            match row {
                                Ok((sample, values)) => {
                                    let folder = folders.get(index).cloned().flatten();
                                    scored.push((CalibrationSample { folder, ..sample }, values));
                                }
                                Err(error) => skipped.push(clipn::error::chain_in_one_line(&error)),
                            }
                            index += 1;
                            Ok(())
                        },
                    )
                })?;
                outcome.map_err(|error| error.into_py_err(&[]))?;
                Ok((scored, skipped))
            }
        }
    }
}

/// The figures of a comparison as JSON.
type ComparisonJson = Option<String>;

/// Calibrates a bundle; returns it with the images that could not be read, and the comparison of scores.
#[pyfunction]
pub(crate) fn calibrate_bundle(
    py: Python<'_>,
    bundle: &Bundle,
    id: &Bound<'_, PyAny>,
    ood: Option<&Bound<'_, PyAny>>,
    labels: Option<Vec<Option<usize>>>,
    model: Option<&Model>,
    score: Option<&str>,
    target_tpr: f64,
    choice: &str,
    confidence: f64,
    description: &str,
    workers: Option<usize>,
    progress: Option<Py<PyAny>>,
) -> PyResult<(Bundle, Vec<String>, ComparisonJson)> {
    let classifier = bundle.inner.classifier();
    let names = classifier.class_names();
    let id = Input::extract(id, names, classifier.dim())?;
    let ood = ood
        .map(|ood| Input::extract(ood, names, classifier.dim()))
        .transpose()?;
    let detector = match model {
        Some(model) => Detector::new(bundle.inner.clone(), &model.weights),
        None if bundle.inner.has_image_tower() => Detector::from_bundle(bundle.inner.clone()),
        None => Detector::for_features_of(bundle.inner.clone()),
    };
    let detector = detector.or_raise()?;
    let inputs = detector.score_inputs();
    let default: &'static dyn Score = inputs.default_rule().map_or(&MaxLogit, |rule| rule.score());
    let is_comparison = score == Some("best") && ood.is_some();
    let candidates = match score {
        Some("best") if is_comparison => inputs.available(),
        Some("best") | None => vec![default],
        Some(name) => vec![by_name(name).or_raise()?],
    };
    for score in &candidates {
        inputs.check(*score).or_raise()?;
    }
    let reporter = Reporter::new(progress);
    let (mut id, mut skipped) = id.scored(py, &detector, &candidates, workers, &reporter)?;
    let (ood, more) = match ood {
        Some(ood) => ood.scored(py, &detector, &candidates, workers, &reporter)?,
        None => (Vec::new(), Vec::new()),
    };
    skipped.extend(more);
    if let Some(labels) = labels {
        if labels.len() != id.len() {
            let (rows, found) = (id.len(), labels.len());
            return Err(invalid(format!("expected {rows} labels, got {found}")));
        }
        for ((sample, _), label) in id.iter_mut().zip(labels) {
            sample.folder = label.and_then(|label| names.get(label).cloned());
        }
    }
    let (index, comparison) = if is_comparison {
        best(&candidates, &id, &ood, target_tpr)?
    } else {
        (0, None)
    };
    let score = candidates[index];
    for (sample, values) in &mut id {
        sample.score = values[index];
        if !score.uses_no() {
            sample.agreement = f64::NAN;
        }
    }
    let values = |images: &[Scored]| {
        images
            .iter()
            .map(|(_, values)| values[index])
            .collect::<Vec<_>>()
    };
    let settings = settings(score, target_tpr, choice, confidence)?;
    let samples: Vec<_> = id.iter().map(|(sample, _)| sample.clone()).collect();
    let warnings = check_calibration_set(&samples, names, &settings);
    let calibration = calibrate(&values(&id), &values(&ood), &settings)
        .map_err(IntoException::into_exception)?
        .with_description(description)
        .with_warnings(warnings);
    let inner = bundle.inner.clone().with_calibration(calibration);
    Ok((Bundle { inner }, skipped, comparison))
}

/// Index of the best candidate, and the comparison.
fn best(
    candidates: &[&'static dyn Score],
    id: &[Scored],
    ood: &[Scored],
    target_tpr: f64,
) -> PyResult<(usize, ComparisonJson)> {
    let column = |(index, score): (usize, &&'static dyn Score)| {
        let values = |images: &[Scored]| images.iter().map(|(_, values)| values[index]).collect();
        ScoreColumn {
            score: *score,
            id: values(id),
            ood: values(ood),
        }
    };
    let columns: Vec<ScoreColumn> = candidates.iter().enumerate().map(column).collect();
    let finite: Vec<ScoreColumn> = columns
        .into_iter()
        .filter(|column| {
            column
                .id
                .iter()
                .chain(&column.ood)
                .all(|value| value.is_finite())
        })
        .collect();
    let settings = ComparisonSettings::default().with_target_tpr(target_tpr);
    let comparison = compare_scores(&finite, &settings).or_raise()?;
    let best = comparison.best().score;
    let index = candidates.iter().position(|candidate| *candidate == best);
    let json = serde_json::to_string(&comparison).map_err(|error| invalid(error.to_string()))?;
    Ok((index.unwrap_or_default(), Some(json)))
}
