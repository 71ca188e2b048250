//! Thresholds.

mod fit;
mod input;
mod scored;

use clipn::calibration::{
    CalibrationSettings, ComparisonSettings, calibrate, check_calibration_set,
};
use clipn::detector::Detector;
use clipn::scores::{Score, ScoreInputs, by_name};
use pyo3::prelude::*;

use crate::arrays::Floats;
use crate::bundle::Bundle;
use crate::calibration::Calibration;
use crate::errors::{IntoException, OrRaise, invalid, warn};
use crate::interrupt::Reporter;
use crate::model::Model;
use crate::process;
use fit::{FitPlan, fit_settings_of};
use input::{Input, Scored};
use scored::ScoredImages;

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
        // Sums of probabilities in f32 exceed 1 a little.
        let (range, expected) = if score.is_probability() {
            (0.0..=1.0 + 1e-6, "from 0 to 1")
        } else {
            (f64::MIN..=f64::MAX, "that are finite")
        };
        if let Some(index) = values.iter().position(|value| !range.contains(value)) {
            let (name, value) = (score.name(), values[index]);
            return Err(invalid(format!(
                "expected scores of `{name}` {expected}, got {value} at index {index}"
            )));
        }
        let stable: Vec<f64> = values.iter().map(|&value| score.to_stable(value)).collect();
        // Thresholds are in log space, where a probability of 0 has no value.
        if let Some(index) = stable.iter().position(|value| !value.is_finite()) {
            let (name, value) = (score.name(), values[index]);
            return Err(invalid(format!(
                "expected scores of `{name}` above 0, which have a logarithm, got {value} at index {index}"
            )));
        }
        Ok(stable)
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

/// The figures of a comparison as JSON.
type ComparisonJson = Option<String>;

/// Calibrates a bundle; returns it with the images that were skipped and why, and the comparison of scores.
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
    fit_fraction: Option<f64>,
    fit_settings: Option<&str>,
    description: &str,
    workers: Option<usize>,
    progress: Option<Py<PyAny>>,
) -> PyResult<(Bundle, Vec<String>, ComparisonJson)> {
    process::check()?;
    let names = bundle.inner.classifier().class_names();
    let dim = bundle.inner.classifier().dim();
    let id = Input::extract(id, names, dim)?;
    let id = match labels {
        Some(labels) => id.with_labels(&labels, names)?,
        None => id,
    };
    let ood = ood.map(|ood| Input::extract(ood, names, dim)).transpose()?;
    let fit_settings = fit_settings_of(fit_fraction, fit_settings)?;
    let detector = unfitted_detector(bundle, model)?;
    let inputs = detector.score_inputs();
    let default = bundle.inner.default_score(&inputs);
    let comparison = ComparisonSettings::default().with_target_tpr(target_tpr);
    let comparison = (score == Some("best") && ood.is_some()).then_some(comparison);
    let candidates = match score {
        Some("best") if comparison.is_some() => inputs.available(),
        Some("best") => {
            let name = default.display_name();
            warn(
                py,
                &format!(
                    "cannot compare scores without out-of-distribution images: took the default, {name}"
                ),
            )?;
            vec![default]
        }
        None => vec![default],
        Some(name) => vec![by_name(name).or_raise()?],
    };
    let counts = [id.len(), ood.as_ref().map_or(0, Input::len)];
    if let Some(comparison) = &comparison {
        // Before minutes of encoding; unreadable images count later.
        comparison.check_counts(counts[0], counts[1]).or_raise()?;
    }
    let plan = FitPlan::new(
        py,
        &candidates,
        comparison.as_ref(),
        counts,
        (fit_settings, fit_fraction),
    )?;
    let inputs = ScoreInputs {
        fitted: plan.as_ref().map_or(inputs.fitted, |plan| plan.scores),
        ..inputs
    };
    for score in &candidates {
        inputs.check(*score).or_raise()?;
    }
    let reporter = Reporter::new(progress);
    let run = (workers, &reporter);
    let scored = ScoredImages::new(
        py,
        (id, ood),
        detector,
        (candidates, plan.as_ref()),
        comparison.is_some(),
        run,
    )?;
    let (score, comparison) = match &comparison {
        Some(settings) => {
            let comparison = scored.compare(py, settings)?;
            let json = serde_json::to_string(&comparison);
            let json = json.map_err(|error| invalid(error.to_string()))?;
            (comparison.best().score, Some(json))
        }
        None => (scored.candidates[0], None),
    };
    let skipped = scored.skipped.clone();
    let (id, ood, classifier) = scored.choose(score)?;
    let settings = settings(score, target_tpr, choice, confidence)?;
    let values =
        |images: &[Scored]| -> Vec<f64> { images.iter().map(|image| image.sample.score).collect() };
    let samples: Vec<_> = id.iter().map(|image| image.sample.clone()).collect();
    let warnings = check_calibration_set(&samples, names, &settings);
    let calibration = calibrate(&values(&id), &values(&ood), &settings)
        .map_err(IntoException::into_exception)?
        .with_description(description)
        .with_warnings(warnings);
    let inner = bundle
        .inner
        .clone()
        .with_classifier(classifier)
        .or_raise()?
        .with_calibration(calibration);
    Ok((Bundle { inner }, skipped, comparison))
}

/// The detector of a bundle, without the scores that an earlier calibration fitted.
fn unfitted_detector(bundle: &Bundle, model: Option<&Model>) -> PyResult<Detector> {
    let classifier = bundle.inner.classifier().clone();
    let unfitted = classifier.with_fit(None).or_raise()?;
    let detector = match model {
        Some(model) => Detector::new(bundle.inner.clone(), &model.weights),
        None if bundle.inner.has_image_tower() => Detector::from_bundle(bundle.inner.clone()),
        None => Detector::for_features_of(bundle.inner.clone()),
    };
    detector
        .and_then(|detector| detector.with_classifier(unfitted))
        .or_raise()
}
