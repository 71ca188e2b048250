use super::micro_kernel::PanelWidth;
use super::transpose::transpose;
use crate::kernels::Matrix;
use crate::kernels::aligned::AlignedVec;

/// Packed right-hand side B of a product: column panels in the order in which the micro-kernel
/// reads them.
///
/// In each panel the values of a row are contiguous. The rows of the last panel are zero-padded to
/// whole vectors.
#[derive(Clone)]
pub(crate) struct PackedB {
    /// Aligned to cache lines, as is every panel.
    values: AlignedVec<f32>,
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
        let mut values = AlignedVec::zeros(
            ends.clone()
                .zip(firsts.clone())
                .map(|(end, first)| width.padded(end - first) * rows)
                .sum(),
        );
        let mut rest = values.as_mut_slice();
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
        &self.values.as_slice()[before * self.rows + first * width..][..count * width]
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
    let used = columns.columns;
    if used == 0 || columns.rows == 0 {
        return;
    }
    if columns.column_stride == 1 {
        for (row, out) in panel.chunks_exact_mut(width).enumerate() {
            let values = &columns.data[row * columns.row_stride..][..used];
            let (out, padding) = out.split_at_mut(used);
            out.copy_from_slice(values);
            padding.fill(0.0);
        }
    } else {
        if used < width {
            for out in panel.chunks_exact_mut(width) {
                out[used..].fill(0.0);
            }
        }
        transpose(panel, width, columns.transposed());
    }
}
