//! Search for the largest of many approximate values.

/// Unit roundoff of `f32`.
const UNIT_ROUNDOFF: f32 = f32::EPSILON / 2.0;

/// Chunks per wanted value, whose maxima bound the value from below.
const CHUNKS_PER_NEIGHBOR: usize = 4;

/// Bound on the error of a product of two `f32` vectors of length 1 and `dim` values.
pub(super) fn product_error(dim: usize) -> f32 {
    (dim as f32 + 4.0) * UNIT_ROUNDOFF
}

/// Returns the indices of all values that may be among the `k` largest if each may be wrong by
/// `error`, in ascending order; at least `k` of them, or all if there are fewer.
pub(super) fn candidates(values: &[f32], k: usize, error: f32) -> Vec<usize> {
    if k == 0 || values.len() <= k {
        return (0..values.len()).collect();
    }
    // The k-th largest maximum of disjoint chunks is at most the k-th largest value: few values are
    // above it, and the maxima are found in one pass over contiguous values.
    let size = (values.len() / (CHUNKS_PER_NEIGHBOR * k)).max(1);
    let maxima: Vec<f32> = values.chunks(size).map(maximum).collect();
    let bound = kth_largest(maxima, k);
    let above: Vec<f32> = values.iter().copied().filter(|v| *v >= bound).collect();
    let minimum = kth_largest(above, k) - 2.0 * error;
    let indices = values.iter().enumerate().filter(|(_, v)| **v >= minimum);
    indices.map(|(index, _)| index).collect()
}

/// Maximum in eight lanes, which the compiler can vectorize.
fn maximum(values: &[f32]) -> f32 {
    let mut lanes = [f32::NEG_INFINITY; 8];
    let chunks = values.chunks_exact(8);
    let tail = chunks.remainder().iter().copied();
    let tail = tail.fold(f32::NEG_INFINITY, f32::max);
    for chunk in chunks {
        for (lane, value) in lanes.iter_mut().zip(chunk) {
            *lane = if *value > *lane { *value } else { *lane };
        }
    }
    lanes.into_iter().fold(tail, f32::max)
}

/// The `k`-th largest value, counted from 1, of at least `k`.
fn kth_largest(mut values: Vec<f32>, k: usize) -> f32 {
    let (_, value, _) = values.select_nth_unstable_by(k - 1, |a, b| b.total_cmp(a));
    *value
}

/// The `k` largest of at least `k` values, in any order.
pub(super) fn largest(mut values: Vec<f64>, k: usize) -> Vec<f64> {
    if k < values.len() {
        values.select_nth_unstable_by(k, |a, b| b.total_cmp(a));
        values.truncate(k);
    }
    values
}

#[cfg(test)]
mod tests {
    use super::*;
    use clipn_base::random::{RandomSource, Xoshiro256};

    #[test]
    fn candidates_contain_the_largest_values() {
        let mut random = Xoshiro256::new(5);
        for (count, k) in [(1, 1), (9, 9), (10, 3), (1000, 1), (1000, 50), (4097, 100)] {
            // Rounded, so that there are ties.
            let values: Vec<f32> = (0..count)
                .map(|_| (random.normal() * 20.0).round() as f32)
                .collect();
            let mut sorted = values.clone();
            sorted.sort_by(|a, b| b.total_cmp(a));
            for error in [0.0, 0.5, 1.0] {
                let found = candidates(&values, k, error);
                let minimum = sorted[k - 1] - 2.0 * error;
                let expected: Vec<usize> = (0..count).filter(|&i| values[i] >= minimum).collect();
                assert_eq!(found, expected, "{count} {k} {error}");
            }
        }
        assert_eq!(candidates(&[1.0, 2.0], 5, 0.0), [0, 1]);
    }
}
