//! Split-conformal p-values (Vovk et al.), and control of the false discovery rate with them.
//!
//! Sources: Benjamini and Hochberg, 1995; for conformal p-values Bates et al., *Testing for
//! outliers with conformal p-values*, 2023 (<https://arxiv.org/abs/2104.08279>).

/// Computes the split-conformal p-value of a score from the n calibration scores, sorted in
/// ascending order.
///
/// It is (1 + number of calibration scores at most as high) / (n + 1): the fraction of
/// in-distribution images, this one included, whose score is no higher. For an image that is
/// exchangeable with the calibration images, P(p ≤ α) ≤ α for every α. A score of NaN yields the
/// minimum p-value.
pub fn p_value(sorted: &[f64], score: f64) -> f64 {
    let below = sorted.partition_point(|&calibrated| calibrated <= score);
    (below + 1) as f64 / (sorted.len() + 1) as f64
}

/// Selects the unknown images by the Benjamini-Hochberg procedure, so that the false discovery rate
/// is at most `q`: the expected fraction of in-distribution images among those selected.
///
/// It selects the k lowest of the N p-values for the largest k whose k-th lowest is at most
/// `q`·k/N. P-values from one calibration set are dependent, but the dependence is positive and
/// preserves the bound (Bates et al. 2023, theorem 2). A p-value of NaN is never selected.
pub fn benjamini_hochberg(p_values: &[f64], q: f64) -> Vec<bool> {
    let mut sorted: Vec<f64> = p_values.iter().copied().filter(|p| !p.is_nan()).collect();
    sorted.sort_unstable_by(f64::total_cmp);
    let n = p_values.len() as f64;
    let is_below = |(index, p): (usize, &f64)| (*p <= q * (index + 1) as f64 / n).then_some(*p);
    let limit = sorted.iter().enumerate().filter_map(is_below).next_back();
    p_values
        .iter()
        .map(|p| limit.is_some_and(|limit| *p <= limit))
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn p_values_count_ties_and_are_at_least_one_over_n_plus_one() {
        let scores = [-3.0, -1.0, -1.0, 0.0];
        assert_eq!(p_value(&scores, -9.0), 0.2);
        assert_eq!(p_value(&scores, -1.0), 0.8);
        assert_eq!(p_value(&scores, 5.0), 1.0);
        assert_eq!(p_value(&scores, f64::NAN), 0.2);
        assert_eq!(p_value(&[], 1.0), 1.0);
    }

    #[test]
    fn agrees_with_the_example_of_the_paper() {
        // Benjamini and Hochberg 1995, section 3.2: 15 p-values at 0.05 reject the four lowest.
        let p = [
            0.0001, 0.0004, 0.0019, 0.0095, 0.0201, 0.0278, 0.0298, 0.0344, 0.0459, 0.3240, 0.4262,
            0.5719, 0.6528, 0.7590, 1.0,
        ];
        let rejected = benjamini_hochberg(&p, 0.05);
        assert_eq!(rejected.iter().filter(|r| **r).count(), 4);
        assert!(rejected[..4].iter().all(|r| *r));
        assert!(benjamini_hochberg(&[], 0.1).is_empty());
        assert_eq!(benjamini_hochberg(&[f64::NAN, 0.001], 0.1), [false, true]);
        // A higher p-value that is below its limit selects the lower ones too.
        assert_eq!(benjamini_hochberg(&[0.06, 0.09], 0.1), [true, true]);
    }

    proptest! {
        #[test]
        fn rejects_the_lowest_p_values(
            p in prop::collection::vec(0.0..1.0_f64, 0..60),
            q in 0.0..1.0_f64,
        ) {
            let rejected = benjamini_hochberg(&p, q);
            let selected = p.iter().zip(&rejected).filter(|(_, r)| **r).map(|(p, _)| *p);
            let highest = selected.fold(f64::NEG_INFINITY, f64::max);
            for (p, r) in p.iter().zip(&rejected) {
                prop_assert_eq!(*r, *p <= highest);
            }
            // It rejects at least as many as the Bonferroni correction.
            let bonferroni = p.iter().filter(|v| **v <= q / p.len() as f64).count();
            prop_assert!(rejected.iter().filter(|r| **r).count() >= bonferroni);
        }
    }
}
