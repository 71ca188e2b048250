//! Strided tensor views and their conversion to contiguous elements.

use crate::pickle::TensorSpec;

/// Whether the elements of the view are contiguous in row-major order. Strides of dimensions of
/// size 1 are ignored.
pub(crate) fn is_contiguous(spec: &TensorSpec) -> bool {
    let mut expected = 1usize;
    for (&size, &stride) in spec.shape.iter().zip(&spec.strides).rev() {
        if size != 1 && stride != expected {
            return false;
        }
        expected = expected.saturating_mul(size);
    }
    true
}

/// Returns the index after the last element that a non-empty view touches, or `None` on overflow.
pub(crate) fn extent(spec: &TensorSpec) -> Option<usize> {
    let sizes = spec.shape.iter().zip(&spec.strides);
    let last = sizes
        .into_iter()
        .try_fold(spec.offset, |last, (&size, &stride)| {
            last.checked_add(size.checked_sub(1)?.checked_mul(stride)?)
        })?;
    last.checked_add(1)
}

/// Copies the elements of the view in row-major order. The view must be within `storage` (see
/// [`extent`]), and `len` must be its number of elements, not zero.
pub(crate) fn gather(
    storage: &[u8],
    spec: &TensorSpec,
    element_size: usize,
    len: usize,
) -> Vec<u8> {
    // Drop dimensions of size 1, whose strides are arbitrary.
    let sizes = spec.shape.iter().copied().zip(spec.strides.iter().copied());
    let mut outer: Vec<(usize, usize)> = sizes.filter(|&(size, _)| size != 1).collect();
    let run = split_off_run(&mut outer);
    let mut copied = Vec::with_capacity(len * element_size);
    let mut index = vec![0usize; outer.len()];
    let mut at = spec.offset;
    loop {
        copied.extend_from_slice(&storage[at * element_size..(at + run) * element_size]);
        // Advance the index of the outer dimensions like an odometer.
        let advanced = (0..outer.len()).rev().find(|&dimension| {
            let (size, stride) = outer[dimension];
            index[dimension] += 1;
            at += stride;
            let within = index[dimension] < size;
            if !within {
                index[dimension] = 0;
                at -= size * stride;
            }
            within
        });
        if advanced.is_none() {
            return copied;
        }
    }
}

/// Removes the trailing dimensions whose elements are contiguous, and returns the number of those
/// elements.
fn split_off_run(dimensions: &mut Vec<(usize, usize)>) -> usize {
    let mut run = 1;
    while let Some(&(size, stride)) = dimensions.last() {
        if stride != run {
            break;
        }
        run *= size;
        dimensions.pop();
    }
    run
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::pickle::StorageType;

    fn view(offset: usize, shape: &[usize], strides: &[usize]) -> TensorSpec {
        let ty = StorageType {
            name: "uint8",
            dtype: Some(crate::Dtype::U8),
            size: 1,
        };
        TensorSpec {
            storage: 0,
            ty,
            offset,
            shape: shape.into(),
            strides: strides.into(),
        }
    }

    #[test]
    fn gathers_transposes_slices_and_expansions() {
        let storage = [0, 1, 2, 3, 4, 5];
        assert_eq!(
            gather(&storage, &view(0, &[3, 2], &[1, 3]), 1, 6),
            [0, 3, 1, 4, 2, 5]
        );
        assert_eq!(
            gather(&storage, &view(1, &[2, 2], &[3, 1]), 1, 4),
            [1, 2, 4, 5]
        );
        assert_eq!(gather(&storage, &view(2, &[4], &[0]), 1, 4), [2, 2, 2, 2]);
        assert_eq!(gather(&storage, &view(5, &[], &[]), 1, 1), [5]);
        assert_eq!(
            gather(&storage, &view(0, &[2, 1], &[1, 99]), 2, 2),
            [0, 1, 2, 3]
        );
        assert_eq!(
            gather(&storage, &view(0, &[1, 2], &[usize::MAX, 2]), 1, 2),
            [0, 2]
        );
    }

    #[test]
    fn dimensions_of_size_1_do_not_break_contiguity() {
        assert!(is_contiguous(&view(0, &[2, 1, 3], &[3, 77, 1])));
        assert!(!is_contiguous(&view(0, &[3, 2], &[1, 3])));
        assert!(!is_contiguous(&view(0, &[4], &[0])));
    }

    #[test]
    fn extents_that_overflow_are_none() {
        assert_eq!(extent(&view(1, &[3, 2], &[2, 1])), Some(7));
        assert_eq!(extent(&view(0, &[usize::MAX], &[usize::MAX])), None);
        assert_eq!(extent(&view(usize::MAX, &[1], &[1])), None);
    }

    proptest! {
        #[test]
        fn gather_equals_indexing(
            dims in prop::collection::vec((1usize..4, 0usize..5), 0..4),
            offset in 0usize..4,
            element_size in 1usize..3,
        ) {
            let (shape, strides): (Vec<_>, Vec<_>) = dims.into_iter().unzip();
            let spec = view(offset, &shape, &strides);
            let size = extent(&spec).unwrap() * element_size;
            let storage: Vec<u8> = (0..size).map(|i| i as u8).collect();
            let len = shape.iter().product();
            let mut expected = Vec::new();
            for flat in 0..len {
                let (mut rest, mut at) = (flat, offset);
                for (&size, &stride) in shape.iter().zip(&strides).rev() {
                    at += rest % size * stride;
                    rest /= size;
                }
                expected.extend_from_slice(&storage[at * element_size..(at + 1) * element_size]);
            }
            prop_assert_eq!(gather(&storage, &spec, element_size, len), expected);
        }
    }
}
