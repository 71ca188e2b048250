//! How a batch is split: chunks of sequences, each small enough that a block's activations stay in cache, taken by the
//! threads one by one.

use std::ops::Range;

use rayon::prelude::*;

/// Runs `encode` over chunks of sequences in parallel. `lengths` are the sequences' positions, `target` the positions
/// that a chunk aims at, and `encode` fills the chunk's features, `dim` values a sequence, with `threads` threads for
/// its matrix products: more than one only where there are fewer chunks than threads.
pub(super) fn for_each_chunk<S, F>(lengths: &[usize], target: usize, dim: usize, out: &mut [f32], encode: F)
where
    S: Default,
    F: Fn(&mut S, Range<usize>, &mut [f32], usize) + Send + Sync,
{
    let pool = rayon::current_num_threads();
    let total: usize = lengths.iter().sum();
    let ranges = split(lengths, target.min(total.div_ceil(pool)).max(1));
    let threads = (pool / ranges.len().max(1)).max(1);
    let mut jobs = Vec::with_capacity(ranges.len());
    let mut rest = out;
    for range in ranges {
        let (mine, others) = rest.split_at_mut(range.len() * dim);
        jobs.push((range, mine));
        rest = others;
    }
    // One job runs where it stands: a caller that has its own threads keeps its core.
    if jobs.len() == 1 {
        for (range, out) in jobs {
            encode(&mut S::default(), range, out, threads);
        }
        return;
    }
    jobs.into_par_iter()
        .with_max_len(1)
        .for_each_init(S::default, |scratch, (range, out)| encode(scratch, range, out, threads));
}

/// Consecutive ranges of sequences, each closed once it holds at least `target` positions.
fn split(lengths: &[usize], target: usize) -> Vec<Range<usize>> {
    let mut ranges = Vec::new();
    let (mut start, mut positions) = (0, 0);
    for (index, length) in lengths.iter().enumerate() {
        positions += length;
        if positions >= target {
            ranges.push(start..index + 1);
            (start, positions) = (index + 1, 0);
        }
    }
    if start < lengths.len() {
        ranges.push(start..lengths.len());
    }
    ranges
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_sequence_is_in_one_range() {
        for target in 1..40 {
            let ranges = split(&[5, 1, 9, 3, 3, 8], target);
            let all: Vec<usize> = ranges.iter().cloned().flatten().collect();
            assert_eq!(all, [0, 1, 2, 3, 4, 5]);
        }
        assert!(split(&[], 4).is_empty());
    }
}
