//! Quantiles of the similarities between candidate words and classes.

use clipn_engine::PackedRows;
use clipn_model::{ModelError, Real};
use rayon::prelude::*;

/// Number of similarities held at a time per thread: 2 MiB in `f32`, which stay in cache.
const TILE: usize = 1 << 19;

/// Computes, for every candidate, the `quantile` of its similarities to all classes, with linear
/// interpolation between order statistics (as `numpy.quantile` and `torch.quantile`), `[N]`.
///
/// `candidates` `[N, D]` and `classes` `[K, D]` have rows of length 1. A candidate whose greatest
/// similarity exceeds `cap` gets 1. The similarities are computed tile by tile; the matrix `[N, K]` is
/// never held.
pub(super) fn similarity_quantiles<T: Real>(
    candidates: &[T],
    classes: &PackedRows<T>,
    quantile: f64,
    cap: Option<f64>,
) -> Result<Vec<T>, ModelError> {
    let (dim, columns) = (classes.dim().max(1), classes.len().max(1));
    let tile_rows = (TILE / columns).max(1);
    let cap = cap.map(T::from_f64);
    let mut quantiles = vec![T::zero(); candidates.len() / dim];
    candidates
        .par_chunks(tile_rows * dim)
        .zip(quantiles.par_chunks_mut(tile_rows))
        .try_for_each_init(Vec::new, |similarities, (candidates, quantiles)| {
            similarities.resize(quantiles.len() * columns, T::zero());
            classes.products(candidates, 1.0, similarities)?;
            for (row, out) in similarities.chunks_exact_mut(columns).zip(quantiles) {
                let is_near = |cap: T| row.iter().any(|&similarity| similarity > cap);
                *out = if row.iter().any(|similarity| similarity.is_nan()) {
                    T::nan()
                } else if cap.is_some_and(is_near) {
                    T::one()
                } else {
                    quantile_of(row, quantile)
                };
            }
            Ok::<_, ModelError>(())
        })?;
    Ok(quantiles)
}

/// Returns the quantile of at least one value, in any order, none NaN. The values are permuted.
pub(super) fn quantile_of<T: Real>(values: &mut [T], quantile: f64) -> T {
    let position = quantile * (values.len() - 1) as f64;
    let (lower, fraction) = (position.floor(), position.fract());
    let order = |a: &T, b: &T| a.partial_cmp(b).unwrap_or(std::cmp::Ordering::Equal);
    let (_, &mut low, above) = values.select_nth_unstable_by(lower as usize, order);
    match above.iter().copied().min_by(order) {
        Some(high) if fraction > 0.0 => low + (high - low) * T::from_f64(fraction),
        _ => low,
    }
}

#[cfg(test)]
mod tests {
    use clipn_testing::random::Random;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn quantiles_interpolate_between_order_statistics() {
        let values = [4.0, 1.0, 3.0, 2.0];
        // Figures of numpy.quantile.
        for (quantile, expected) in [(0.0, 1.0), (0.5, 2.5), (0.95, 3.85), (1.0, 4.0)] {
            let found: f64 = quantile_of(&mut values.clone(), quantile);
            assert!((found - expected).abs() < 1e-12, "{quantile}: {found}");
        }
        assert_eq!(quantile_of(&mut [7.0f32], 0.95), 7.0);
        let two: f64 = quantile_of(&mut [1.0, 0.0], 0.95);
        assert!((two - 0.95).abs() < 1e-12);
    }

    proptest! {
        #[test]
        fn tiles_agree_with_sorted_similarities(n in 1usize..60, k in 1usize..40, seed: u64) {
            let dim = 5;
            let mut random = Random::new(seed);
            let (candidates, classes): (Vec<f64>, Vec<f64>) = (random.values(n * dim, 1.0), random.values(k * dim, 1.0));
            let packed = PackedRows::new(&classes, dim).unwrap();
            let found = similarity_quantiles(&candidates, &packed, 0.95, Some(0.9)).unwrap();
            for (found, word) in found.iter().zip(candidates.chunks_exact(dim)) {
                let mut row: Vec<f64> = classes.chunks_exact(dim)
                    .map(|class| class.iter().zip(word).map(|(a, b)| a * b).sum()).collect();
                row.sort_by(f64::total_cmp);
                let at = 0.95 * (k - 1) as f64;
                let (low, high) = (row[at.floor() as usize], row[at.ceil() as usize]);
                let expected = if row[k - 1] > 0.9 { 1.0 } else { low + (high - low) * at.fract() };
                prop_assert!((found - expected).abs() < 1e-12, "{found} {expected}");
            }
        }
    }
}
