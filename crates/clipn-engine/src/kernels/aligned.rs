use std::fmt;

/// Bytes of a cache line; also the width of the widest vector register.
pub(super) const CACHE_LINE: usize = 64;

#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct CacheLine([u8; CACHE_LINE]);

/// Number types for which every bit pattern is a value, without padding and with an alignment of
/// at most a cache line.
///
/// # Safety
///
/// Implement it only for such types.
pub(crate) unsafe trait Plain: Copy {}

// SAFETY: a primitive number.
unsafe impl Plain for f32 {}
// SAFETY: a primitive number.
unsafe impl Plain for i8 {}
// SAFETY: a primitive number.
unsafe impl Plain for u8 {}

/// Numbers that start at a cache line, so that no whole vector of them crosses one.
///
/// A load across two lines takes the time of two loads.
#[derive(Clone)]
pub(crate) struct AlignedVec<T> {
    lines: Vec<CacheLine>,
    length: usize,
    element: std::marker::PhantomData<T>,
}

impl<T: Plain> AlignedVec<T> {
    /// Creates `length` zeros.
    pub(crate) fn zeros(length: usize) -> Self {
        Self {
            lines: vec![CacheLine([0; CACHE_LINE]); Self::lines_for(length)],
            length,
            element: std::marker::PhantomData,
        }
    }

    fn lines_for(length: usize) -> usize {
        (length * size_of::<T>()).div_ceil(CACHE_LINE)
    }

    /// Returns the first `length` values of a buffer, which grows as needed and is never cleared.
    pub(crate) fn first_n(&mut self, length: usize) -> &mut [T] {
        if self.length < length {
            self.lines
                .resize(Self::lines_for(length), CacheLine([0; CACHE_LINE]));
            self.length = length;
        }
        &mut self.as_mut_slice()[..length]
    }

    pub(crate) fn as_slice(&self) -> &[T] {
        // SAFETY: the lines hold at least `length` values; every bit pattern is a `T`, whose
        // alignment divides that of a line.
        unsafe { std::slice::from_raw_parts(self.lines.as_ptr().cast(), self.length) }
    }

    pub(crate) fn as_mut_slice(&mut self) -> &mut [T] {
        // SAFETY: as in `as_slice`; the borrow is exclusive.
        unsafe { std::slice::from_raw_parts_mut(self.lines.as_mut_ptr().cast(), self.length) }
    }
}

impl<T> Default for AlignedVec<T> {
    fn default() -> Self {
        Self {
            lines: Vec::new(),
            length: 0,
            element: std::marker::PhantomData,
        }
    }
}

impl<T> fmt::Debug for AlignedVec<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AlignedVec")
            .field("length", &self.length)
            .finish_non_exhaustive()
    }
}

/// Requests the cache line at `address`; never faults.
#[inline(always)]
pub(super) fn prefetch<T>(address: *const T) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: a prefetch has no effect but on caches, whatever the address.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(address.cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = address;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_start_at_a_cache_line() {
        let mut buffer = AlignedVec::<f32>::default();
        for length in [1, 15, 17, 5, 4000] {
            let values = buffer.first_n(length);
            assert_eq!((values.len(), values.as_ptr() as usize % 64), (length, 0));
            values.fill(1.0);
        }
        let bytes = AlignedVec::<i8>::zeros(70);
        assert_eq!(bytes.as_slice(), [0; 70]);
        assert_eq!(bytes.as_slice().as_ptr() as usize % 64, 0);
        assert!(AlignedVec::<u8>::zeros(0).as_slice().is_empty());
    }
}
