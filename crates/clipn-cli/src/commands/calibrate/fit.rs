//! Scores that are fitted to a part of the in-distribution images; the threshold comes from the others.

use std::collections::BTreeMap;

use clipn::calibration::ComparisonSettings;
use clipn::classifier::Classifier;
use clipn::fitted::ScoreFit;
use clipn::fitting::round_bank;
use clipn::random::{RandomSource, Xoshiro256};
use clipn::scores::{FittedScoreSet, Score};

use super::args::CalibrateArgs;
use super::score::FeatureRows;
use crate::common::error::CliError;
use crate::common::fitting::{FitPlan, fit_rows, fitted_scores};
use crate::common::messages::status;

/// Images that scores are fitted to, and those that the threshold comes from; in ascending order.
#[derive(Debug, PartialEq)]
pub(super) struct Split {
    pub fit: Vec<usize>,
    pub threshold: Vec<usize>,
}

impl Split {
    /// Splits images at random, each class in the same proportion.
    pub(super) fn new(classes: &[Option<usize>], fraction: f64, seed: u64) -> Self {
        let mut groups: BTreeMap<Option<usize>, Vec<usize>> = BTreeMap::new();
        for (index, class) in classes.iter().enumerate() {
            groups.entry(*class).or_default().push(index);
        }
        let mut split = Self {
            fit: Vec::new(),
            threshold: Vec::new(),
        };
        let mut random = Xoshiro256::new(seed);
        let mut seen = 0;
        for (_, mut group) in groups {
            random.shuffle(&mut group);
            seen += group.len();
            // Rounding the total rather than each class, so that small classes do not add up.
            let wanted = (fraction * seen as f64).round() as usize;
            let count = wanted.saturating_sub(split.fit.len()).min(group.len());
            let (fit, threshold) = group.split_at(count);
            split.fit.extend(fit);
            split.threshold.extend(threshold);
        }
        split.fit.sort_unstable();
        split.threshold.sort_unstable();
        split
    }
}

/// Smallest number of images that scores are fitted to for a comparison. With fewer, the fit is noise.
const MIN_FIT_IMAGES: usize = 100;

/// What to fit; `None` if no candidate is fitted to images. A comparison includes all such scores if there
/// are images enough for the fit and, apart from these, for the comparison.
pub(super) fn plan(
    args: &CalibrateArgs,
    candidates: &[&'static dyn Score],
    comparison: Option<&ComparisonSettings>,
    [id, ood]: [usize; 2],
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
        return Ok(plan(named, true));
    }
    if let Some(comparison) = comparison {
        let fitted = (args.fit_fraction * id as f64).round() as usize;
        let has_enough = comparison.check_counts(id - fitted.min(id), ood).is_ok();
        if fitted >= MIN_FIT_IMAGES && has_enough {
            return Ok(plan(FittedScoreSet::all(), false));
        }
        status(format_args!(
            "left out {}: they are fitted to at least {MIN_FIT_IMAGES} images, got {fitted}",
            FittedScoreSet::all()
        ));
        return Ok(None);
    }
    if args.fit.fit_settings.is_some() {
        return Err(CliError::usage_with_hint(
            "--fit-settings without a score that is fitted to images",
            format!("give --score with one of {}", FittedScoreSet::all()),
        ));
    }
    Ok(None)
}

/// Fits scores to the images of a split, with the bank as the bundle stores it.
pub(super) fn fit(
    rows: &FeatureRows,
    classifier: &Classifier,
    split: &Split,
    plan: FitPlan,
) -> Result<ScoreFit, CliError> {
    let dim = classifier.dim();
    let row = |&index: &usize| rows.features[index * dim..][..dim].iter().copied();
    let features: Vec<f32> = split.fit.iter().flat_map(row).collect();
    let classes: Vec<Option<usize>> = split.fit.iter().map(|i| rows.classes[*i]).collect();
    status(format_args!(
        "split the {} in-distribution images at random: {} to fit scores to, {} for the threshold",
        rows.classes.len(),
        split.fit.len(),
        split.threshold.len()
    ));
    Ok(round_bank(
        fit_rows(classifier, &features, &classes, plan)?,
        classifier,
    )?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_class_is_split_in_proportion() {
        let classes: Vec<Option<usize>> = (0..100)
            .map(|i| {
                if i < 40 {
                    Some(0)
                } else {
                    Some(i % 3).filter(|c| *c > 0)
                }
            })
            .collect();
        let split = Split::new(&classes, 0.5, 0);
        assert_eq!((split.fit.len(), split.threshold.len()), (50, 50));
        let of = |part: &[usize], class| part.iter().filter(|i| classes[**i] == class).count();
        for class in [None, Some(0), Some(1), Some(2)] {
            let (fit, threshold) = (of(&split.fit, class), of(&split.threshold, class));
            assert!(
                fit.abs_diff(threshold) <= 1,
                "{class:?}: {fit} and {threshold}"
            );
        }
        let mut all = [split.fit.clone(), split.threshold.clone()].concat();
        all.sort_unstable();
        assert_eq!(all, (0..100).collect::<Vec<_>>());
        assert_eq!(split, Split::new(&classes, 0.5, 0));
        assert_ne!(split, Split::new(&classes, 0.5, 1));
        assert_eq!(Split::new(&classes, 0.2, 0).fit.len(), 20);
    }
}
