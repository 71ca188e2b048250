//! Transposition of matrices, in squares that stay in cache and, where the instruction set allows,
//! in registers.

#[cfg(target_arch = "x86_64")]
use pulp::Arch;

use crate::kernels::Matrix;

/// Side of the square blocks of a transposition.
const SQUARE: usize = 16;

/// Writes row r of `matrix` to column r of `out`, whose rows are `stride` apart.
///
/// # Panics
///
/// Panics if a view exceeds its slice.
pub(crate) fn transpose(out: &mut [f32], stride: usize, matrix: Matrix<'_>) {
    let Matrix { rows, columns, .. } = matrix;
    if rows == 0 || columns == 0 {
        return;
    }
    assert!(
        rows <= stride && out.len() >= (columns - 1) * stride + rows && matrix.fits_slice(),
        "transpose of {rows}×{columns} exceeds the output: stride {stride}, {} values",
        out.len()
    );
    let in_squares = matrix.column_stride == 1;
    for first_row in (0..rows).step_by(SQUARE) {
        let last_row = rows.min(first_row + SQUARE);
        for first in (0..columns).step_by(SQUARE) {
            let last = columns.min(first + SQUARE);
            if in_squares && last - first == SQUARE && last_row - first_row == SQUARE {
                let source = &matrix.data[first_row * matrix.row_stride + first..];
                let out = &mut out[first * stride + first_row..];
                transpose_square(out, stride, source, matrix.row_stride);
                continue;
            }
            for row in first_row..last_row {
                for column in first..last {
                    out[column * stride + row] =
                        matrix.data[row * matrix.row_stride + column * matrix.column_stride];
                }
            }
        }
    }
}

/// Transposes one full square block with contiguous rows.
#[inline]
fn transpose_square(out: &mut [f32], stride: usize, source: &[f32], row_stride: usize) {
    let last = SQUARE - 1;
    let (out, source) = (
        &mut out[..last * stride + SQUARE],
        &source[..last * row_stride + SQUARE],
    );
    match clipn_base::simd::current_arch() {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: the level in use has AVX-512; the slices above hold 16 rows of 16 values.
        Arch::V4(_) => unsafe {
            x86::transpose_16x16(out.as_mut_ptr(), stride, source.as_ptr(), row_stride);
        },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: the level in use has AVX2; the slices above hold 16 rows of 16 values.
        Arch::V3(_) => unsafe {
            for (row, column) in [(0, 0), (0, 8), (8, 0), (8, 8)] {
                x86::transpose_8x8(
                    out.as_mut_ptr().add(column * stride + row),
                    stride,
                    source.as_ptr().add(row * row_stride + column),
                    row_stride,
                );
            }
        },
        _ => transpose_square_plain(out, stride, source, row_stride),
    }
}

fn transpose_square_plain(out: &mut [f32], stride: usize, source: &[f32], row_stride: usize) {
    for c in 0..SQUARE {
        for r in 0..SQUARE {
            out[c * stride + r] = source[r * row_stride + c];
        }
    }
}

