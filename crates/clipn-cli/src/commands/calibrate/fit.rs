//! Scores that are fitted to a part of the in-distribution images; the threshold comes from the others.

use clipn::calibration::ComparisonSettings;
use clipn::classifier::Classifier;
use clipn::count::count;
use clipn::fitted::ScoreFit;
use clipn::fitting::{FitSplit, round_bank};
use clipn::scores::{FittedScoreSet, Score};

use super::args::CalibrateArgs;
use super::score::FeatureRows;
use crate::common::error::CliError;
use crate::common::fitting::{FitPlan, fit_rows, fitted_scores};
use crate::common::messages::{status, warning};

/// What to fit; `None` if no candidate is fitted to images. A comparison includes all such scores if there
/// are images enough for the fit and, apart from these, for the comparison.
pub(super) fn plan(
    args: &CalibrateArgs,
    candidates: &[&'static dyn Score],
    comparison: Option<&ComparisonSettings>,
    counts: [usize; 2],
) -> Result<Option<FitPlan>, CliError> {
    let settings = args.fit.fit_settings.unwrap_or_default();
    let plan = |scores, is_strict| {
        Some(FitPlan {
            scores,
            settings,
            is_strict,
        })
    };
    let named = fitted_scores(candidates);
    if !named.is_empty() {
        let (images, fraction) = (counts[0], args.fit_fraction());
        let fitted = FitSplit::images_to_fit(images, fraction);
        if fitted == 0 || fitted == images {
            return Err(CliError::usage_with_hint(
                format!(
                    "--fit-fraction {fraction}: {fitted} of {} to fit to, {} for the threshold",
                    count(images, "image"),
                    images - fitted
                ),
                "give another fraction, or more images",
            ));
        }
        return Ok(plan(named, true));
    }
    if let Some(comparison) = comparison {
        let all = FittedScoreSet::all();
        return Ok(
            match FitSplit::problem(comparison, counts, args.fit_fraction()) {
                None => plan(all, false),
                Some(problem) => {
                    status(format_args!("left out {all}: {problem}"));
                    None
                }
            },
        );
    }
    let unused = [
        ("--fit-settings", args.fit.fit_settings.is_some()),
        ("--fit-fraction", args.fit_fraction.is_some()),
    ];
    if let Some((flag, _)) = unused.iter().find(|(_, is_given)| *is_given) {
        return Err(CliError::usage_with_hint(
            format!("{flag} without a score that is fitted to images"),
            format!("give --score with one of {}", FittedScoreSet::all()),
        ));
    }
    Ok(None)
}

/// Leaves out of the fit what is in directories of no class, if others are in those of classes: its predicted
/// class would stand in for the label.
pub(super) fn leave_out_foreign(rows: &FeatureRows, split: &mut FitSplit) {
    let before = split.fit.len();
    split.fit.retain(|&index| !rows.is_foreign(index));
    let left_out = before - split.fit.len();
    if left_out > 0 {
        warning(format_args!(
            "no score is fitted to {} of directories that are no class",
            count(left_out, "image")
        ));
    }
}

/// Fits scores to the images of a split, with the bank as the bundle stores it.
pub(super) fn fit(
    rows: &FeatureRows,
    classifier: &Classifier,
    split: &FitSplit,
    plan: FitPlan,
) -> Result<ScoreFit, CliError> {
    let (features, classes) = split.rows_to_fit(&rows.features, &rows.classes, classifier.dim());
    status(format_args!(
        "split the {} at random: {} to fit scores to, {} for the threshold",
        count(rows.classes.len(), "in-distribution image"),
        split.fit.len(),
        split.threshold.len()
    ));
    Ok(round_bank(
        fit_rows(classifier, &features, &classes, plan)?,
        classifier,
    )?)
}
