//! Views of matrices in slices.

use std::ops::Range;

/// A strided matrix view: the value at row r, column c is at `r·row_stride + c·column_stride`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Matrix<'a> {
    pub(super) data: &'a [f32],
    pub(super) rows: usize,
    pub(super) columns: usize,
    pub(super) row_stride: usize,
    pub(super) column_stride: usize,
}

impl<'a> Matrix<'a> {
    /// Creates a `rows` × `columns` view with contiguous values in each row and rows `row_stride`
    /// apart.
    pub(crate) fn new(data: &'a [f32], rows: usize, columns: usize, row_stride: usize) -> Self {
        Self {
            data,
            rows,
            columns,
            row_stride,
            column_stride: 1,
        }
    }

    /// Creates a contiguous row-major view with `columns` columns and as many rows as the slice
    /// holds.
    pub(crate) fn row_major(data: &'a [f32], columns: usize) -> Self {
        Self::new(data, data.len() / columns.max(1), columns, columns)
    }

    /// Returns the transpose, a view of the same values.
    pub(crate) fn transposed(self) -> Self {
        Self {
            rows: self.columns,
            columns: self.rows,
            row_stride: self.column_stride,
            column_stride: self.row_stride,
            ..self
        }
    }

    /// Returns the columns `first..first + count` of a matrix with a column stride of 1.
    ///
    /// # Panics
    ///
    /// Panics if the column stride is not 1 or the range exceeds the number of columns.
    pub(crate) fn column_range(self, first: usize, count: usize) -> Self {
        assert!(
            self.column_stride == 1 && first + count <= self.columns,
            "columns {first}..{} of a matrix with {} columns and column stride {}",
            first + count,
            self.columns,
            self.column_stride
        );
        let data = if self.rows == 0 {
            self.data
        } else {
            &self.data[first..]
        };
        Self {
            data,
            columns: count,
            ..self
        }
    }

    /// Number of columns.
    pub(crate) fn columns(&self) -> usize {
        self.columns
    }

    /// Returns the submatrix with these rows and columns.
    pub(super) fn submatrix(self, rows: Range<usize>, columns: Range<usize>) -> Self {
        let first = rows.start * self.row_stride + columns.start * self.column_stride;
        let data = if rows.is_empty() || columns.is_empty() {
            &[][..]
        } else {
            &self.data[first..]
        };
        Self {
            data,
            rows: rows.len(),
            columns: columns.len(),
            ..self
        }
    }

    pub(super) fn fits_slice(&self) -> bool {
        self.rows == 0
            || self.columns == 0
            || (self.rows - 1) * self.row_stride + (self.columns - 1) * self.column_stride
                < self.data.len()
    }
}

/// A mutable strided matrix view: the value at row r, column c is at `r·row_stride + c`.
#[derive(Debug)]
pub(crate) struct MatrixMut<'a> {
    data: &'a mut [f32],
    rows: usize,
    columns: usize,
    row_stride: usize,
}

impl<'a> MatrixMut<'a> {
    /// Creates a `rows` × `columns` view with rows `row_stride` apart.
    pub(crate) fn new(data: &'a mut [f32], rows: usize, columns: usize, row_stride: usize) -> Self {
        Self {
            data,
            rows,
            columns,
            row_stride,
        }
    }

    /// Creates a contiguous row-major view with `columns` columns and as many rows as the slice
    /// holds.
    pub(crate) fn row_major(data: &'a mut [f32], columns: usize) -> Self {
        let rows = data.len() / columns.max(1);
        Self::new(data, rows, columns, columns)
    }

    /// Returns the values and the distance of the rows of a view of this shape.
    ///
    /// # Panics
    ///
    /// Panics if the view has another shape, exceeds its slice, or has overlapping rows.
    pub(crate) fn into_data(self, rows: usize, columns: usize) -> (&'a mut [f32], usize) {
        assert!(
            self.rows == rows && self.columns == columns,
            "expected an output of {rows}×{columns}, got {}×{}",
            self.rows,
            self.columns
        );
        let whole = Matrix::new(self.data, rows, columns, self.row_stride);
        assert!(whole.fits_slice(), "matrix view exceeds its slice");
        assert!(
            self.row_stride >= columns || rows <= 1,
            "output rows overlap: row stride {}, {columns} columns",
            self.row_stride
        );
        (self.data, self.row_stride)
    }
}
