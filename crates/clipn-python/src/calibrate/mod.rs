//! Thresholds.

use clipn::calibration::{
    CalibrationSettings, ComparisonSettings, ScoreColumn, calibrate, check_calibration_set,
    compare_scores,
};
use clipn::classifier::Classifier;
use clipn::detector::Detector;
use clipn::error::chain_in_one_line;
use clipn::fitted::{FitError, FitSettings, Fitted, ScoreFit};
use clipn::fitting::{ClassifierFitter, FitSplit, FittingError, round_bank};
use clipn::scores::{FittedScoreSet, Score, ScoreInputs, by_name};
use pyo3::prelude::*;

use crate::arrays::Floats;
use crate::bundle::Bundle;
use crate::calibration::Calibration;
use crate::calibration_images::{Input, Scored};
use crate::errors::{IntoException, OrRaise, exception, invalid, warn};
use crate::interrupt::Reporter;
use crate::model::Model;

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

/// The figures of a comparison as JSON.
type ComparisonJson = Option<String>;

/// Scores to fit to a part of the in-distribution images.
struct FitPlan {
    scores: FittedScoreSet,
    settings: FitSettings,
    fraction: f64,
    /// Whether the score was named: one that cannot be fitted is then an error.
    is_strict: bool,
}

impl FitPlan {
    /// What to fit; `None` if no candidate is fitted to images. A comparison of scores includes all that are if
    /// there are images enough for the fit and, apart from these, for the comparison.
    fn new(
        candidates: &[&'static dyn Score],
        comparison: Option<&ComparisonSettings>,
        counts: [usize; 2],
        (settings, fraction): (FitSettings, f64),
    ) -> Option<Self> {
        let named: FittedScoreSet = candidates
            .iter()
            .filter_map(|score| score.fitted())
            .collect();
        let plan = |scores, is_strict| Self {
            scores,
            settings,
            fraction,
            is_strict,
        };
        if !named.is_empty() {
            return Some(plan(named, true));
        }
        FitSplit::is_possible(comparison?, counts, fraction)
            .then(|| plan(FittedScoreSet::all(), false))
    }

    /// Fits the scores to the images of a split, and warns of what is unusual.
    fn fit(
        &self,
        py: Python<'_>,
        classifier: &Classifier,
        (features, classes): (&[f32], &[Option<usize>]),
    ) -> PyResult<ScoreFit> {
        let fitted = py.detach(|| -> Result<Fitted, FittingError> {
            let mut fitter = ClassifierFitter::new(classifier, self.scores, self.settings)?;
            for (row, class) in features.chunks_exact(classifier.dim()).zip(classes) {
                fitter.add(row, *class)?;
            }
            fitter.finish()
        });
        let Fitted { fit, left_out, .. } = fitted.or_raise()?;
        for (score, error) in left_out {
            let error = chain_in_one_line(&error);
            if self.is_strict {
                return Err(exception("CalibrationError", &error, None));
            }
            warn(py, &format!("left out {}: {error}", score.as_str()))?;
        }
        for message in &fit.summary().warnings {
            warn(py, &message.to_string())?;
        }
        round_bank(fit, classifier).or_raise()
    }
}

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
    fit_fraction: f64,
    fit_settings: Option<&str>,
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
    if let Some(labels) = &labels
        && labels.len() != id.len()
    {
        let (images, found) = (id.len(), labels.len());
        return Err(invalid(format!("expected {images} labels, got {found}")));
    }
    if !(fit_fraction > 0.0 && fit_fraction < 1.0) {
        return Err(invalid(format!(
            "expected a fit_fraction between 0 and 1, got {fit_fraction}"
        )));
    }
    let fit_settings = match fit_settings {
        Some(text) => text
            .parse()
            .map_err(|error: FitError| invalid(error.to_string()))?,
        None => FitSettings::default(),
    };
    let detector = match model {
        Some(model) => Detector::new(bundle.inner.clone(), &model.weights),
        None if bundle.inner.has_image_tower() => Detector::from_bundle(bundle.inner.clone()),
        None => Detector::for_features_of(bundle.inner.clone()),
    };
    // Without the scores that an earlier calibration fitted.
    let unfitted = classifier.clone().with_fit(None).or_raise()?;
    let mut detector = detector
        .and_then(|detector| detector.with_classifier(unfitted))
        .or_raise()?;
    let inputs = detector.score_inputs();
    let default = bundle.inner.default_score(&inputs);
    let comparison = ComparisonSettings::default().with_target_tpr(target_tpr);
    let comparison = (score == Some("best") && ood.is_some()).then_some(comparison);
    let mut candidates = match score {
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
        &candidates,
        comparison.as_ref(),
        counts,
        (fit_settings, fit_fraction),
    );
    let inputs = ScoreInputs {
        fitted: plan.as_ref().map_or(inputs.fitted, |plan| plan.scores),
        ..inputs
    };
    for score in &candidates {
        inputs.check(*score).or_raise()?;
    }
    let reporter = Reporter::new(progress);
    let of_labels = |index: usize| labels.as_ref().and_then(|labels| labels[index]);
    let mut held_out = None;
    let (mut id, mut skipped) = match &plan {
        None => id.scored(py, &detector, &candidates, workers, &reporter)?,
        Some(plan) => {
            let (rows, skipped) = id.features(py, &detector, workers, &reporter)?;
            let of_folder = |folder: &Option<String>| {
                let folder = folder.as_ref()?;
                names.iter().position(|name| name == folder)
            };
            let classes = rows.indices.iter().zip(&rows.folders);
            let classes: Vec<Option<usize>> = classes
                .map(|(&index, folder)| of_labels(index).or_else(|| of_folder(folder)))
                .collect();
            let split = FitSplit::new(&classes, plan.fraction, plan.settings.seed);
            let (features, of_features) =
                split.rows_to_fit(&rows.features, &classes, classifier.dim());
            let fit = plan.fit(py, detector.classifier(), (&features, &of_features))?;
            let fitted = detector.classifier().clone().with_fit(fit).or_raise()?;
            detector = detector.with_classifier(fitted).or_raise()?;
            if comparison.is_some() {
                candidates = detector.classifier().score_inputs().available();
            }
            held_out = Some(split.threshold);
            (
                rows.scored(py, detector.classifier(), &candidates)?,
                skipped,
            )
        }
    };
    let (mut ood, more) = match ood {
        Some(ood) => ood.scored(py, &detector, &candidates, workers, &reporter)?,
        None => (Vec::new(), Vec::new()),
    };
    skipped.extend(more);
    for image in &mut id {
        if let Some(label) = of_labels(image.index) {
            image.sample.folder = names.get(label).cloned();
        }
    }
    let held_out: Option<Vec<Scored>> =
        held_out.map(|indices| indices.into_iter().map(|index| id[index].clone()).collect());
    let (index, comparison) = match comparison {
        Some(settings) => best(
            &candidates,
            held_out.as_ref().unwrap_or(&id),
            &ood,
            &settings,
        )?,
        None => (0, None),
    };
    let score = candidates[index];
    let mut fit = None;
    if let (Some(fitted), Some(held_out)) = (score.fitted(), held_out) {
        fit = detector
            .classifier()
            .fit()
            .map(|fit| fit.clone().only(fitted));
        id = held_out;
    }
    for image in id.iter_mut().chain(&mut ood) {
        image.sample.choose(score, image.values[index]);
    }
    let values =
        |images: &[Scored]| -> Vec<f64> { images.iter().map(|image| image.sample.score).collect() };
    let settings = settings(score, target_tpr, choice, confidence)?;
    let samples: Vec<_> = id.iter().map(|image| image.sample.clone()).collect();
    let warnings = check_calibration_set(&samples, names, &settings);
    let calibration = calibrate(&values(&id), &values(&ood), &settings)
        .map_err(IntoException::into_exception)?
        .with_description(description)
        .with_warnings(warnings);
    let classifier = detector.classifier().clone().with_fit(fit).or_raise()?;
    let inner = bundle
        .inner
        .clone()
        .with_classifier(classifier)
        .with_calibration(calibration);
    Ok((Bundle { inner }, skipped, comparison))
}

/// Index of the best candidate, and the comparison.
fn best(
    candidates: &[&'static dyn Score],
    id: &[Scored],
    ood: &[Scored],
    settings: &ComparisonSettings,
) -> PyResult<(usize, ComparisonJson)> {
    let column = |(index, score): (usize, &&'static dyn Score)| {
        let values = |images: &[Scored]| images.iter().map(|image| image.values[index]).collect();
        ScoreColumn {
            score: *score,
            id: values(id),
            ood: values(ood),
        }
    };
    let is_finite = |column: &ScoreColumn| {
        let mut values = column.id.iter().chain(&column.ood);
        values.all(|value| value.is_finite())
    };
    let columns = candidates.iter().enumerate().map(column);
    let finite: Vec<ScoreColumn> = columns.filter(is_finite).collect();
    let comparison = compare_scores(&finite, settings).or_raise()?;
    let best = comparison.best().score;
    let index = candidates.iter().position(|candidate| *candidate == best);
    let json = serde_json::to_string(&comparison).map_err(|error| invalid(error.to_string()))?;
    Ok((index.unwrap_or_default(), Some(json)))
}
