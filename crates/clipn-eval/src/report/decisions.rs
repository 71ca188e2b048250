//! Decisions by a threshold, and the example images of a page: the most confident correct decisions
//! and the most confident mistakes.

use crate::evaluation::{ImageRow, ImageScores, SetScores};

/// Fraction of in-distribution images that the report's default threshold keeps.
pub(super) const KEPT_FRACTION: f64 = 0.95;

/// Score and confidence of one readable in-distribution image.
#[derive(Debug, Clone, Copy)]
pub(super) struct IdPrediction {
    pub(super) score: f64,
    pub(super) confidence: f64,
    /// Whether the prediction is right; `None` without a label.
    pub(super) right: Option<bool>,
}

/// One image with its decision.
#[derive(Debug, Clone, Copy)]
pub(super) struct Example<'a> {
    pub(super) row: &'a ImageRow,
    pub(super) prediction: usize,
    pub(super) score: f64,
    /// Whether the score reaches the threshold.
    pub(super) kept: bool,
}

/// Decisions on the readable images of a set by one score.
#[derive(Debug)]
pub(super) struct SetDecisions<'a> {
    /// Examples by score, highest first.
    pub(super) examples: Vec<Example<'a>>,
}

impl<'a> SetDecisions<'a> {
    /// Decides on the images of a set by the score at `index` of the evaluation.
    pub(super) fn new(set: &'a SetScores, index: usize, threshold: f64) -> Self {
        let example = |row: &'a ImageRow| {
            let ImageScores {
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

    /// Returns the number of kept images.
    pub(super) fn kept(&self) -> usize {
        self.examples.iter().filter(|example| example.kept).count()
    }

    /// Returns up to `count` images that satisfy `filter`, highest scores first.
    pub(super) fn highest(
        &self,
        count: usize,
        filter: impl Fn(&Example<'a>) -> bool,
    ) -> Vec<Example<'a>> {
        self.examples
            .iter()
            .copied()
            .filter(filter)
            .take(count)
            .collect()
    }

    /// Returns up to `count` images that satisfy `filter`, lowest scores first.
    pub(super) fn lowest(
        &self,
        count: usize,
        filter: impl Fn(&Example<'a>) -> bool,
    ) -> Vec<Example<'a>> {
        self.examples
            .iter()
            .rev()
            .copied()
            .filter(filter)
            .take(count)
            .collect()
    }
}

/// Returns the highest threshold that keeps at least this fraction of the in-distribution scores;
/// negative infinity without scores.
pub(super) fn threshold_for_fraction(id: &[f64], fraction: f64) -> f64 {
    let mut sorted = id.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    let rejected = (sorted.len() as f64 * (1.0 - fraction) + 1e-9).floor() as usize;
    sorted.get(rejected).copied().unwrap_or(f64::NEG_INFINITY)
}

/// Returns the fraction of ascending values below a threshold.
pub(super) fn fraction_below(ascending: &[f64], threshold: f64) -> f64 {
    ascending.partition_point(|value| *value < threshold) as f64 / ascending.len().max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threshold_keeps_the_given_fraction() {
        let scores: Vec<f64> = (0..100).map(f64::from).rev().collect();
        assert_eq!(threshold_for_fraction(&scores, KEPT_FRACTION), 5.0);
        assert_eq!(threshold_for_fraction(&scores[..10], KEPT_FRACTION), 90.0);
        assert_eq!(threshold_for_fraction(&scores, 0.5), 50.0);
        assert_eq!(
            threshold_for_fraction(&[], KEPT_FRACTION),
            f64::NEG_INFINITY
        );
    }
}
