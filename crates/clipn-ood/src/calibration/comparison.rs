use clipn_base::random::{RandomSource, Xoshiro256};
use serde::{Deserialize, Serialize};

use super::{CalibrationError, CalibrationSettings, min_images, threshold};
use crate::metrics::{RankedScores, ScoreSet};
use crate::scores::Score;

/// Minimum number of images of either set. With fewer, scores differ by chance only.
const MIN_IMAGES: usize = 10;

/// Values of one score for all images, a column of the comparison.
#[derive(Debug, Clone, PartialEq)]
pub struct ScoreColumn {
    /// Score.
    pub score: &'static dyn Score,
    /// Values of the in-distribution images, `[N]`, in the unit of [`Score::stable`].
    pub id: Vec<f64>,
    /// Values of the out-of-distribution images, `[M]`, in the same unit.
    pub ood: Vec<f64>,
}

impl ScoreColumn {
    /// Number of images with a value that is not finite. [`compare_scores`] takes columns without any.
    ///
    /// ```
    /// use clipn_ood::calibration::ScoreColumn;
    /// use clipn_ood::scores::Msp;
    ///
    /// let column = ScoreColumn { score: &Msp, id: vec![0.9, f64::NAN], ood: vec![0.5] };
    /// assert_eq!(column.non_finite(), 1);
    /// ```
    pub fn non_finite(&self) -> usize {
        let values = self.id.iter().chain(&self.ood);
        values.filter(|value| !value.is_finite()).count()
    }
}

/// Settings of [`compare_scores`].
///
/// ```
/// use clipn_ood::calibration::ComparisonSettings;
///
/// let settings = ComparisonSettings::default().with_target_tpr(0.9);
/// assert_eq!((settings.folds, settings.seed), (5, 0));
/// // Four of five folds choose the threshold, and 90 % needs nine images.
/// assert!(settings.check_counts(12, 10).is_ok());
/// assert!(settings.check_counts(11, 10).is_err());
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ComparisonSettings {
    /// Fraction of in-distribution images that the threshold keeps on average, between 0 and 1,
    /// exclusive. Default: 0.95.
    pub target_tpr: f64,
    /// Number of folds, at least 2. Default: 5.
    pub folds: usize,
    /// Seed of the random assignment of images to folds. Default: 0.
    pub seed: u64,
}

impl Default for ComparisonSettings {
    fn default() -> Self {
        Self {
            target_tpr: 0.95,
            folds: 5,
            seed: 0,
        }
    }
}

impl ComparisonSettings {
    /// Sets the fraction of in-distribution images to keep.
    #[must_use]
    pub fn with_target_tpr(self, target_tpr: f64) -> Self {
        Self { target_tpr, ..self }
    }

    /// Sets the number of folds.
    #[must_use]
    pub fn with_folds(self, folds: usize) -> Self {
        Self { folds, ..self }
    }

    /// Sets the seed of the assignment to folds.
    #[must_use]
    pub fn with_seed(self, seed: u64) -> Self {
        Self { seed, ..self }
    }

    /// Checks the settings, and that `id` in-distribution and `ood` out-of-distribution images
    /// suffice for them. Callers can check before they encode images.
    ///
    /// # Errors
    /// - [`CalibrationError::OutOfRange`] if the target is not between 0 and 1.
    /// - [`CalibrationError::TooFewFolds`] if there are fewer than two folds.
    /// - [`CalibrationError::TooFewImagesToCompare`] if a set has fewer than 10 images or fewer than
    ///   there are folds, or if the in-distribution images outside the largest fold are fewer than
    ///   [`min_images`].
    pub fn check_counts(&self, id: usize, ood: usize) -> Result<(), CalibrationError> {
        let calibration = self.calibration();
        calibration.validate()?;
        if self.folds < 2 {
            return Err(CalibrationError::TooFewFolds { folds: self.folds });
        }
        let minimum = MIN_IMAGES.max(self.folds);
        // The smallest n with n − ⌈n/folds⌉ ≥ m is m + ⌈m/(folds − 1)⌉.
        let training = min_images(&calibration);
        let with_held_out = training + training.div_ceil(self.folds - 1);
        for (set, images, required) in [
            (ScoreSet::Id, id, minimum.max(with_held_out)),
            (ScoreSet::Ood, ood, minimum),
        ] {
            if images < required {
                return Err(CalibrationError::TooFewImagesToCompare {
                    set,
                    images,
                    required,
                });
            }
        }
        Ok(())
    }

