use rayon::prelude::*;

use clipn_base::progress::Progress;
use clipn_ood::metrics::{MetricError, RankedScores};

use super::{AreaSpreads, MeanMetrics, MetricSettings, ScoreMetrics, SetMetrics};
use crate::error::EvaluationError;
use crate::fpr_figure::FprFigure;
use crate::metric_spread::{MetricSpread, SpreadSource};
use crate::repeat::{Ranked, RepeatSettings};
use crate::results::Columns;
use crate::score_files::{ScoreColumn, ScoreSets};

/// Metrics of one repeat.
pub(super) struct AllMetrics {
    results: Vec<SetMetrics>,
    averages: Vec<MeanMetrics>,
}

/// Scores of all sets, in-distribution first, turned so that higher means more in-distribution.
pub(super) struct AllScores<'a> {
    sets: &'a ScoreSets,
    settings: &'a MetricSettings,
    /// `[sets][scores][images]`.
    pub(super) columns: Vec<Columns>,
}

impl<'a> AllScores<'a> {
    pub(super) fn new(sets: &'a ScoreSets, settings: &'a MetricSettings) -> Self {
        let turn = |values: &Vec<f64>| settings.higher_is.apply(values);
        let id = sets.scores.iter().map(|score| turn(&score.id)).collect();
        let of_set = |set: usize| {
            sets.scores
                .iter()
                .map(|score| turn(&score.ood[set]))
                .collect()
        };
        let ood = (0..sets.ood_names.len()).map(of_set);
        Self {
            sets,
            settings,
            columns: std::iter::once(id).chain(ood).collect(),
        }
    }

    /// Metrics of every score on every set; the ranges over ties only if wanted.
    pub(super) fn results(
        &self,
        columns: &[Columns],
        with_ties: bool,
    ) -> Result<Vec<SetMetrics>, EvaluationError> {
        let mut results = Vec::new();
        let Some((id, ood)) = columns.split_first() else {
            return Ok(results);
        };
        for (name, columns) in self.sets.ood_names.iter().zip(ood) {
            for (score, (id, ood)) in self.sets.scores.iter().zip(id.iter().zip(columns)) {
                let wrap = |source| EvaluationError::ExternalMetric {
                    score: score.name.clone(),
                    ood: name.clone(),
                    source,
                };
                let ranked = RankedScores::new(id, ood).map_err(wrap)?;
                results.push(SetMetrics {
                    score: score.name.clone(),
                    ood: name.clone(),
                    metrics: self.metrics(&ranked, with_ties).map_err(wrap)?,
                    n_id: ranked.id_len(),
                    n_ood: ranked.ood_len(),
                    distinct: ranked.distinct_len(),
                    coarse: ranked.coarse(),
                });
            }
        }
        Ok(results)
    }

    fn metrics(&self, ranked: &RankedScores, with_ties: bool) -> Result<ScoreMetrics, MetricError> {
        Ok(ScoreMetrics {
            auroc: ranked.auroc(),
            aupr_in: ranked.aupr_in(),
            aupr_out: ranked.aupr_out(),
            aupr_in_trapezoid: ranked.aupr_in_trapezoid(),
            aupr_out_trapezoid: ranked.aupr_out_trapezoid(),
            fpr: FprFigure::compute(
                ranked,
                &self.settings.tprs,
                &self.settings.conventions,
                with_ties,
            )?,
            spread: None,
        })
    }

    /// Means of every score over the sets, if there are several.
    pub(super) fn averages(&self, results: &[SetMetrics]) -> Vec<MeanMetrics> {
        if self.sets.ood_names.len() < 2 {
            return Vec::new();
        }
        let scores = self.sets.scores.len();
        let of_score = |(index, score): (usize, &ScoreColumn)| MeanMetrics {
            score: score.name.clone(),
            metrics: mean(
                results
                    .iter()
                    .skip(index)
                    .step_by(scores)
                    .map(|r| &r.metrics),
            ),
        };
        self.sets.scores.iter().enumerate().map(of_score).collect()
    }

