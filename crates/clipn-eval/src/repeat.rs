//! Repeated metrics of an evaluation whose images are scored once: each repeat draws other images.

use std::collections::BTreeMap;

use rayon::prelude::*;

use crate::error::EvaluationError;
use crate::evaluation::{Evaluation, ImageRow, SetScores};
use crate::fpr_figure::FprSettings;
use crate::metric_spread::SpreadSource;
use crate::results::{
    Columns, IdSummary, MetricRequest, Results, averages, compute_metrics, score_names,
};
use crate::spread::Spread;
use clipn_base::progress::{NoProgress, Progress};
use clipn_base::random::{RandomSource, Xoshiro256};

/// Settings of repeated metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RepeatSettings {
    /// Number of repeats, at least 2.
    pub n: usize,
    /// Number of images in a subset of each set, drawn without replacement. `None` draws bootstrap
    /// resamples: as many images as the set has, with replacement.
    pub subset: Option<usize>,
    /// Seed of the draws.
    pub seed: u64,
}

impl RepeatSettings {
    /// Checks the settings for sets of these names and numbers of images.
    pub(crate) fn check<'a>(
        &self,
        sets: impl Iterator<Item = (&'a str, usize)>,
    ) -> Result<(), EvaluationError> {
        if self.n < 2 {
            return Err(EvaluationError::TooFewRepeats { n: self.n });
        }
        match (self.subset, sets.min_by_key(|&(_, images)| images)) {
            (Some(size), Some((set, images))) if !(1..=images).contains(&size) => {
                Err(EvaluationError::InvalidSubsetSize {
                    size,
                    set: set.to_owned(),
                    images,
                })
            }
            _ => Ok(()),
        }
    }

    /// Draws the images of every set for the repeat with this number: how often each is drawn.
    pub(crate) fn draw(&self, sets: &[Ranked], number: usize) -> Vec<Vec<u32>> {
        let draw = |(index, set): (usize, &Ranked)| {
            set.draw(
                self.subset,
                &mut Xoshiro256::keyed(self.seed, &[number as u64, index as u64]),
            )
        };
        sets.iter().enumerate().map(draw).collect()
    }

    /// Source of the variation of these repeats.
    pub(crate) fn source(&self) -> SpreadSource {
        match self.subset {
            Some(_) => SpreadSource::Subsets,
            None => SpreadSource::Resamples,
        }
    }
}

/// Sorted scores of a set, ready to be drawn from: for each score, the values from the highest down with the image index of
/// each.
pub(crate) struct Ranked {
    images: usize,
    /// `[scores][images]`.
    columns: Vec<Vec<(f64, u32)>>,
    /// For each image, whether its prediction is right; `None` without a label.
    right: Vec<Option<bool>>,
}

impl Ranked {
    fn new(set: &SetScores, scores: usize) -> Self {
        let read: Vec<&ImageRow> = set.rows.iter().filter(|row| row.outcome.is_ok()).collect();
        let value =
            |row: &&ImageRow, score: usize| row.outcome.as_ref().ok()?.scores.get(score).copied();
        let column = |score: usize| read.iter().filter_map(|row| value(row, score)).collect();
        let columns: Columns = (0..scores).map(column).collect();
        let right = |row: &&ImageRow| Some(row.label? == row.outcome.as_ref().ok()?.prediction);
        Self {
            right: read.iter().map(right).collect(),
            ..Self::from_columns(&columns)
        }
    }

    /// Ranks the values of each score, which are all of the same images.
    pub(crate) fn from_columns<C: AsRef<[f64]>>(columns: &[C]) -> Self {
        let sorted = |values: &C| {
            let values = values.as_ref().iter().enumerate();
            let mut column: Vec<(f64, u32)> = values
                .map(|(index, &value)| (value, index as u32))
                .collect();
            column.sort_unstable_by(|a, b| b.0.total_cmp(&a.0));
            column
        };
        let images = columns.first().map_or(0, |values| values.as_ref().len());
        Self {
            images,
            columns: columns.iter().map(sorted).collect(),
            right: vec![None; images],
        }
    }

    /// Number of images.
    pub(crate) fn len(&self) -> usize {
        self.images
    }

    /// Draws images; returns how often each image is drawn.
    pub(crate) fn draw(&self, subset: Option<usize>, random: &mut Xoshiro256) -> Vec<u32> {
        let n = self.images;
        let mut times = vec![0; n];
        match subset {
            // Floyd's sampling: every subset of that size is equally likely.
            Some(size) => {
                for last in n.saturating_sub(size)..n {
                    let drawn = random.below(last as u64 + 1) as usize;
                    let free = if times[drawn] == 0 { drawn } else { last };
                    times[free] = 1;
                }
            }
            None => (0..n).for_each(|_| times[random.below(n as u64) as usize] += 1),
        }
        times
    }

    /// The values of the drawn images, `[scores][drawn images]`.
    pub(crate) fn drawn(&self, times: &[u32]) -> Columns {
        let expand = |column: &Vec<(f64, u32)>| {
            let of_image =
                |&(value, i): &(f64, u32)| std::iter::repeat_n(value, times[i as usize] as usize);
            column.iter().flat_map(of_image).collect()
        };
        self.columns.iter().map(expand).collect()
    }

