//! Buckets in which ranks exchange tensors.

use std::ops::Range;

use clipn_model::Real;

use crate::communicator::{CommunicatorError, share};

/// Values that a rank exchanges with each other one in a call: few enough for the bucket of some ranks
/// to stay in a core's cache, and enough for a network.
const VALUES_PER_PAIR: usize = 1 << 16;

fn bucket_size(ranks: usize) -> usize {
    VALUES_PER_PAIR * ranks
}

/// Divides the values of all tensors into buckets, and lets `exchange` change each. A bucket that spans
/// several tensors is copied there and back: a call for each of some hundred tensors would cost a round
/// trip each. One buffer for all of them would pass through memory at every copy.
pub(super) fn in_buckets<T: Real>(
    tensors: Vec<&mut [T]>,
    bucket: &mut Vec<T>,
    ranks: usize,
    exchange: impl Fn(&mut [T]) -> Result<(), CommunicatorError>,
) -> Result<(), CommunicatorError> {
    let size = bucket_size(ranks);
    let mut exchange_parts = |parts: &mut Vec<&mut [T]>| {
        if let [part] = &mut parts[..] {
            exchange(part)?;
            parts.clear();
            return Ok(());
        }
        bucket.clear();
        for part in &*parts {
            bucket.extend_from_slice(part);
        }
        exchange(bucket)?;
        let mut rest = &bucket[..];
        for part in parts.drain(..) {
            let (exchanged, others) = rest.split_at(part.len());
            part.copy_from_slice(exchanged);
            rest = others;
        }
        Ok(())
    };
    let mut parts = Vec::new();
    let mut length = 0;
    for mut tensor in tensors {
        while !tensor.is_empty() {
            let (part, rest) = tensor.split_at_mut(tensor.len().min(size - length));
            length += part.len();
            parts.push(part);
            tensor = rest;
            if length == size {
                exchange_parts(&mut parts)?;
                length = 0;
            }
        }
    }
    if parts.is_empty() {
        return Ok(());
    }
    exchange_parts(&mut parts)
}

/// Returns the ranges of each tensor that are in a rank's share of the buckets of [`in_buckets`].
pub(super) fn shares_of(lengths: &[usize], rank: usize, ranks: usize) -> Vec<Vec<Range<usize>>> {
    let size = bucket_size(ranks);
    let total: usize = lengths.iter().sum();
    let mut start = 0;
    let mut ranges_of = |length: &usize| {
        let tensor = start..start + length;
        start = tensor.end;
        let buckets = tensor.start / size..tensor.end.div_ceil(size);
        buckets
            .map(|bucket| {
                let first = bucket * size;
                let share = share(size.min(total - first), rank, ranks);
                let from = (first + share.start).max(tensor.start);
                let to = (first + share.end).min(tensor.end);
                from.saturating_sub(tensor.start)..to.saturating_sub(tensor.start)
            })
            .filter(|range| range.start < range.end)
            .collect()
    };
    lengths.iter().map(&mut ranges_of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Marks what each rank owns, both ways.
    #[test]
    fn shares_are_those_of_the_exchanged_buckets() {
        let size = bucket_size(3);
        for lengths in [
            vec![],
            vec![1],
            vec![5, 1, 1],
            vec![size],
            vec![size - 1, 2, size + 7, 0, 3 * size, 10],
        ] {
            for rank in 0..3 {
                let mut tensors: Vec<Vec<f32>> = lengths.iter().map(|&n| vec![0.0; n]).collect();
                let slices = tensors.iter_mut().map(Vec::as_mut_slice).collect();
                in_buckets(slices, &mut Vec::new(), 3, |bucket| {
                    let own = share(bucket.len(), rank, 3);
                    bucket[own].fill(1.0);
                    Ok(())
                })
                .unwrap();
                let ranges = shares_of(&lengths, rank, 3);
                for (tensor, ranges) in tensors.iter().zip(ranges) {
                    let mut expected = vec![0.0; tensor.len()];
                    for range in ranges {
                        expected[range].fill(1.0);
                    }
                    assert!(*tensor == expected, "{lengths:?}, rank {rank}");
                }
            }
        }
    }
}
