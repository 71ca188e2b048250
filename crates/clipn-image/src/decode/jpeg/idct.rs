//! The inverse cosine transform: Loeffler, Ligtenberg and Moschytz (1989) with 13 fixed bits, rounded as libjpeg's
//! accurate integer method does it.

use crate::transpose::transpose_bytes;

/// Bits after the point of the factors.
const FACTOR_BITS: u32 = 13;

/// Bits kept after the point between the passes.
const KEPT_BITS: u32 = 2;

type Square = [[i32; 8]; 8];

/// The samples of a block of coefficients (rows of frequencies) times their quantisation steps.
#[inline(always)]
pub(super) fn samples(coefficients: &[i16; 64], steps: &[u16; 64]) -> [[u8; 8]; 8] {
    if coefficients[1..].iter().all(|value| *value == 0) {
        let flat = i32::from(coefficients[0].wrapping_mul(steps[0] as i16)) << KEPT_BITS;
        return [[to_byte(round(flat, KEPT_BITS + 3)); 8]; 8];
    }
    let mut square = [[0; 8]; 8];
    let rows = coefficients
        .as_chunks::<8>()
        .0
        .iter()
        .zip(steps.as_chunks::<8>().0);
    for (out, (values, steps)) in square.iter_mut().zip(rows) {
        *out = std::array::from_fn(|column| {
            i32::from(values[column].wrapping_mul(steps[column] as i16))
        });
    }
    columns(&mut square, FACTOR_BITS - KEPT_BITS);
    let mut square = transposed(square);
    columns(&mut square, FACTOR_BITS + KEPT_BITS + 3);
    let mut words = [0; 8];
    for (word, column) in words.iter_mut().zip(&square) {
        let mut bytes = [0; 8];
        for (byte, value) in bytes.iter_mut().zip(column) {
            *byte = to_byte(*value);
        }
        *word = u64::from_le_bytes(bytes);
    }
    let words = transpose_bytes(words);
    std::array::from_fn(|row| words[row].to_le_bytes())
}

#[inline(always)]
fn round(value: i32, bits: u32) -> i32 {
    value.wrapping_add(1 << (bits - 1)) >> bits
}

#[inline(always)]
fn to_byte(value: i32) -> u8 {
    value.saturating_add(128).clamp(0, 255) as u8
}

/// The square mirrored at its diagonal: three rounds of interleaving each row with the fourth after it.
#[inline(always)]
fn transposed(mut square: Square) -> Square {
    for _ in 0..3 {
        let before = square;
        for row in 0..4 {
            let (a, b) = (before[row], before[row + 4]);
            square[2 * row] = [a[0], b[0], a[1], b[1], a[2], b[2], a[3], b[3]];
            square[2 * row + 1] = [a[4], b[4], a[5], b[5], a[6], b[6], a[7], b[7]];
        }
    }
    square
}

/// The transform of each of eight columns, side by side; results lose `bits`.
#[inline(always)]
fn columns(square: &mut Square, bits: u32) {
    // Factors of the paper's rotations, times 2^13.
    const C0_298: i32 = 2446;
    const C0_390: i32 = 3196;
    const C0_541: i32 = 4433;
    const C0_765: i32 = 6270;
    const C0_899: i32 = 7373;
    const C1_175: i32 = 9633;
    const C1_501: i32 = 12299;
    const C1_847: i32 = 15137;
    const C1_961: i32 = 16069;
    const C2_053: i32 = 16819;
    const C2_562: i32 = 20995;
    const C3_072: i32 = 25172;
    let times = |a: i32, factor: i32| a.wrapping_mul(factor);
    // One index over eight rows: side by side, the columns fill a vector.
    #[allow(clippy::needless_range_loop)]
    for c in 0..8 {
        let [s0, s1, s2, s3, s4, s5, s6, s7] = std::array::from_fn(|row| square[row][c]);
        // Even frequencies.
        let turn = times(s2.wrapping_add(s6), C0_541);
        let (e2, e3) = (
            turn.wrapping_sub(times(s6, C1_847)),
            turn.wrapping_add(times(s2, C0_765)),
        );
        let (e0, e1) = (
            s0.wrapping_add(s4) << FACTOR_BITS,
            s0.wrapping_sub(s4) << FACTOR_BITS,
        );
        let even = [
            e0.wrapping_add(e3),
            e1.wrapping_add(e2),
            e1.wrapping_sub(e2),
            e0.wrapping_sub(e3),
        ];
        // Odd frequencies.
        let turn = times(
            s7.wrapping_add(s3).wrapping_add(s5).wrapping_add(s1),
            C1_175,
        );
        let a = times(s7.wrapping_add(s1), -C0_899);
        let b = times(s5.wrapping_add(s3), -C2_562);
        let d = turn.wrapping_sub(times(s7.wrapping_add(s3), C1_961));
        let e = turn.wrapping_sub(times(s5.wrapping_add(s1), C0_390));
        let odd = [
            times(s1, C1_501).wrapping_add(a).wrapping_add(e),
            times(s3, C3_072).wrapping_add(b).wrapping_add(d),
            times(s5, C2_053).wrapping_add(b).wrapping_add(e),
            times(s7, C0_298).wrapping_add(a).wrapping_add(d),
        ];
        for i in 0..4 {
            square[i][c] = round(even[i].wrapping_add(odd[i]), bits);
            square[7 - i][c] = round(even[i].wrapping_sub(odd[i]), bits);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lone_mean_is_flat() {
        let mut coefficients = [0; 64];
        coefficients[0] = 5;
        assert_eq!(samples(&coefficients, &[16; 64]), [[138; 8]; 8]);
        coefficients[0] = -2000;
        assert_eq!(samples(&coefficients, &[16; 64]), [[0; 8]; 8]);
    }

    #[test]
    fn stays_within_a_level_of_the_definition() {
        let mut state = 1u32;
        let mut coefficients = [0i16; 64];
        for (i, value) in coefficients.iter_mut().enumerate().step_by(3) {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            *value = ((state >> 24) as i16 - 128) / (1 + i as i16 / 4);
        }
        let got = samples(&coefficients, &[3; 64]);
        let cosine = |x: usize, u: usize| {
            let scale = if u == 0 { 0.5f64.sqrt() } else { 1.0 };
            scale * ((2 * x + 1) as f64 * u as f64 * std::f64::consts::PI / 16.0).cos()
        };
        for (y, row) in got.iter().enumerate() {
            for (x, sample) in row.iter().enumerate() {
                let exact: f64 = (0..64)
                    .map(|i| {
                        f64::from(coefficients[i]) * 3.0 * cosine(x, i % 8) * cosine(y, i / 8) / 4.0
                    })
                    .sum();
                let wanted = (exact + 128.0).clamp(0.0, 255.0);
                assert!(
                    (f64::from(*sample) - wanted).abs() <= 1.0,
                    "{x},{y}: {sample} for {wanted}"
                );
            }
        }
    }
}
