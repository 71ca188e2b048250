use clipn_base::simd::vectorized;

use super::Matrix;
use super::micro_kernel::PanelWidth;

/// Packed right-hand side B of a product: column panels in the order in which the micro-kernel
/// reads them.
///
/// In each panel the values of a row are contiguous. The rows of the last panel are zero-padded to
/// whole vectors.
#[derive(Clone)]
pub(crate) struct PackedB {
    values: Vec<f32>,
    rows: usize,
    columns: usize,
    width: PanelWidth,
}

impl PackedB {
    /// Packs a matrix.
    ///
    /// # Panics
    ///
    /// Panics if the matrix exceeds its slice.
    pub(crate) fn pack(matrix: Matrix<'_>) -> Self {
        assert!(matrix.fits_slice(), "matrix view exceeds its slice");
        let (rows, columns, width) = (matrix.rows, matrix.columns, PanelWidth::current());
        let firsts = (0..columns).step_by(width.nr);
        let ends = firsts.clone().map(|first| columns.min(first + width.nr));
        let mut values = vec![
            0.0;
            ends.clone()
                .zip(firsts.clone())
                .map(|(end, first)| width.padded(end - first) * rows)
                .sum()
        ];
        let mut rest = &mut values[..];
        for (first, end) in firsts.zip(ends) {
            let width = width.padded(end - first);
            let (panel, others) = rest.split_at_mut(rows * width);
            pack_b(panel, matrix.submatrix(0..rows, first..end), width);
            rest = others;
        }
        Self {
            values,
            rows,
            columns,
            width,
        }
    }

    /// Number of rows.
    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    /// Number of columns.
    pub(crate) fn columns(&self) -> usize {
        self.columns
    }

    /// Returns the rows `first..first + count` of one panel.
    pub(super) fn panel_rows(&self, panel: usize, first: usize, count: usize) -> &[f32] {
        let before = panel * self.width.nr;
        let width = self.width.padded(self.columns - before);
        &self.values[before * self.rows + first * width..][..count * width]
    }
}

impl std::fmt::Debug for PackedB {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PackedB")
            .field("rows", &self.rows)
            .field("columns", &self.columns)
            .finish_non_exhaustive()
    }
}

/// Packs at most `width` columns into one panel, `[rows, width]`, padded with zeros.
pub(super) fn pack_b(panel: &mut [f32], columns: Matrix<'_>, width: usize) {
    if columns.columns == 0 || columns.rows == 0 {
        return;
    }
    if columns.columns < width {
        panel.fill(0.0);
    }
    if columns.column_stride == 1 {
        for (row, out) in panel.chunks_exact_mut(width).enumerate() {
            let values = &columns.data[row * columns.row_stride..][..columns.columns];
            out[..values.len()].copy_from_slice(values);
        }
    } else {
        transpose(panel, width, columns.transposed());
    }
}

/// Side of the square blocks of a blocked transpose, so that source and destination stay in cache.
const SQUARE: usize = 16;

/// Writes row r of `matrix` to column r of `out`, whose rows are `stride` apart.
pub(super) fn transpose(out: &mut [f32], stride: usize, matrix: Matrix<'_>) {
    let Matrix {
        data,
        rows,
        columns,
        row_stride,
        column_stride,
    } = matrix;
    assert!(
        rows <= stride && (columns == 0 || out.len() >= (columns - 1) * stride + rows),
        "transpose of {rows}×{columns} exceeds the output: stride {stride}, {} values",
        out.len()
    );
    vectorized(
        #[inline(always)]
        || {
            for first_row in (0..rows).step_by(SQUARE) {
                let last_row = rows.min(first_row + SQUARE);
                for first in (0..columns).step_by(SQUARE) {
                    let last = columns.min(first + SQUARE);
                    if last - first == SQUARE
                        && last_row - first_row == SQUARE
                        && column_stride == 1
                    {
                        let source = &data[first_row * row_stride + first..];
                        transpose_square(
                            &mut out[first * stride + first_row..],
                            stride,
                            source,
                            row_stride,
                        );
                        continue;
                    }
                    for row in first_row..last_row {
                        for column in first..last {
                            out[column * stride + row] =
                                data[row * row_stride + column * column_stride];
                        }
                    }
                }
            }
        },
    );
}

/// Transposes one full square block with contiguous rows.
#[inline(always)]
fn transpose_square(out: &mut [f32], stride: usize, source: &[f32], row_stride: usize) {
    let mut square = [[0.0f32; SQUARE]; SQUARE];
    for (r, row) in square.iter_mut().enumerate() {
        row.copy_from_slice(&source[r * row_stride..][..SQUARE]);
    }
    for c in 0..SQUARE {
        let mut column = [0.0f32; SQUARE];
        for r in 0..SQUARE {
            column[r] = square[r][c];
        }
        out[c * stride..][..SQUARE].copy_from_slice(&column);
    }
}