    fn accuracy(&self, times: &[u32]) -> Option<f64> {
        let (mut hits, mut labeled) = (0_u64, 0_u64);
        for (right, times) in self.right.iter().zip(times) {
            let Some(right) = right else { continue };
            labeled += u64::from(*times);
            hits += u64::from(*times) * u64::from(*right);
        }
        (labeled > 0).then(|| hits as f64 / labeled as f64)
    }
}

impl Spread {
    /// Computes the spread of an evaluation's metrics over random draws of its images. Each repeat
    /// draws the images of every set independently; one draw of the in-distribution images serves
    /// all scores and sets.
    ///
    /// # Errors
    /// [`EvaluationError::TooFewRepeats`] for fewer than two repeats, [`EvaluationError::InvalidSubsetSize`]
    /// if a set has fewer images than the subset, [`EvaluationError::Metric`] for scores that are
    /// not finite.
    pub fn repeat(
        evaluation: &Evaluation,
        fpr: impl Into<FprSettings>,
        settings: RepeatSettings,
    ) -> Result<Self, EvaluationError> {
        Self::repeat_with_progress(evaluation, fpr, settings, &NoProgress)
    }

    /// Same as [`repeat`](Self::repeat), with reports to `progress`.
    ///
    /// # Errors
    /// Same as [`repeat`](Self::repeat), and [`EvaluationError::RepeatsInterrupted`] if `progress`
    /// is canceled.
    pub fn repeat_with_progress(
        evaluation: &Evaluation,
        fpr: impl Into<FprSettings>,
        settings: RepeatSettings,
        progress: &dyn Progress,
    ) -> Result<Self, EvaluationError> {
        let RepeatSettings { n, subset, seed } = settings;
        let fpr = fpr.into();
        let ranked = |set| Ranked::new(set, evaluation.scores.len());
        let sets: Vec<Ranked> = std::iter::once(&evaluation.id)
            .chain(&evaluation.ood)
            .map(ranked)
            .collect();
        let named = std::iter::once(&evaluation.id)
            .chain(&evaluation.ood)
            .map(|set| set.name.as_str())
            .zip(sets.iter().map(Ranked::len));
        settings.check(named)?;
        progress.begin("computing repeats", n as u64);
        let once = |number: usize| {
            if progress.is_cancelled() {
                return Err(EvaluationError::RepeatsInterrupted { n });
            }
            let times = settings.draw(&sets, number);
            let mut columns: Vec<Columns> =
                sets.iter().zip(&times).map(|(s, t)| s.drawn(t)).collect();
            let ood = columns.split_off(1);
            let request = MetricRequest {
                fpr: &fpr,
                wrong: None,
                is_repeat: true,
            };
            let results = compute_metrics(evaluation, &columns[0], &ood, &request)?;
            progress.advance(1);
            Ok(Results {
                accuracy: sets[0].accuracy(&times[0]),
                id: IdSummary {
                    name: String::new(),
                    n: subset.unwrap_or(sets[0].images),
                    parts: Vec::new(),
                },
                id_results: Vec::new(),
                averages: averages(&score_names(&evaluation.scores), &results),
                results,
                skipped: Vec::new(),
                skipped_files: BTreeMap::new(),
            })
        };
        let repeats: Vec<Results> = (0..n).into_par_iter().map(once).collect::<Result<_, _>>()?;
        progress.end();
        let source = settings.source();
        Ok(Self {
            subset,
            seed: Some(seed),
            ..Self::from_repeats(&repeats, source)
        })
    }
}

#[cfg(test)]
mod tests {
    use clipn_data::SkippedFiles;

    use super::*;
    use crate::evaluation::ImageScores;

    fn set(images: usize) -> Ranked {
        let row = |i: usize| ImageRow {
            path: "a".into(),
            label: Some(0),
            outcome: Ok(ImageScores {
                prediction: i % 2,
                scores: vec![i as f64],
                confidence: 0.5,
                feature: Vec::new(),
            }),
        };
        let rows = (0..images).map(row).collect();
        Ranked::new(
            &SetScores {
                name: String::new(),
                kind: None,
                rows,
                skipped_files: SkippedFiles::default(),
                parts: Vec::new(),
            },
            1,
        )
    }

    #[test]
    fn subsets_are_uniform_and_without_duplicates() {
        let ranked = set(7);
        let mut seen = [0; 7];
        for number in 0..7000 {
            let times = ranked.draw(Some(3), &mut Xoshiro256::keyed(1, &[number]));
            assert_eq!(times.iter().sum::<u32>(), 3);
            assert!(times.iter().all(|t| *t <= 1), "{times:?}");
            assert_eq!(ranked.drawn(&times)[0].len(), 3);
            times.iter().zip(&mut seen).for_each(|(t, s)| *s += t);
        }
        // Each image is in 3 of 7 subsets: expected 3,000 times, with a standard deviation of 41.
        assert!(seen.iter().all(|s| s.abs_diff(3000) < 205), "{seen:?}");
    }

    #[test]
    fn resamples_have_the_size_of_the_set() {
        let ranked = set(50);
        let times = ranked.draw(None, &mut Xoshiro256::new(3));
        assert_eq!(times.iter().sum::<u32>(), 50);
        assert!(times.contains(&0) && times.iter().any(|t| *t > 1));
        let columns = ranked.drawn(&times);
        assert!(columns[0].len() == 50 && columns[0].is_sorted_by(|a, b| a >= b));
        let whole = ranked.draw(Some(50), &mut Xoshiro256::new(3));
        assert_eq!(ranked.accuracy(&whole), Some(0.5));
    }
}
