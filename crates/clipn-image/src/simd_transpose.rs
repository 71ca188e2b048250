//! Transposition of 8x8 bytes in registers.

/// Transposes a square of 8x8 bytes, with one row per word.
#[inline(always)]
pub(crate) fn transpose_bytes(mut square: [u64; 8]) -> [u64; 8] {
    const STEPS: [(usize, u64); 3] = [
        (4, 0x0000_0000_FFFF_FFFF),
        (2, 0x0000_FFFF_0000_FFFF),
        (1, 0x00FF_00FF_00FF_00FF),
    ];
    for (step, mask) in STEPS {
        let shift = 8 * step as u32;
        for low in (0..8).filter(|row| row & step == 0) {
            let high = low + step;
            let swapped = ((square[low] >> shift) ^ square[high]) & mask;
            square[high] ^= swapped;
            square[low] ^= swapped << shift;
        }
    }
    square
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transposes_rows_to_columns() {
        let square = std::array::from_fn(|row| {
            u64::from_le_bytes(std::array::from_fn(|c| (row * 8 + c) as u8))
        });
        for (column, word) in transpose_bytes(square).into_iter().enumerate() {
            assert_eq!(
                word.to_le_bytes(),
                std::array::from_fn(|row| (row * 8 + column) as u8)
            );
        }
    }
}
