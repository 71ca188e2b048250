use super::ranked::Counts;

/// `sum_n (R_n - R_{n-1}) P_n` over the thresholds, as scikit-learn's `average_precision_score`.
pub(super) fn average_precision(counts: impl Iterator<Item = Counts>, positives: usize) -> f64 {
    let (mut area, mut before) = (0.0, 0.0);
    for Counts { right, wrong } in counts {
        let recall = right as f64 / positives as f64;
        area += (recall - before) * (right as f64 / (right + wrong) as f64);
        before = recall;
    }
    area
}
