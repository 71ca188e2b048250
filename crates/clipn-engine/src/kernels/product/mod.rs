//! Matrix products in f32, written once for every width of SIMD. The right side is laid out in panels, either for one
//! product, panel by panel, or once for all ([`Panels`], for weights that stay).

mod panels;
mod tile;

use std::cell::RefCell;
use std::ops::Range;

use rayon::prelude::*;

use super::sized;
use panels::{lay_out, transpose};
use tile::{PanelWidth, Rows};

pub(crate) use panels::Panels;

/// Rows of the right side that are taken at once: a panel of them stays in the second-level cache. Longer sums are made
/// of parts, which also rounds less.
const DEPTH: usize = 1024;

/// A matrix inside a slice: row r, column c is at `r·row_stride + c·column_stride`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Matrix<'a> {
    data: &'a [f32],
    rows: usize,
    columns: usize,
    row_stride: usize,
    column_stride: usize,
}

impl<'a> Matrix<'a> {
    /// `rows` × `columns`, the columns of a row side by side, rows `row_stride` apart.
    pub fn new(data: &'a [f32], rows: usize, columns: usize, row_stride: usize) -> Self {
        Self {
            data,
            rows,
            columns,
            row_stride,
            column_stride: 1,
        }
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
        assert!(
            self.column_stride == 1 && first + count <= self.columns,
            "no such columns"
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
    pub fn width(&self) -> usize {
        self.columns
    }

    /// Number of rows.
    pub fn height(&self) -> usize {
        self.rows
    }

    /// Some of the rows and columns.
    fn part(self, rows: Range<usize>, columns: Range<usize>) -> Self {
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

    fn is_inside(&self) -> bool {
        self.rows == 0
            || self.columns == 0
            || (self.rows - 1) * self.row_stride + (self.columns - 1) * self.column_stride
                < self.data.len()
    }
}

/// A matrix to write: row r, column c is at `r·row_stride + c`.
#[derive(Debug)]
pub(crate) struct MatrixMut<'a> {
    data: &'a mut [f32],
    rows: usize,
    columns: usize,
    row_stride: usize,
}

impl<'a> MatrixMut<'a> {
    /// `rows` × `columns`, rows `row_stride` apart.
    pub fn new(data: &'a mut [f32], rows: usize, columns: usize, row_stride: usize) -> Self {
        Self {
            data,
            rows,
            columns,
            row_stride,
        }
    }

    /// A contiguous matrix of `columns` columns and as many rows as the slice holds.
    pub fn packed(data: &'a mut [f32], columns: usize) -> Self {
        let rows = data.len() / columns.max(1);
        Self::new(data, rows, columns, columns)
    }
}

/// The right side of a product.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Right<'a> {
    /// To be laid out for this product.
    Matrix(Matrix<'a>),
    /// Laid out before.
    Panels(&'a Panels),
}

impl Right<'_> {
    fn rows(&self) -> usize {
        match self {
            Self::Matrix(matrix) => matrix.rows,
            Self::Panels(panels) => panels.rows(),
        }
    }

    /// Number of columns.
    pub fn columns(&self) -> usize {
        match self {
            Self::Matrix(matrix) => matrix.columns,
            Self::Panels(panels) => panels.columns(),
        }
    }

    fn is_inside(&self) -> bool {
        match self {
            Self::Matrix(matrix) => matrix.is_inside(),
            Self::Panels(_) => true,
        }
    }
}

/// What a product is made into: scale·a·b, plus a bias to every row, plus what the result held.
#[derive(Debug, Clone, Copy)]
struct Sum<'a> {
    scale: f32,
    /// A value a column, or none.
    bias: &'a [f32],
    accumulate: bool,
}

/// out = scale·a·b, plus what `out` held where `accumulate`; on as many threads as `threads` says.
///
/// # Panics
/// Shapes that do not fit, which is a mistake of the caller, never of its input.
pub(crate) fn product(
    out: MatrixMut<'_>,
    a: Matrix<'_>,
    b: Matrix<'_>,
    scale: f32,
    accumulate: bool,
    threads: usize,
) {
    multiply(
        out,
        a,
        Right::Matrix(b),
        Sum {
            scale,
            bias: &[],
            accumulate,
        },
        threads,
    );
}

/// out = a·b + bias, plus what `out` held where `accumulate`. No bias is an empty one.
///
/// # Panics
/// As [`product`].
pub(crate) fn linear_product(
    out: MatrixMut<'_>,
    a: Matrix<'_>,
    b: Right<'_>,
    bias: &[f32],
    accumulate: bool,
    threads: usize,
) {
    multiply(
        out,
        a,
        b,
        Sum {
            scale: 1.0,
            bias,
            accumulate,
        },
        threads,
    );
}

/// The first column of the result, for threads that write different columns of it.
#[derive(Clone, Copy)]
struct Columns(*mut f32);

// SAFETY: the threads write disjoint columns, see `multiply`.
unsafe impl Send for Columns {}
// SAFETY: as above.
unsafe impl Sync for Columns {}

fn multiply(out: MatrixMut<'_>, a: Matrix<'_>, b: Right<'_>, sum: Sum<'_>, threads: usize) {
    let MatrixMut {
        data,
        rows,
        columns,
        row_stride,
    } = out;
    assert!(
        a.rows == rows && a.columns == b.rows() && b.columns() == columns,
        "a product of {}×{} and {}×{} does not give {}×{}",
        a.rows,
        a.columns,
        b.rows(),
        b.columns(),
        rows,
        columns
    );
    let whole = Matrix::new(data, rows, columns, row_stride);
    let is_inside = a.is_inside() && whole.is_inside() && b.is_inside();
    assert!(is_inside, "a matrix reaches beyond its slice");
    assert!(
        sum.bias.is_empty() || sum.bias.len() == columns,
        "a bias has another length than a row"
    );
    assert!(
        row_stride >= columns || rows <= 1,
        "rows of the result overlap"
    );
    if rows == 0 || columns == 0 {
        return;
    }
    let panels = columns.div_ceil(PanelWidth::current().whole);
    let out = Columns(data.as_mut_ptr());
    let part = |panels: Range<usize>| {
        // SAFETY: `is_inside` above: the result's rows and columns lie in its slice, which is borrowed mutably; each
        // part writes the columns of its own panels.
        unsafe { multiply_panels(out, row_stride, a, b, panels, sum) };
    };
    let parts = threads.clamp(1, panels);
    if parts == 1 {
        part(0..panels);
    } else {
        (0..parts)
            .into_par_iter()
            .with_max_len(1)
            .for_each(|i| part(i * panels / parts..(i + 1) * panels / parts));
    }
}

/// Buffers that a thread keeps from product to product.
#[derive(Default)]
struct Scratch {
    a: Vec<f32>,
    panel: Vec<f32>,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

/// The columns of some panels.
///
/// # Safety
/// `out` must point to a matrix of `a`'s rows and `b`'s columns, rows `out_stride` apart, whose columns of `panels`
/// nothing else uses meanwhile.
unsafe fn multiply_panels(
    out: Columns,
    out_stride: usize,
    a: Matrix<'_>,
    b: Right<'_>,
    panels: Range<usize>,
    sum: Sum<'_>,
) {
    let (width, columns) = (PanelWidth::current(), b.columns());
    SCRATCH.with_borrow_mut(|scratch| {
        // Once at least: a sum of nothing still has its bias.
        for first in (0..a.columns.max(1)).step_by(DEPTH) {
            let depth = DEPTH.min(a.columns - first);
            let left = a.part(0..a.rows, first..first + depth);
            // A left side whose rows are not contiguous is made so.
            let (a, a_stride) = if depth == 0 {
                (&[][..], 0)
            } else if left.column_stride == 1 {
                (left.data, left.row_stride)
            } else {
                let a = sized(&mut scratch.a, a.rows * depth);
                transpose(a, depth, left.transposed());
                (&*a, depth)
            };
            for index in panels.clone() {
                let start = index * width.whole;
                let end = columns.min(start + width.whole);
                let panel = match b {
                    Right::Panels(panels) => panels.part(index, first, depth),
                    Right::Matrix(matrix) => {
                        let width = width.of(end - start);
                        let panel = sized(&mut scratch.panel, depth * width);
                        lay_out(panel, matrix.part(first..first + depth, start..end), width);
                        panel
                    }
                };
                let rows = Rows {
                    // SAFETY: `start` is below the number of columns.
                    out: unsafe { out.0.add(start) },
                    out_stride,
                    a,
                    a_stride,
                    rows: left.rows,
                    panel,
                    depth,
                    columns: end - start,
                    scale: sum.scale,
                    bias: if first == 0 && !sum.bias.is_empty() {
                        &sum.bias[start..end]
                    } else {
                        &[]
                    },
                    accumulate: sum.accumulate || first > 0,
                };
                // SAFETY: the rows and columns of the result that the caller vouches for.
                unsafe { rows.run() };
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn values(count: usize, seed: usize) -> Vec<f32> {
        (0..count)
            .map(|i| (((i * 7919 + seed * 104_729) % 2003) as f32 - 1001.0) / 700.0)
            .collect()
    }

    /// A matrix with `gap` unused values after each row, or after each column where `transposed`.
    fn matrix(
        data: &[f32],
        rows: usize,
        columns: usize,
        gap: usize,
        transposed: bool,
    ) -> Matrix<'_> {
        match transposed {
            true => Matrix::new(data, columns, rows, rows + gap).transposed(),
            false => Matrix::new(data, rows, columns, columns + gap),
        }
    }

    fn at(m: &Matrix<'_>, row: usize, column: usize) -> f64 {
        f64::from(m.data[row * m.row_stride + column * m.column_stride])
    }

    /// Three loops in f64.
    fn plain(a: &Matrix<'_>, b: &Matrix<'_>, row: usize, column: usize) -> f64 {
        (0..a.columns)
            .map(|k| at(a, row, k) * at(b, k, column))
            .sum()
    }

    proptest! {
        #[test]
        fn agrees_with_three_loops(
            m in 1usize..40, n in 1usize..150, k in 0usize..50, gap in 0usize..3,
            accumulate: bool, with_bias: bool, a_transposed: bool, b_transposed: bool, threads in 1usize..4,
        ) {
            let (a, b) = (values((m + gap) * (k + gap), 1), values((n + gap) * (k + gap), 2));
            let (a, b) = (matrix(&a, m, k, gap, a_transposed), matrix(&b, k, n, gap, b_transposed));
            let before = values(m * (n + gap), 3);
            let bias = if with_bias { values(n, 4) } else { Vec::new() };
            let (mut out, mut prepared) = (before.clone(), before.clone());
            product(MatrixMut::new(&mut out, m, n, n + gap), a, b, 0.5, accumulate, threads);
            let panels = Panels::of(b);
            let right = Right::Panels(&panels);
            linear_product(MatrixMut::new(&mut prepared, m, n, n + gap), a, right, &bias, accumulate, threads);
            for r in 0..m {
                for c in 0..n + gap {
                    let index = r * (n + gap) + c;
                    let (found, prepared, held) = (out[index], prepared[index], f64::from(before[index]));
                    if c >= n {
                        prop_assert!(f64::from(found) == held && f64::from(prepared) == held);
                        continue;
                    }
                    let (sum, held) = (plain(&a, &b, r, c), if accumulate { held } else { 0.0 });
                    prop_assert!((f64::from(found) - (0.5 * sum + held)).abs() < 1e-4, "{found} at {r},{c}");
                    let biased = sum + held + bias.get(c).copied().map_or(0.0, f64::from);
                    prop_assert!((f64::from(prepared) - biased).abs() < 1e-4, "{prepared} at {r},{c}");
                }
            }
        }
    }

    #[test]
    fn sums_longer_than_a_panel_are_whole() {
        let (m, k, n) = (7, 2 * DEPTH + 3, 70);
        let (a, b) = (values(m * k, 1), values(k * n, 2));
        for transposed in [false, true] {
            let (a, b) = (
                matrix(&a, m, k, 0, transposed),
                matrix(&b, k, n, 0, transposed),
            );
            let mut out = vec![9.0; m * n];
            product(MatrixMut::packed(&mut out, n), a, b, 1.0, false, 2);
            for (i, found) in out.iter().enumerate() {
                assert!(
                    (f64::from(*found) - plain(&a, &b, i / n, i % n)).abs() < 2e-3,
                    "{found} at {i}"
                );
            }
        }
    }

    #[test]
    #[should_panic(expected = "does not give")]
    fn shapes_that_do_not_fit_are_refused() {
        let (a, b, mut out) = (vec![0.0; 6], vec![0.0; 6], vec![0.0; 4]);
        product(
            MatrixMut::packed(&mut out, 2),
            Matrix::packed(&a, 3),
            Matrix::packed(&b, 3),
            1.0,
            false,
            1,
        );
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
