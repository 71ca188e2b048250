/// Thresholds that are tried, multiples of 0.01 from 0 to 0.99.
const STEPS: usize = 100;

/// Returns the threshold of 0, 0.01, …, 0.99 that splits scores into two classes, those at or above it
/// and those below, with the smallest variance within the classes (Otsu, 1979). Of equally good ones it
/// is the middle one, the upper of two. A threshold with all scores on one side is not taken; if there is no
/// other, the result is 0.5.
///
/// ```
/// use clipn_ood::streams::two_class_threshold;
///
/// let scores = [0.1, 0.12, 0.9, 0.95];
/// let threshold = two_class_threshold(&scores);
/// assert!(0.12 < threshold && threshold <= 0.9);
/// ```
pub fn two_class_threshold(scores: &[f64]) -> f64 {
    let thresholds = (0..STEPS).map(|step| step as f64 * 0.01);
    let variances: Vec<f64> = thresholds.map(|t| variance_within(scores, t)).collect();
    let smallest = variances.iter().copied().fold(f64::INFINITY, f64::min);
    if smallest == f64::INFINITY {
        return 0.5;
    }
    let best: Vec<usize> = (0..STEPS)
        .filter(|step| variances[*step] == smallest)
        .collect();
    best[best.len() / 2] as f64 * 0.01
}

/// Variance within the two classes, weighted by their sizes; infinite if one is empty.
fn variance_within(scores: &[f64], threshold: f64) -> f64 {
    let moments = |is_above: bool| {
        let all = scores.iter().copied();
        let own = all.filter(|score| (*score >= threshold) == is_above);
        let (mut count, mut sum) = (0.0, 0.0);
        for score in own.clone() {
            count += 1.0;
            sum += score;
        }
        let mean: f64 = sum / count;
        let squares: f64 = own.map(|score| (score - mean) * (score - mean)).sum();
        (count, squares)
    };
    let ((above, squares_above), (below, squares_below)) = (moments(true), moments(false));
    if above == 0.0 || below == 0.0 {
        return f64::INFINITY;
    }
    (squares_above + squares_below) / (above + below)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle_of_equal_thresholds_is_taken() {
        // Every threshold above 0.2 and up to 0.4 separates them perfectly: 0.21 to 0.4.
        let threshold = two_class_threshold(&[0.2, 0.2, 0.4]);
        assert!((threshold - 0.31).abs() < 1e-12, "{threshold}");
    }

    #[test]
    fn scores_of_one_class_have_no_threshold() {
        assert_eq!(two_class_threshold(&[0.995, 0.999]), 0.5);
        assert_eq!(two_class_threshold(&[]), 0.5);
    }
}
