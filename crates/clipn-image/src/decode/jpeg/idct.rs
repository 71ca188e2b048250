//! Inverse DCT (T.81 A.3.3): Loeffler, Ligtenberg and Moschytz (1989) in 13-bit fixed point,
//! rounded as in libjpeg's accurate integer method (`jidctint.c`).

/// Fractional bits of the factors.
const CONST_BITS: u32 = 13;

/// Fractional bits kept between the passes.
const PASS1_BITS: u32 = 2;

type Block = [[i32; 8]; 8];

/// Dequantizes a block of coefficients and computes its samples by the inverse DCT.
///
/// Coefficients and quantization table are in row order, not in zig-zag order.
#[inline(always)]
pub(super) fn dequantize_and_idct(
    coefficients: &[i16; 64],
    quantization: &[u16; 64],
) -> [[u8; 8]; 8] {
    if is_flat(coefficients) {
        let flat = i32::from(coefficients[0].wrapping_mul(quantization[0] as i16)) << PASS1_BITS;
        return [[to_byte(round(flat, PASS1_BITS + 3)); 8]; 8];
    }
    let mut block = [[0; 8]; 8];
    let rows = coefficients
        .as_chunks::<8>()
        .0
        .iter()
        .zip(quantization.as_chunks::<8>().0);
    for (out, (values, quantization)) in block.iter_mut().zip(rows) {
        *out = std::array::from_fn(|column| {
            i32::from(values[column].wrapping_mul(quantization[column] as i16))
        });
    }
    idct_columns(&mut block, CONST_BITS - PASS1_BITS);
    let mut block = transpose(block);
    idct_columns(&mut block, CONST_BITS + PASS1_BITS + 3);
    transpose(block).map(|row| row.map(to_byte))
}

/// Whether all coefficients but the DC coefficient are zero.
#[inline(always)]
fn is_flat(coefficients: &[i16; 64]) -> bool {
    let mut rows = *coefficients
        .as_chunks::<8>()
        .0
        .first_chunk::<8>()
        .unwrap_or(&[[0; 8]; 8]);
    rows[0][0] = 0;
    let mut any = [0; 8];
    for row in &rows {
        for (any, value) in any.iter_mut().zip(row) {
            *any |= value;
        }
    }
    any == [0; 8]
}

/// Rounds and drops `bits` fractional bits.
#[inline(always)]
fn round(value: i32, bits: u32) -> i32 {
    value.wrapping_add(1 << (bits - 1)) >> bits
}

/// Applies the level shift (T.81 A.3.1) and clamps to 0 to 255. `value` was rounded, so that it is far
/// from the ends of its type.
#[inline(always)]
fn to_byte(value: i32) -> u8 {
    (value + 128).clamp(0, 255) as u8
}

/// Transposes the block: three rounds of interleaving each row with the fourth row after it.
#[inline(always)]
fn transpose(mut block: Block) -> Block {
    for _ in 0..3 {
        let before = block;
        for row in 0..4 {
            let (a, b) = (before[row], before[row + 4]);
            block[2 * row] = [a[0], b[0], a[1], b[1], a[2], b[2], a[3], b[3]];
            block[2 * row + 1] = [a[4], b[4], a[5], b[5], a[6], b[6], a[7], b[7]];
        }
    }
    block
}

/// Computes the one-dimensional inverse DCT of the eight columns side by side, and drops `bits`
/// fractional bits of the results.
#[inline(always)]
fn idct_columns(block: &mut Block, bits: u32) {
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
    let multiply = |a: i32, factor: i32| a.wrapping_mul(factor);
    // One index into all eight rows: the columns side by side fill a SIMD vector.
    #[allow(clippy::needless_range_loop)]
    for c in 0..8 {
        let [s0, s1, s2, s3, s4, s5, s6, s7] = std::array::from_fn(|row| block[row][c]);
        // Even frequencies.
        let rotation = multiply(s2.wrapping_add(s6), C0_541);
        let (e2, e3) = (
            rotation.wrapping_sub(multiply(s6, C1_847)),
            rotation.wrapping_add(multiply(s2, C0_765)),
        );
        let (e0, e1) = (
            s0.wrapping_add(s4) << CONST_BITS,
            s0.wrapping_sub(s4) << CONST_BITS,
        );
        let even = [
            e0.wrapping_add(e3),
            e1.wrapping_add(e2),
            e1.wrapping_sub(e2),
            e0.wrapping_sub(e3),
        ];
        // Odd frequencies.
        let rotation = multiply(
            s7.wrapping_add(s3).wrapping_add(s5).wrapping_add(s1),
            C1_175,
        );
        let a = multiply(s7.wrapping_add(s1), -C0_899);
        let b = multiply(s5.wrapping_add(s3), -C2_562);
        let d = rotation.wrapping_sub(multiply(s7.wrapping_add(s3), C1_961));
        let e = rotation.wrapping_sub(multiply(s5.wrapping_add(s1), C0_390));
        let odd = [
            multiply(s1, C1_501).wrapping_add(a).wrapping_add(e),
            multiply(s3, C3_072).wrapping_add(b).wrapping_add(d),
            multiply(s5, C2_053).wrapping_add(b).wrapping_add(e),
            multiply(s7, C0_298).wrapping_add(a).wrapping_add(d),
        ];
        for i in 0..4 {
            block[i][c] = round(even[i].wrapping_add(odd[i]), bits);
            block[7 - i][c] = round(even[i].wrapping_sub(odd[i]), bits);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dc_coefficient_alone_gives_a_flat_block() {
        let mut coefficients = [0; 64];
        coefficients[0] = 5;
        assert_eq!(dequantize_and_idct(&coefficients, &[16; 64]), [[138; 8]; 8]);
        coefficients[0] = -2000;
        assert_eq!(dequantize_and_idct(&coefficients, &[16; 64]), [[0; 8]; 8]);
    }

    #[test]
    fn stays_within_one_level_of_the_definition() {
        let mut state = 1u32;
        let mut coefficients = [0i16; 64];
        for (i, value) in coefficients.iter_mut().enumerate().step_by(3) {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            *value = ((state >> 24) as i16 - 128) / (1 + i as i16 / 4);
        }
        let decoded = dequantize_and_idct(&coefficients, &[3; 64]);
        let cosine = |x: usize, u: usize| {
            let scale = if u == 0 { 0.5f64.sqrt() } else { 1.0 };
            scale * ((2 * x + 1) as f64 * u as f64 * std::f64::consts::PI / 16.0).cos()
        };
        for (y, row) in decoded.iter().enumerate() {
            for (x, sample) in row.iter().enumerate() {
                let exact: f64 = (0..64)
                    .map(|i| {
                        f64::from(coefficients[i]) * 3.0 * cosine(x, i % 8) * cosine(y, i / 8) / 4.0
                    })
                    .sum();
                let expected = (exact + 128.0).clamp(0.0, 255.0);
                assert!(
                    (f64::from(*sample) - expected).abs() <= 1.0,
                    "{x},{y}: got {sample}, expected {expected}"
                );
            }
        }
    }
}
