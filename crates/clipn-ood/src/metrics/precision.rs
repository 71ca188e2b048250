use super::ranked::Counts;

/// Computes the average precision, `sum_n (R_n - R_{n-1}) P_n` over the thresholds, like
/// scikit-learn's `average_precision_score`.
pub(super) fn average_precision(counts: impl Iterator<Item = Counts>, positives: usize) -> f64 {
    let (mut area, mut previous) = (0.0, 0.0);
    for Counts { right, wrong } in counts {
        let recall = right as f64 / positives as f64;
        area += (recall - previous) * (right as f64 / (right + wrong) as f64);
        previous = recall;
    }
    area
}
