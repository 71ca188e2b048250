//! Joining of the chunks of a tensor. Together they must cover it, each element once.

use super::index::Chunk;

/// Maximum number of steps in the search for the first missing element.
const MAX_STEPS: usize = 1 << 20;

/// Why chunks do not make a whole tensor.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum CoverProblem {
    /// A chunk has another number of dimensions, or ends outside of the tensor.
    OutOfBounds(Chunk),
    /// Two chunks have elements in common.
    Overlap(Chunk, Chunk),
    /// No chunk has the element at this index, if it is known.
    Missing(Option<Vec<usize>>),
}

impl std::fmt::Display for CoverProblem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::OutOfBounds(chunk) => write!(
                f,
                "the chunk at {:?} of shape {:?} is out of bounds",
                chunk.offsets, chunk.sizes
            ),
            Self::Overlap(first, second) => write!(
                f,
                "the chunk at {:?} of shape {:?} overlaps the chunk at {:?} of shape {:?}",
                first.offsets, first.sizes, second.offsets, second.sizes
            ),
            Self::Missing(Some(index)) => write!(f, "no chunk has the element at {index:?}"),
            Self::Missing(None) => write!(f, "its chunks do not cover it"),
        }
    }
}

/// Checks that chunks cover a tensor of `shape`, each element once. Chunks without elements, which
/// ranks have if there are fewer rows than ranks, are ignored.
pub(super) fn check_cover(shape: &[usize], chunks: &[&Chunk]) -> Result<(), CoverProblem> {
    let mut filled: Vec<&Chunk> = Vec::new();
    let mut covered = 0usize;
    for &chunk in chunks {
        let is_within = chunk.offsets.len() == shape.len()
            && chunk.sizes.len() == shape.len()
            && (0..shape.len()).all(|axis| {
                let end = chunk.offsets[axis].checked_add(chunk.sizes[axis]);
                end.is_some_and(|end| end <= shape[axis])
            });
        if !is_within {
            return Err(CoverProblem::OutOfBounds(chunk.clone()));
        }
        match chunk.len() {
            Some(0) => {}
            len => {
                // Saturated if chunks overlap, which the comparison below finds.
                covered = covered.saturating_add(len.unwrap_or(usize::MAX));
                filled.push(chunk);
            }
        }
    }
    if let Some((first, second)) = overlapping(shape.len(), &mut filled) {
        return Err(CoverProblem::Overlap(first.clone(), second.clone()));
    }
    let total = shape.iter().try_fold(1usize, |len, &n| len.checked_mul(n));
    if total == Some(covered) {
        return Ok(());
    }
    Err(CoverProblem::Missing(first_missing(shape, &filled)))
}

/// Returns two chunks with elements in common. Sweeps over the dimension in which most chunks begin
/// at different offsets, and compares only chunks that share an interval of it.
fn overlapping<'c>(dimensions: usize, chunks: &mut [&'c Chunk]) -> Option<(&'c Chunk, &'c Chunk)> {
    let distinct = |axis: &usize| {
        let mut offsets: Vec<usize> = chunks.iter().map(|chunk| chunk.offsets[*axis]).collect();
        offsets.sort_unstable();
        offsets.dedup();
        offsets.len()
    };
    let Some(axis) = (0..dimensions).max_by_key(distinct) else {
        // Scalars.
        return match chunks {
            [first, second, ..] => Some((first, second)),
            _ => None,
        };
    };
    chunks.sort_by_key(|chunk| chunk.offsets[axis]);
    let mut active: Vec<&Chunk> = Vec::new();
    for &chunk in &*chunks {
        active.retain(|other| other.offsets[axis] + other.sizes[axis] > chunk.offsets[axis]);
        let meets = |other: &&&Chunk| {
            (0..dimensions).all(|axis| {
                let (a, b) = (other.offsets[axis], chunk.offsets[axis]);
                a < b + chunk.sizes[axis] && b < a + other.sizes[axis]
            })
        };
        if let Some(other) = active.iter().find(meets) {
            return Some((other, chunk));
        }
        active.push(chunk);
    }
    None
}