    /// Settings of the threshold of a fold.
    fn calibration(&self) -> CalibrationSettings {
        CalibrationSettings::default().with_target_tpr(self.target_tpr)
    }

    /// Fold of each of `count` images: a random permutation in folds whose sizes differ by at most
    /// one. Each set has a random stream of its own.
    fn assign(&self, set: ScoreSet, count: usize) -> Vec<usize> {
        let mut folds: Vec<usize> = (0..count).map(|index| index % self.folds).collect();
        Xoshiro256::keyed(self.seed, &[set as u64]).shuffle(&mut folds);
        folds
    }
}

/// Measures of one score in a [`ScoreComparison`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ComparedScore {
    /// Score.
    pub score: &'static dyn Score,
    /// Area under the ROC curve of all images, pooled over the folds, from 0 to 1.
    pub auroc: f64,
    /// Fraction of the out-of-distribution images that are rejected by the threshold of the folds
    /// that they are not in.
    pub rejected: f64,
    /// Fraction of the in-distribution images that are kept by the threshold of the folds that they
    /// are not in.
    pub kept: f64,
}

/// Scores compared by cross-validation, and the best of them; see [`compare_scores`].
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ScoreComparison {
    scores: Vec<ComparedScore>,
    #[serde(skip)]
    best: usize,
    #[serde(flatten)]
    settings: ComparisonSettings,
}

impl ScoreComparison {
    /// Measures of all scores, in the order of the columns.
    pub fn scores(&self) -> &[ComparedScore] {
        &self.scores
    }

    /// Index of the best score: the highest AUROC; of equal ones the highest fraction of rejected
    /// out-of-distribution images; of equal ones the first.
    pub fn best_index(&self) -> usize {
        self.best
    }

    /// Measures of the best score.
    pub fn best(&self) -> &ComparedScore {
        &self.scores[self.best]
    }

    /// Settings of the comparison.
    pub fn settings(&self) -> &ComparisonSettings {
        &self.settings
    }
}

/// Compares scores on the same in-distribution and out-of-distribution images by stratified
/// cross-validation.
///
/// For each fold, the in-distribution images of the *other* folds choose a threshold that keeps the
/// target on average ([`ThresholdMethod::OnAverage`](super::ThresholdMethod::OnAverage)). The
/// fractions kept and rejected are counted on the images of the fold. All scores share the folds.
///
/// The AUROC is pooled over the folds rather than a mean of folds. A score has no parameters that
/// are fitted to the training folds, so pooled it is that of all images, which is more precise and
/// does not depend on the seed.
///
/// The measures of the best score are slightly optimistic, because it is the best on these images.
///
/// ```
/// use clipn_ood::calibration::{ComparisonSettings, ScoreColumn, compare_scores};
/// use clipn_ood::scores::{MaxLogit, Msp};
///
/// let id: Vec<f64> = (0..40).map(|i| f64::from(i) + 10.0).collect();
/// let ood: Vec<f64> = (0..10).map(f64::from).collect();
/// let blind = ScoreColumn { score: &Msp, id: vec![0.5; 40], ood: vec![0.5; 10] };
/// let sharp = ScoreColumn { score: &MaxLogit, id, ood };
/// let comparison = compare_scores(&[blind, sharp], &ComparisonSettings::default())?;
/// assert_eq!(comparison.scores()[0].auroc, 0.5);
/// assert_eq!(comparison.best().score.name(), "maxlogit");
/// assert_eq!(comparison.best().rejected, 1.0);
/// # Ok::<(), clipn_ood::calibration::CalibrationError>(())
/// ```
///
/// # Errors
/// - [`CalibrationError::NoScores`] without columns.
/// - Same as [`ComparisonSettings::check_counts`] for the settings and the number of images.
/// - [`CalibrationError::ColumnLength`] if a column has another number of images than the first.
/// - [`CalibrationError::Metric`] if a value is not finite.
pub fn compare_scores(
    columns: &[ScoreColumn],
    settings: &ComparisonSettings,
) -> Result<ScoreComparison, CalibrationError> {
    let first = columns.first().ok_or(CalibrationError::NoScores)?;
    let (id_count, ood_count) = (first.id.len(), first.ood.len());
    settings.check_counts(id_count, ood_count)?;
    let folds = Folds {
        id: settings.assign(ScoreSet::Id, id_count),
        ood: settings.assign(ScoreSet::Ood, ood_count),
    };
    let mut scores = Vec::with_capacity(columns.len());
    for column in columns {
        for (set, expected, got) in [
            (ScoreSet::Id, id_count, column.id.len()),
            (ScoreSet::Ood, ood_count, column.ood.len()),
        ] {
            if expected != got {
                return Err(CalibrationError::ColumnLength {
                    score: column.score.name().to_owned(),
                    set,
                    expected,
                    got,
                });
            }
        }
        scores.push(folds.measure(column, settings)?);
    }
    let mut best = 0;
    for (index, score) in scores.iter().enumerate() {
        let key = |score: &ComparedScore| (score.auroc, score.rejected);
        if key(score) > key(&scores[best]) {
            best = index;
        }
    }
    Ok(ScoreComparison {
        scores,
        best,
        settings: *settings,
    })
}