/// In registers: a register holds four columns of every fourth row, so that the loads exchange rows
/// between the 128-bit lanes and only exchanges within a lane remain.
#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::{
        __m128, __m256, __m512, _mm_loadu_ps, _mm256_castpd_ps, _mm256_castps_pd,
        _mm256_castps128_ps256, _mm256_insertf128_ps, _mm256_storeu_ps, _mm256_unpackhi_pd,
        _mm256_unpackhi_ps, _mm256_unpacklo_pd, _mm256_unpacklo_ps, _mm512_castpd_ps,
        _mm512_castps_pd, _mm512_castps128_ps512, _mm512_insertf32x4, _mm512_storeu_ps,
        _mm512_unpackhi_pd, _mm512_unpackhi_ps, _mm512_unpacklo_pd, _mm512_unpacklo_ps,
    };

    /// Transposes 16 × 16 values.
    ///
    /// # Safety
    ///
    /// The processor must have AVX-512F. `source` and `out` must point to 16 rows of 16 values,
    /// `row_stride` and `stride` apart.
    #[target_feature(enable = "avx512f")]
    pub(super) unsafe fn transpose_16x16(
        out: *mut f32,
        stride: usize,
        source: *const f32,
        row_stride: usize,
    ) {
        for columns in 0..4 {
            // SAFETY: `4 · columns + 3` and `row` are below 16.
            let load =
                |row: usize| unsafe { _mm_loadu_ps(source.add(row * row_stride + 4 * columns)) };
            let rows = |i: usize| -> __m512 {
                let quarter = |j: usize| -> __m128 { load(4 * j + i) };
                let rows = _mm512_castps128_ps512(quarter(0));
                let rows = _mm512_insertf32x4::<1>(rows, quarter(1));
                let rows = _mm512_insertf32x4::<2>(rows, quarter(2));
                _mm512_insertf32x4::<3>(rows, quarter(3))
            };
            let (a, b, c, d) = (rows(0), rows(1), rows(2), rows(3));
            let (ab_low, ab_high) = (_mm512_unpacklo_ps(a, b), _mm512_unpackhi_ps(a, b));
            let (cd_low, cd_high) = (_mm512_unpacklo_ps(c, d), _mm512_unpackhi_ps(c, d));
            let low = (_mm512_castps_pd(ab_low), _mm512_castps_pd(cd_low));
            let high = (_mm512_castps_pd(ab_high), _mm512_castps_pd(cd_high));
            let transposed = [
                _mm512_unpacklo_pd(low.0, low.1),
                _mm512_unpackhi_pd(low.0, low.1),
                _mm512_unpacklo_pd(high.0, high.1),
                _mm512_unpackhi_pd(high.0, high.1),
            ];
            for (column, values) in transposed.into_iter().enumerate() {
                // SAFETY: `4 · columns + column` is below 16.
                unsafe {
                    _mm512_storeu_ps(
                        out.add((4 * columns + column) * stride),
                        _mm512_castpd_ps(values),
                    );
                }
            }
        }
    }

    /// Transposes 8 × 8 values.
    ///
    /// # Safety
    ///
    /// The processor must have AVX. `source` and `out` must point to 8 rows of 8 values,
    /// `row_stride` and `stride` apart.
    #[target_feature(enable = "avx")]
    pub(super) unsafe fn transpose_8x8(
        out: *mut f32,
        stride: usize,
        source: *const f32,
        row_stride: usize,
    ) {
        for columns in 0..2 {
            // SAFETY: `4 · columns + 3` and `row` are below 8.
            let load =
                |row: usize| unsafe { _mm_loadu_ps(source.add(row * row_stride + 4 * columns)) };
            let rows = |i: usize| -> __m256 {
                _mm256_insertf128_ps::<1>(_mm256_castps128_ps256(load(i)), load(4 + i))
            };
            let (a, b, c, d) = (rows(0), rows(1), rows(2), rows(3));
            let (ab_low, ab_high) = (_mm256_unpacklo_ps(a, b), _mm256_unpackhi_ps(a, b));
            let (cd_low, cd_high) = (_mm256_unpacklo_ps(c, d), _mm256_unpackhi_ps(c, d));
            let low = (_mm256_castps_pd(ab_low), _mm256_castps_pd(cd_low));
            let high = (_mm256_castps_pd(ab_high), _mm256_castps_pd(cd_high));
            let transposed = [
                _mm256_unpacklo_pd(low.0, low.1),
                _mm256_unpackhi_pd(low.0, low.1),
                _mm256_unpacklo_pd(high.0, high.1),
                _mm256_unpackhi_pd(high.0, high.1),
            ];
            for (column, values) in transposed.into_iter().enumerate() {
                // SAFETY: `4 · columns + column` is below 8.
                unsafe {
                    _mm256_storeu_ps(
                        out.add((4 * columns + column) * stride),
                        _mm256_castpd_ps(values),
                    );
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_moves_to_its_transposed_position() {
        for (rows, columns) in [(1, 1), (16, 16), (17, 35), (48, 32), (5, 64), (33, 15)] {
            for gap in [0, 3] {
                let row_stride = columns + gap;
                let data: Vec<f32> = (0..rows * row_stride).map(|i| i as f32).collect();
                let stride = rows + gap;
                let mut out = vec![-1.0; columns * stride];
                transpose(
                    &mut out,
                    stride,
                    Matrix::new(&data, rows, columns, row_stride),
                );
                for (column, values) in out.chunks(stride).enumerate() {
                    for (row, &value) in values.iter().enumerate() {
                        let moved = (row * row_stride + column) as f32;
                        assert_eq!(value, if row < rows { moved } else { -1.0 });
                    }
                }
            }
        }
    }
}