/// Returns the first index, in row-major order, that no chunk has; `None` if the search takes too
/// long.
fn first_missing(shape: &[usize], chunks: &[&Chunk]) -> Option<Vec<usize>> {
    let mut index = vec![0usize; shape.len()];
    let mut steps = 0usize;
    loop {
        steps = steps.saturating_add(chunks.len() + 1);
        let has = |chunk: &&&Chunk| {
            let axes = index.iter().zip(chunk.offsets.iter().zip(&chunk.sizes));
            axes.into_iter()
                .all(|(&at, (&start, &size))| at >= start && at < start + size)
        };
        let Some(chunk) = chunks.iter().find(has) else {
            return Some(index);
        };
        // To the end of the chunk in its row, then to the next row.
        let (&last, outer) = shape.split_last()?;
        let end = chunk.offsets[outer.len()] + chunk.sizes[outer.len()];
        index[outer.len()] = end;
        if end < last {
            continue;
        }
        index[outer.len()] = 0;
        let advanced = (0..outer.len()).rev().find(|&axis| {
            index[axis] += 1;
            let within = index[axis] < outer[axis];
            if !within {
                index[axis] = 0;
            }
            within
        });
        if advanced.is_none() || steps > MAX_STEPS {
            return None;
        }
    }
}

/// Copies the elements of a chunk, in row-major order, to their place in the whole tensor. The chunk
/// must be within `shape`, and both slices have the size of their shapes.
pub(super) fn place(
    whole: &mut [u8],
    shape: &[usize],
    chunk: &Chunk,
    elements: &[u8],
    element_size: usize,
) {
    let is_empty = chunk.sizes.contains(&0);
    let Some((&row, outer)) = chunk.sizes.split_last().filter(|_| !is_empty) else {
        if !is_empty {
            whole.copy_from_slice(elements);
        }
        return;
    };
    let row = row * element_size;
    let mut index = vec![0usize; outer.len()];
    for from in elements.chunks_exact(row) {
        let mut at = 0;
        for (axis, (&size, &offset)) in shape.iter().zip(&chunk.offsets).enumerate() {
            let within = index.get(axis).copied().unwrap_or(0);
            at = at * size + offset + within;
        }
        let start = at * element_size;
        whole[start..start + row].copy_from_slice(from);
        for axis in (0..outer.len()).rev() {
            index[axis] += 1;
            if index[axis] < outer[axis] {
                break;
            }
            index[axis] = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn chunk(offsets: &[usize], sizes: &[usize]) -> Chunk {
        Chunk {
            offsets: offsets.into(),
            sizes: sizes.into(),
        }
    }

    fn check(shape: &[usize], chunks: &[Chunk]) -> Result<(), CoverProblem> {
        check_cover(shape, &chunks.iter().collect::<Vec<_>>())
    }

    #[test]
    fn chunks_must_cover_each_element_once() {
        let rows = [chunk(&[0, 0], &[3, 2]), chunk(&[3, 0], &[2, 2])];
        assert_eq!(check(&[5, 2], &rows), Ok(()));
        assert_eq!(
            check(&[5, 2], &rows[..1]),
            Err(CoverProblem::Missing(Some(vec![3, 0])))
        );
        let grid = [
            chunk(&[0, 0], &[2, 2]),
            chunk(&[0, 2], &[2, 1]),
            chunk(&[2, 2], &[1, 1]),
        ];
        assert_eq!(
            check(&[3, 3], &grid),
            Err(CoverProblem::Missing(Some(vec![2, 0])))
        );
        let over = [chunk(&[0, 0], &[3, 2]), chunk(&[2, 0], &[3, 2])];
        assert_eq!(
            check(&[5, 2], &over),
            Err(CoverProblem::Overlap(over[0].clone(), over[1].clone()))
        );
        // As many elements as the tensor, but one twice and one never.
        let shifted = [chunk(&[0], &[3]), chunk(&[2], &[1])];
        assert_eq!(
            check(&[4], &shifted),
            Err(CoverProblem::Overlap(
                shifted[0].clone(),
                shifted[1].clone()
            ))
        );
    }

    #[test]
    fn empty_chunks_and_scalars_are_covered() {
        assert_eq!(check(&[1], &[chunk(&[0], &[1]), chunk(&[1], &[0])]), Ok(()));
        assert_eq!(check(&[], &[chunk(&[], &[])]), Ok(()));
        assert_eq!(check(&[0, 4], &[]), Ok(()));
        assert_eq!(check(&[], &[]), Err(CoverProblem::Missing(Some(vec![]))));
        let two = [chunk(&[], &[]), chunk(&[], &[])];
        assert!(matches!(check(&[], &two), Err(CoverProblem::Overlap(_, _))));
    }

    #[test]
    fn chunks_out_of_bounds_are_named() {
        for bad in [
            chunk(&[1], &[2]),
            chunk(&[usize::MAX], &[2]),
            chunk(&[0], &[usize::MAX]),
            chunk(&[0, 0], &[1, 1]),
            chunk(&[], &[]),
        ] {
            assert_eq!(
                check(&[2], std::slice::from_ref(&bad)),
                Err(CoverProblem::OutOfBounds(bad.clone()))
            );
        }
    }

    /// Cuts each dimension at random offsets: a grid of chunks, as a mesh of devices has.
    fn grids() -> impl Strategy<Value = (Vec<usize>, Vec<Chunk>)> {
        prop::collection::vec(prop::collection::vec(0usize..4, 1..4), 0..4).prop_map(|axes| {
            let shape = axes.iter().map(|parts| parts.iter().sum()).collect();
            let mut chunks = vec![chunk(&[], &[])];
            for parts in axes {
                let mut next = Vec::new();
                for known in &chunks {
                    let mut start = 0;
                    for &size in &parts {
                        let offsets = [&known.offsets[..], &[start]].concat();
                        let sizes = [&known.sizes[..], &[size]].concat();
                        next.push(chunk(&offsets, &sizes));
                        start += size;
                    }
                }
                chunks = next;
            }
            (shape, chunks)
        })
    }

    proptest! {
        #[test]
        fn joined_grids_equal_the_whole((shape, chunks) in grids()) {
            prop_assert_eq!(check(&shape, &chunks), Ok(()));
            let len: usize = shape.iter().product();
            let expected: Vec<u16> = (0..len as u16).collect();
            let mut joined = vec![0; 2 * len];
            for part in &chunks {
                let mut elements = Vec::new();
                for flat in 0..part.len().unwrap() {
                    let (mut rest, mut at, mut stride) = (flat, 0, 1);
                    for axis in (0..shape.len()).rev() {
                        at += (part.offsets[axis] + rest % part.sizes[axis]) * stride;
                        rest /= part.sizes[axis];
                        stride *= shape[axis];
                    }
                    elements.extend(expected[at].to_le_bytes());
                }
                place(&mut joined, &shape, part, &elements, 2);
            }
            let joined: Vec<u16> = joined.chunks(2).map(|b| u16::from_le_bytes([b[0], b[1]])).collect();
            prop_assert_eq!(joined, expected);
        }

        #[test]
        fn a_missing_or_doubled_chunk_is_found(
            (shape, chunks) in grids(),
            at in any::<prop::sample::Index>(),
        ) {
            let at = at.index(chunks.len());
            if chunks[at].len() != Some(0) {
                let mut missing = chunks.clone();
                let removed = missing.remove(at);
                prop_assert_eq!(
                    check(&shape, &missing),
                    Err(CoverProblem::Missing(Some(removed.offsets.to_vec())))
                );
                let doubled = [&chunks[..], &chunks[at..=at]].concat();
                prop_assert!(matches!(check(&shape, &doubled), Err(CoverProblem::Overlap(_, _))));
            }
        }
    }
}