/// Fold of each image.
struct Folds {
    id: Vec<usize>,
    ood: Vec<usize>,
}

impl Folds {
    fn measure(
        &self,
        column: &ScoreColumn,
        settings: &ComparisonSettings,
    ) -> Result<ComparedScore, CalibrationError> {
        // Rejects values that are not finite.
        let auroc = RankedScores::new(&column.id, &column.ood)?.auroc();
        let id = || column.id.iter().copied().zip(self.id.iter().copied());
        let ood = || column.ood.iter().copied().zip(self.ood.iter().copied());
        let (mut kept, mut rejected) = (0, 0);
        for fold in 0..settings.folds {
            let others = id().filter(|(_, other)| *other != fold);
            let mut training: Vec<f64> = others.map(|(value, _)| value).collect();
            training.sort_unstable_by(f64::total_cmp);
            let rank = threshold::rank(training.len(), &settings.calibration())?;
            let threshold = training[rank - 1];
            kept += id()
                .filter(|(value, of)| *of == fold && *value >= threshold)
                .count();
            rejected += ood()
                .filter(|(value, of)| *of == fold && *value < threshold)
                .count();
        }
        Ok(ComparedScore {
            score: column.score,
            auroc,
            rejected: rejected as f64 / column.ood.len() as f64,
            kept: kept as f64 / column.id.len() as f64,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scores::{Energy, MaxLogit, Mcm, Msp};

    fn column(score: &'static dyn Score, id: &[f64], ood: &[f64]) -> ScoreColumn {
        ScoreColumn {
            score,
            id: id.to_vec(),
            ood: ood.to_vec(),
        }
    }

    fn ascending(count: u32, from: f64) -> Vec<f64> {
        (0..count).map(|i| from + f64::from(i)).collect()
    }

    /// With 25 images and a target of 95 %, the threshold is the minimum of 20 training images.
    /// The one image at 0 is therefore rejected exactly if it is held out, whatever the seed; then
    /// the two out-of-distribution images of its fold are rejected too.
    #[test]
    fn the_threshold_comes_from_the_other_folds() {
        let mut id = vec![1.0; 25];
        id[17] = 0.0;
        for seed in 0..5 {
            let settings = ComparisonSettings::default().with_seed(seed);
            let columns = [column(&Msp, &id, &[0.5; 10])];
            let comparison = compare_scores(&columns, &settings).unwrap();
            let expected = ComparedScore {
                score: &Msp,
                auroc: 240.0 / 250.0,
                rejected: 0.2,
                kept: 0.96,
            };
            assert_eq!(comparison.scores(), [expected]);
        }
    }

    #[test]
    fn the_highest_auroc_wins_then_the_rejected_fraction_then_the_order() {
        let id = ascending(40, 0.0);
        let far: Vec<f64> = ascending(10, -20.0);
        let near: Vec<f64> = ascending(10, -5.0);
        let half: Vec<f64> = [[-9.0; 5], [99.0; 5]].concat();
        let compare = |columns: &[ScoreColumn]| {
            let comparison = compare_scores(columns, &ComparisonSettings::default()).unwrap();
            (comparison.best_index(), comparison)
        };
        let (best, _) = compare(&[
            column(&Msp, &id, &half),
            column(&MaxLogit, &id, &near),
            column(&Energy, &id, &far),
            column(&Mcm, &id, &far),
        ]);
        assert_eq!(best, 2);
        // Both have an AUROC of one half, but a constant rejects nothing.
        let (best, comparison) = compare(&[
            column(&Msp, &[3.0; 40], &[3.0; 10]),
            column(&MaxLogit, &id, &half),
            column(&Energy, &id, &half),
        ]);
        let constant = comparison.scores()[0];
        assert_eq!(
            (constant.auroc, constant.rejected, constant.kept),
            (0.5, 0.0, 1.0)
        );
        assert_eq!((best, comparison.best().rejected), (1, 0.5));
    }

    #[test]
    fn folds_are_balanced_and_repeatable() {
        let settings = ComparisonSettings::default().with_seed(3);
        let folds = settings.assign(ScoreSet::Id, 23);
        let size = |fold| folds.iter().filter(|&&of| of == fold).count();
        assert_eq!([0, 1, 2, 3, 4].map(size), [5, 5, 5, 4, 4]);
        assert_eq!(folds, settings.assign(ScoreSet::Id, 23));
        assert_ne!(folds, settings.assign(ScoreSet::Ood, 23));
        assert_ne!(folds, settings.with_seed(4).assign(ScoreSet::Id, 23));
    }

    #[test]
    fn the_minimum_leaves_enough_training_images() {
        for (target, folds) in [(0.95, 5), (0.9, 2), (0.99, 10), (0.5, 3), (0.8, 7)] {
            let settings = ComparisonSettings::default()
                .with_target_tpr(target)
                .with_folds(folds);
            let count = (1..200).find(|&n| settings.check_counts(n, 20).is_ok());
            let count = count.unwrap();
            let ood = ascending(20, -20.0);
            let id = ascending(count as u32, 0.0);
            compare_scores(&[column(&Msp, &id, &ood)], &settings).unwrap();
            // One image fewer leaves too few outside the largest fold, or fewer than ten.
            let (fewer, minimum) = (count - 1, min_images(&settings.calibration()));
            let training = fewer - fewer.div_ceil(folds);
            assert!(training < minimum || fewer < 10, "{target} {folds}");
        }
    }

    #[test]
    fn errors_name_the_set_and_the_count() {
        let settings = ComparisonSettings::default();
        let (id, ood) = (ascending(24, 0.0), ascending(10, -10.0));
        let error = |columns: &[ScoreColumn], settings| {
            compare_scores(columns, &settings).unwrap_err().to_string()
        };
        assert!(compare_scores(&[column(&Msp, &id, &ood)], &settings).is_ok());
        assert_eq!(
            error(&[column(&Msp, &id[..23], &ood)], settings),
            "expected at least 24 in-distribution (ID) images to compare scores, got 23"
        );
        assert_eq!(
            error(&[column(&Msp, &id, &ood[..9])], settings),
            "expected at least 10 out-of-distribution (OOD) images to compare scores, got 9"
        );
        assert_eq!(
            error(
                &[
                    column(&Msp, &id, &ood),
                    column(&Mcm, &ascending(30, 0.0), &ood)
                ],
                settings
            ),
            "expected 24 in-distribution (ID) values of the score `mcm`, got 30"
        );
        assert_eq!(
            error(&[], settings),
            "expected at least one score to compare, got none"
        );
        assert_eq!(
            error(&[column(&Msp, &id, &ood)], settings.with_folds(1)),
            "expected at least 2 folds, got 1"
        );
        assert!(error(&[column(&Msp, &id, &ood)], settings.with_target_tpr(1.0)).contains("got 1"));
        let mut with_nan = id;
        with_nan[4] = f64::NAN;
        assert!(error(&[column(&Msp, &with_nan, &ood)], settings).contains("got NaN at index 4"));
    }

    #[test]
    fn serializes_the_table_and_the_settings() {
        let columns = [column(&Msp, &ascending(24, 0.0), &ascending(10, -10.0))];
        let comparison = compare_scores(&columns, &ComparisonSettings::default()).unwrap();
        let json = serde_json::to_value(&comparison).unwrap();
        assert_eq!(json["scores"][0]["score"], "msp");
        assert_eq!((&json["folds"], &json["seed"]), (&5.into(), &0.into()));
        assert_eq!(json.get("best"), None);
    }
}
