//! Which pictures tell the most: the most confident right decisions and the most confident mistakes.

use crate::{ImageRow, Scored, ScoredSet};

/// The share of in-distribution images that the report's threshold keeps.
pub(super) const KEPT: f64 = 0.95;

/// One picture with what was decided on it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Example<'a> {
    pub(super) row: &'a ImageRow,
    pub(super) prediction: usize,
    pub(super) score: f64,
    /// Whether the score reaches the threshold.
    pub(super) kept: bool,
}

/// The images of a set that were read, judged by one score.
#[derive(Debug)]
pub(super) struct Judged<'a> {
    /// From the highest score down.
    pub(super) examples: Vec<Example<'a>>,
}

impl<'a> Judged<'a> {
    /// Judges a set by the score at `index` of the evaluation.
    pub(super) fn new(set: &'a ScoredSet, index: usize, threshold: f64) -> Self {
        let example = |row: &'a ImageRow| {
            let Scored {
                prediction, scores, ..
            } = row.outcome.as_ref().ok()?;
            let score = *scores.get(index)?;
            Some(Example {
                row,
                prediction: *prediction,
                score,
                kept: score >= threshold,
            })
        };
        let mut examples: Vec<Example<'a>> = set.rows.iter().filter_map(example).collect();
        examples.sort_by(|a, b| b.score.total_cmp(&a.score));
        Self { examples }
    }

    /// How many were kept.
    pub(super) fn kept(&self) -> usize {
        self.examples.iter().filter(|example| example.kept).count()
    }

    /// Up to `count` of the pictures wanted, from the highest score down.
    pub(super) fn highest(
        &self,
        count: usize,
        wanted: impl Fn(&Example<'a>) -> bool,
    ) -> Vec<Example<'a>> {
        self.examples
            .iter()
            .copied()
            .filter(wanted)
            .take(count)
            .collect()
    }

    /// Up to `count` of the pictures wanted, from the lowest score up.
    pub(super) fn lowest(
        &self,
        count: usize,
        wanted: impl Fn(&Example<'a>) -> bool,
    ) -> Vec<Example<'a>> {
        self.examples
            .iter()
            .rev()
            .copied()
            .filter(wanted)
            .take(count)
            .collect()
    }
}

/// The highest threshold at which at least that share of the in-distribution scores is kept; nothing is below it where
/// there are none.
pub(super) fn threshold(id: &[f64], share: f64) -> f64 {
    let mut sorted = id.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    let lost = (sorted.len() as f64 * (1.0 - share) + 1e-9).floor() as usize;
    sorted.get(lost).copied().unwrap_or(f64::NEG_INFINITY)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_threshold_keeps_95_in_100() {
        let scores: Vec<f64> = (0..100).map(f64::from).rev().collect();
        assert_eq!(threshold(&scores, KEPT), 5.0);
        assert_eq!(threshold(&scores[..10], KEPT), 90.0);
        assert_eq!(threshold(&scores, 0.5), 50.0);
        assert_eq!(threshold(&[], KEPT), f64::NEG_INFINITY);
    }
}