    /// The results and their means for every repeat.
    pub(super) fn repeats(
        &self,
        repeat: RepeatSettings,
        progress: &dyn Progress,
    ) -> Result<Vec<AllMetrics>, EvaluationError> {
        let ranked: Vec<Ranked> = self
            .columns
            .iter()
            .map(|set| Ranked::from_columns(set))
            .collect();
        let names = std::iter::once(&self.sets.id_name).chain(&self.sets.ood_names);
        repeat.check(
            names
                .map(String::as_str)
                .zip(ranked.iter().map(Ranked::len)),
        )?;
        progress.begin("computing repeats", repeat.n as u64);
        let once = |number: usize| {
            if progress.is_cancelled() {
                return Err(EvaluationError::RepeatsInterrupted { n: repeat.n });
            }
            let times = repeat.draw(&ranked, number);
            let columns = ranked
                .iter()
                .zip(&times)
                .map(|(set, times)| set.drawn(times));
            let results = self.results(&columns.collect::<Vec<_>>(), false)?;
            progress.advance(1);
            let averages = self.averages(&results);
            Ok(AllMetrics { results, averages })
        };
        let repeats = (0..repeat.n)
            .into_par_iter()
            .map(once)
            .collect::<Result<_, _>>()?;
        progress.end();
        Ok(repeats)
    }
}

/// Means of metrics of the same conventions.
fn mean<'a>(all: impl Iterator<Item = &'a ScoreMetrics>) -> ScoreMetrics {
    let all: Vec<&ScoreMetrics> = all.collect();
    let mean = |value: &dyn Fn(&ScoreMetrics) -> f64| {
        all.iter().map(|metrics| value(metrics)).sum::<f64>() / all.len() as f64
    };
    ScoreMetrics {
        auroc: mean(&|metrics| metrics.auroc),
        aupr_in: mean(&|metrics| metrics.aupr_in),
        aupr_out: mean(&|metrics| metrics.aupr_out),
        aupr_in_trapezoid: mean(&|metrics| metrics.aupr_in_trapezoid),
        aupr_out_trapezoid: mean(&|metrics| metrics.aupr_out_trapezoid),
        fpr: FprFigure::means(&all.iter().map(|m| &m.fpr[..]).collect::<Vec<_>>()),
        spread: None,
    }
}

/// Adds the variation over the repeats to each entry.
pub(super) fn add_spreads(
    results: &mut [SetMetrics],
    averages: &mut [MeanMetrics],
    repeats: &[AllMetrics],
    source: SpreadSource,
) {
    for (index, result) in results.iter_mut().enumerate() {
        let entries = repeats.iter().map(|repeat| &repeat.results[index].metrics);
        spread(&mut result.metrics, &entries.collect::<Vec<_>>(), source);
    }
    for (index, average) in averages.iter_mut().enumerate() {
        let entries = repeats.iter().map(|repeat| &repeat.averages[index].metrics);
        spread(&mut average.metrics, &entries.collect::<Vec<_>>(), source);
    }
}

fn spread(metrics: &mut ScoreMetrics, repeats: &[&ScoreMetrics], source: SpreadSource) {
    let of = |value: &dyn Fn(&ScoreMetrics) -> f64| {
        MetricSpread::from_values(repeats.iter().map(|repeat| value(repeat)), source)
    };
    metrics.spread = Some(AreaSpreads {
        auroc: of(&|repeat| repeat.auroc),
        aupr_in: of(&|repeat| repeat.aupr_in),
        aupr_out: of(&|repeat| repeat.aupr_out),
        aupr_in_trapezoid: of(&|repeat| repeat.aupr_in_trapezoid),
        aupr_out_trapezoid: of(&|repeat| repeat.aupr_out_trapezoid),
    });
    let figures: Vec<&[FprFigure]> = repeats.iter().map(|repeat| &repeat.fpr[..]).collect();
    FprFigure::add_spreads(&mut metrics.fpr, &figures, source);
}
