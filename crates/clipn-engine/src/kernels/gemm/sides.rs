//! The sides of a product, as the micro-kernel reads them: in place, or copied.

use super::pack::{PackedB, pack_b};
use super::{LeftRows, PanelRows, PanelWidth, transpose};
use crate::kernels::Matrix;
use crate::kernels::aligned::AlignedVec;

/// Maximum number of rows of A for which the rows of B are read where they are: packing pays off
/// when more rows use a panel.
const MAX_ROWS_IN_PLACE: usize = 128;

/// Distance of rows, in bytes, whose multiples map to few sets of the first-level cache.
const CONFLICTING_STRIDE: usize = 2048;

/// Maximum number of panels for which the columns of a transposed A are read where they are:
/// copying A pays off when more panels use it.
const MAX_PANELS_IN_PLACE: usize = 2;

/// Right-hand side B of a product.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Rhs<'a> {
    /// Packed during the product, panel by panel.
    Unpacked(Matrix<'a>),
    /// Packed in advance.
    Packed(&'a PackedB),
}

impl Rhs<'_> {
    pub(super) fn rows(&self) -> usize {
        match self {
            Self::Unpacked(matrix) => matrix.rows,
            Self::Packed(packed) => packed.rows(),
        }
    }

    /// Number of columns.
    pub(crate) fn columns(&self) -> usize {
        match self {
            Self::Unpacked(matrix) => matrix.columns,
            Self::Packed(packed) => packed.columns(),
        }
    }

    pub(super) fn fits_slice(&self) -> bool {
        match self {
            Self::Unpacked(matrix) => matrix.fits_slice(),
            Self::Packed(_) => true,
        }
    }
}

impl<'a> From<Matrix<'a>> for Rhs<'a> {
    fn from(matrix: Matrix<'a>) -> Self {
        Self::Unpacked(matrix)
    }
}

impl<'a> From<&'a PackedB> for Rhs<'a> {
    fn from(packed: &'a PackedB) -> Self {
        Self::Packed(packed)
    }
}

/// Returns rows of A for the micro-kernel, which reads them once per panel: where they are, or
/// copied into `buffer` if their values are not contiguous and many panels use them.
pub(super) fn left_rows<'a>(
    matrix: Matrix<'a>,
    panels: usize,
    buffer: &'a mut AlignedVec<f32>,
) -> LeftRows<'a> {
    let Matrix { rows, columns, .. } = matrix;
    let conflicts = (matrix.column_stride * size_of::<f32>()).is_multiple_of(CONFLICTING_STRIDE);
    let in_place = panels <= MAX_PANELS_IN_PLACE && !conflicts;
    if matrix.column_stride == 1 || rows == 0 || columns == 0 || in_place {
        return LeftRows {
            data: matrix.data,
            row_stride: matrix.row_stride,
            depth_stride: matrix.column_stride,
        };
    }
    let copy = buffer.first_n(rows * columns);
    transpose(copy, columns, matrix.transposed());
    LeftRows {
        data: copy,
        row_stride: columns,
        depth_stride: 1,
    }
}

/// Returns one panel of B for the micro-kernel, which reads it once per tile of rows of A: where it
/// is, or packed into `buffer` if that pays off.
pub(super) fn panel_rows<'a>(
    matrix: Matrix<'a>,
    rows_of_a: usize,
    buffer: &'a mut AlignedVec<f32>,
) -> PanelRows<'a> {
    let width = PanelWidth::current().padded(matrix.columns);
    let conflicts = (matrix.row_stride * size_of::<f32>()).is_multiple_of(CONFLICTING_STRIDE);
    let in_place = matrix.column_stride == 1
        && matrix.columns == width
        && rows_of_a <= MAX_ROWS_IN_PLACE
        && !conflicts;
    let (data, stride) = if in_place {
        (matrix.data, matrix.row_stride)
    } else {
        let panel = buffer.first_n(matrix.rows * width);
        pack_b(panel, matrix, width);
        (&*panel, width)
    };
    PanelRows {
        data,
        stride,
        next: &[],
    }
}
