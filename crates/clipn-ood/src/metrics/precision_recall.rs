//! Areas under the precision-recall curve.

use super::counts::Counts;

/// Computes the average precision, `sum_n (R_n - R_{n-1}) P_n` over the thresholds, like
/// scikit-learn's `average_precision_score`.
pub(super) fn average_precision(counts: impl Iterator<Item = Counts>, positives: usize) -> f64 {
    let (mut area, mut before) = (0.0, 0.0);
    for (recall, precision) in points(counts, positives) {
        area += (recall - before) * precision;
        before = recall;
    }
    area
}

/// Computes the area by the trapezoidal rule, like scikit-learn's `auc` of its
/// `precision_recall_curve`, whose first point has recall 0 and precision 1.
pub(super) fn trapezoid(counts: impl Iterator<Item = Counts>, positives: usize) -> f64 {
    let (mut area, mut before) = (0.0, (0.0, 1.0));
    for (recall, precision) in points(counts, positives) {
        area += (recall - before.0) * (precision + before.1) / 2.0;
        before = (recall, precision);
    }
    area
}

/// Returns recall and precision at each threshold, from the one that accepts the fewest down.
fn points(
    counts: impl Iterator<Item = Counts>,
    positives: usize,
) -> impl Iterator<Item = (f64, f64)> {
    counts.map(move |counts| {
        let hits = counts.true_positives as f64;
        let accepted = (counts.true_positives + counts.false_positives) as f64;
        (hits / positives as f64, hits / accepted)
    })
}
