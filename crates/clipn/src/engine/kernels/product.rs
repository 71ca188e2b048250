use gemm_common::Parallelism;

/// A matrix inside a slice: row r, column c is at `r·row_stride + c·column_stride`.
#[derive(Debug, Clone, Copy)]
pub(in super::super) struct Matrix<'a> {
    data: &'a [f32],
    rows: usize,
    columns: usize,
    row_stride: usize,
    column_stride: usize,
}

impl<'a> Matrix<'a> {
    /// `rows` × `columns`, the columns of a row side by side, rows `row_stride` apart.
    pub fn new(data: &'a [f32], rows: usize, columns: usize, row_stride: usize) -> Self {
        Self { data, rows, columns, row_stride, column_stride: 1 }
    }

    /// A contiguous matrix of `columns` columns and as many rows as the slice holds.
    pub fn packed(data: &'a [f32], columns: usize) -> Self {
        Self::new(data, data.len() / columns.max(1), columns, columns)
    }

    /// The same values with rows and columns exchanged.
    pub fn transposed(self) -> Self {
        Self {
            rows: self.columns,
            columns: self.rows,
            row_stride: self.column_stride,
            column_stride: self.row_stride,
            ..self
        }
    }

    /// `count` of the columns, from `first` on, of a matrix whose columns stand side by side.
    ///
    /// # Panics
    /// Columns that it does not have.
    pub fn columns(self, first: usize, count: usize) -> Self {
        assert!(self.column_stride == 1 && first + count <= self.columns, "no such columns");
        let data = if self.rows == 0 { self.data } else { &self.data[first..] };
        Self { data, columns: count, ..self }
    }

    /// Number of columns.
    pub fn width(&self) -> usize {
        self.columns
    }

    fn is_inside(&self) -> bool {
        self.rows == 0
            || self.columns == 0
            || (self.rows - 1) * self.row_stride + (self.columns - 1) * self.column_stride < self.data.len()
    }
}

/// A matrix to write: row r, column c is at `r·row_stride + c`.
#[derive(Debug)]
pub(in super::super) struct MatrixMut<'a> {
    data: &'a mut [f32],
    rows: usize,
    columns: usize,
    row_stride: usize,
}

impl<'a> MatrixMut<'a> {
    /// `rows` × `columns`, rows `row_stride` apart.
    pub fn new(data: &'a mut [f32], rows: usize, columns: usize, row_stride: usize) -> Self {
        Self { data, rows, columns, row_stride }
    }

    /// A contiguous matrix of `columns` columns and as many rows as the slice holds.
    pub fn packed(data: &'a mut [f32], columns: usize) -> Self {
        let rows = data.len() / columns.max(1);
        Self::new(data, rows, columns, columns)
    }
}

/// out = scale·a·b, plus what `out` held where `accumulate`; on as many threads as `threads` says.
///
/// # Panics
/// Shapes that do not fit, which is a mistake of the caller, never of its input.
pub(in super::super) fn product(
    out: MatrixMut<'_>,
    a: Matrix<'_>,
    b: Matrix<'_>,
    scale: f32,
    accumulate: bool,
    threads: usize,
) {
    let MatrixMut { data, rows, columns, row_stride } = out;
    assert!(
        a.rows == rows && a.columns == b.rows && b.columns == columns,
        "a product of {}×{} and {}×{} does not give {}×{}",
        a.rows,
        a.columns,
        b.rows,
        b.columns,
        rows,
        columns
    );
    let whole = Matrix::new(data, rows, columns, row_stride);
    assert!(a.is_inside() && b.is_inside() && whole.is_inside(), "a matrix reaches beyond its slice");
    assert!(row_stride >= columns || rows <= 1, "rows of the result overlap");
    let parallelism = if threads > 1 { Parallelism::Rayon(threads) } else { Parallelism::None };
    // The kernels want a result whose columns are contiguous, so the transposed product bᵀ·aᵀ is computed.
    let kernel = gemm_f32::gemm::f32::get_gemm_fn();
    // SAFETY: every index that the strides and sizes can form lies inside the three slices (`is_inside`), the result's
    // slice is borrowed mutably and so overlaps neither factor, and its rows do not overlap each other.
    unsafe {
        kernel(
            columns,
            rows,
            a.columns,
            data.as_mut_ptr(),
            row_stride as isize,
            1,
            accumulate,
            b.data.as_ptr(),
            b.row_stride as isize,
            b.column_stride as isize,
            a.data.as_ptr(),
            a.row_stride as isize,
            a.column_stride as isize,
            1.0,
            scale,
            false,
            false,
            false,
            parallelism,
        );
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn values(count: usize, seed: usize) -> Vec<f32> {
        (0..count).map(|i| (((i * 7919 + seed * 104_729) % 2003) as f32 - 1001.0) / 700.0).collect()
    }

    proptest! {
        #[test]
        fn agrees_with_three_loops(
            m in 1usize..40, n in 1usize..40, k in 0usize..50,
            gap in 0usize..3, accumulate: bool, transposed: bool, threads in 1usize..3,
        ) {
            let a = values(m * (k + gap), 1);
            let b = values(k.max(1) * n.max(k + gap) + n * (k + gap), 2);
            let mut out = values(m * (n + gap), 3);
            let before = out.clone();
            let right = if transposed {
                Matrix::new(&b, n, k, k + gap).transposed()
            } else {
                Matrix::new(&b, k, n, n)
            };
            product(
                MatrixMut::new(&mut out, m, n, n + gap), Matrix::new(&a, m, k, k + gap), right, 0.5, accumulate, threads,
            );
            for r in 0..m {
                for c in 0..n + gap {
                    let held = f64::from(before[r * (n + gap) + c]);
                    let expected = if c >= n { held } else {
                        let sum: f64 = (0..k).map(|i| {
                            let right = if transposed { b[c * (k + gap) + i] } else { b[i * n + c] };
                            f64::from(a[r * (k + gap) + i]) * f64::from(right)
                        }).sum();
                        0.5 * sum + if accumulate { held } else { 0.0 }
                    };
                    let found = f64::from(out[r * (n + gap) + c]);
                    prop_assert!((found - expected).abs() < 1e-4, "{m}×{k}·{k}×{n} at {r},{c}: {found} {expected}");
                }
            }
        }
    }

    #[test]
    #[should_panic(expected = "does not give")]
    fn shapes_that_do_not_fit_are_refused() {
        let (a, b, mut out) = (vec![0.0; 6], vec![0.0; 6], vec![0.0; 4]);
        product(MatrixMut::packed(&mut out, 2), Matrix::packed(&a, 3), Matrix::packed(&b, 3), 1.0, false, 1);
    }

    #[test]
    #[should_panic(expected = "beyond its slice")]
    fn a_matrix_beyond_its_slice_is_refused() {
        let (a, b, mut out) = (vec![0.0; 5], vec![0.0; 6], vec![0.0; 4]);
        product(
            MatrixMut::packed(&mut out, 2),
            Matrix::new(&a, 2, 3, 3),
            Matrix::packed(&b, 2),
            1.0,
            false,
            1,
        );
    }
}
