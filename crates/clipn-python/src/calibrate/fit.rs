//! Scores that are fitted to a part of the in-distribution images; the threshold comes from the others.

use clipn::calibration::ComparisonSettings;
use clipn::classifier::Classifier;
use clipn::error::chain_in_one_line;
use clipn::fitted::{FitError, FitSettings, Fitted, ScoreFit};
use clipn::fitting::{ClassifierFitter, FitSplit, FittingError, round_bank};
use clipn::scores::{FittedScoreSet, Score};
use pyo3::prelude::*;

use crate::errors::{OrRaise, exception, invalid, warn};

/// Settings of a fit as text, and the fraction of images for it, checked.
pub(super) fn fit_settings_of(
    fraction: Option<f64>,
    settings: Option<&str>,
) -> PyResult<Option<FitSettings>> {
    if let Some(fraction) = fraction
        && !(fraction > 0.0 && fraction < 1.0)
    {
        return Err(invalid(format!(
            "expected a fit_fraction between 0 and 1, got {fraction}"
        )));
    }
    let settings = settings.map(str::parse).transpose();
    settings.map_err(|error: FitError| invalid(error.to_string()))
}

/// Fraction of the in-distribution images that scores are fitted to by default.
const DEFAULT_FRACTION: f64 = 0.5;

/// Scores to fit to a part of the in-distribution images.
pub(super) struct FitPlan {
    pub(super) scores: FittedScoreSet,
    pub(super) settings: FitSettings,
    pub(super) fraction: f64,
    /// Whether the score was named: one that cannot be fitted is then an error.
    is_strict: bool,
}

impl FitPlan {
    /// What to fit; `None` if no candidate is fitted to images. A comparison of scores includes all that are if
    /// there are images enough for the fit and, apart from these, for the comparison. Settings without a score that
    /// reads them are an error, in a comparison a warning.
    pub(super) fn new(
        py: Python<'_>,
        candidates: &[&'static dyn Score],
        comparison: Option<&ComparisonSettings>,
        counts: [usize; 2],
        (settings, given): (Option<FitSettings>, Option<f64>),
    ) -> PyResult<Option<Self>> {
        let fraction = given.unwrap_or(DEFAULT_FRACTION);
        let named: FittedScoreSet = candidates
            .iter()
            .filter_map(|score| score.fitted())
            .collect();
        let plan = |scores, is_strict| {
            Some(Self {
                scores,
                settings: settings.unwrap_or_default(),
                fraction,
                is_strict,
            })
        };
        if !named.is_empty() {
            return Ok(plan(named, true));
        }
        let all = FittedScoreSet::all();
        let Some(comparison) = comparison else {
            let unused = match (settings, given) {
                (None, None) => return Ok(None),
                (Some(_), _) => "fit_settings",
                (None, Some(_)) => "fit_fraction",
            };
            return Err(exception(
                "InvalidArgumentError",
                &format!("{unused} without a score that is fitted to images"),
                Some(&format!("give score= one of {all}")),
            ));
        };
        match FitSplit::problem(comparison, counts, fraction) {
            None => Ok(plan(all, false)),
            Some(problem) => {
                if settings.is_some() {
                    warn(py, &format!("left out {all}: {problem}"))?;
                }
                Ok(None)
            }
        }
    }

    /// Fits the scores to the images of a split, and warns of what is unusual.
    pub(super) fn fit(
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
