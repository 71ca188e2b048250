//! Splits a batch into chunks of sequences, each small enough that the activations of a block stay
//! in cache. Threads take the chunks one by one.
use std::cell::RefCell;
use std::ops::Range;
use std::thread::LocalKey;

use rayon::prelude::*;

use super::block::Scratch;

thread_local! {
    /// Per-thread buffers for the residual attention blocks.
    pub(super) static SCRATCH: RefCell<Scratch> = RefCell::default();
}

/// Runs `encode` over chunks of sequences in parallel and returns its results in the order of the
/// sequences.
///
/// `lengths` holds the number of positions of each sequence, and `target` is the intended number of
/// positions per chunk. `encode` fills the chunk's features, `dim` values per sequence. Its last
/// argument is the number of threads for its matrix products, greater than one only if there are
/// fewer chunks than threads. Each thread reuses its `scratch` from batch to batch.
pub(super) fn par_map_chunks<S, R, F>(
    lengths: &[usize],
    target: usize,
    dim: usize,
    out: &mut [f32],
    scratch: &'static LocalKey<RefCell<S>>,
    encode: F,
) -> Vec<R>
where
    S: Default,
    R: Send,
    F: Fn(&mut S, Range<usize>, &mut [f32], usize) -> R + Send + Sync,
{
    let pool = rayon::current_num_threads();
    let total: usize = lengths.iter().sum();
    // The same number of chunks for every thread.
    let ranges = split(
        lengths,
        total.div_ceil(target.max(1)).next_multiple_of(pool),
    );
    let threads = (pool / ranges.len().max(1)).max(1);
    let mut jobs = Vec::with_capacity(ranges.len());
    let mut rest = out;
    for range in ranges {
        let (mine, others) = rest.split_at_mut(range.len() * dim);
        jobs.push((range, mine));
        rest = others;
    }
    let run = |(range, out)| {
        // Take the buffers instead of borrowing them: rayon may run another chunk on a thread that
        // waits inside `encode`.
        let mut buffers = scratch.take();
        let result = encode(&mut buffers, range, out, threads);
        scratch.set(buffers);
        result
    };
    // Run a single job on the calling thread: a caller with its own threads keeps its core.
    if jobs.len() == 1 {
        return jobs.into_iter().map(run).collect();
    }
    jobs.into_par_iter().with_max_len(1).map(run).collect()
}

/// Splits the sequences into at most `count` consecutive ranges with about the same number of
/// positions.
fn split(lengths: &[usize], count: usize) -> Vec<Range<usize>> {
    let total: usize = lengths.iter().sum();
    let mut ranges = Vec::with_capacity(count.min(lengths.len()));
    let (mut start, mut positions) = (0, 0);
    for (index, length) in lengths.iter().enumerate() {
        positions += length;
        // The number of chunks whose proportional part of all positions is filled up to this
        // sequence.
        let done = positions * count / total.max(1);
        let before = (positions - length) * count / total.max(1);
        if done > before {
            ranges.push(start..index + 1);
            start = index + 1;
        }
    }
    ranges
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_sequence_is_in_exactly_one_range() {
        for count in 1..40 {
            let ranges = split(&[5, 1, 9, 3, 3, 8], count);
            let all: Vec<usize> = ranges.iter().cloned().flatten().collect();
            assert_eq!(all, [0, 1, 2, 3, 4, 5]);
            assert!(ranges.len() <= count);
        }
        assert!(split(&[], 4).is_empty());
    }

    #[test]
    fn equal_sequences_give_equal_chunks() {
        let sizes = |count: usize| {
            split(&[77; 32], count)
                .iter()
                .map(Range::len)
                .collect::<Vec<_>>()
        };
        assert_eq!(sizes(4), [8; 4]);
        assert_eq!(sizes(6), [6, 5, 5, 6, 5, 5]);
    }
}
