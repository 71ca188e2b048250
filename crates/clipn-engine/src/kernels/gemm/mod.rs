//! General matrix multiplication (GEMM) in f32, written once for all SIMD levels.
//!
//! The right-hand side B is packed into column panels, which a register-tiled micro-kernel reads. B
//! is packed either during each product, one panel at a time, or once in advance ([`PackedB`], for
//! constant weights). In BLIS's terms, a tile has MR rows and NR columns, and at most KC rows of B
//! are packed at a time.

mod micro_kernel;
mod pack;
mod sides;
mod transpose;

use std::cell::RefCell;
use std::ops::Range;

use clipn_model::Activation;

pub(super) use micro_kernel::{LeftRows, MR, PanelKernel, PanelRows, PanelWidth};
pub(crate) use pack::PackedB;
pub(crate) use sides::Rhs;
pub(crate) use transpose::transpose;

use super::aligned::AlignedVec;
use super::jobs::{OutputPtr, run_jobs};
use super::matrix::{Matrix, MatrixMut};
use sides::{left_rows, panel_rows};

/// Maximum depth of a packed panel (BLIS's KC): a panel of this depth stays in the second-level
/// cache. Longer sums are split into partial sums, which also reduces rounding errors.
const KC: usize = 1024;

/// What a product does with a·b before storing it: alpha·a·b + bias, plus the previous value of
/// `out` if `accumulate`, then the activation. The default stores a·b.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Epilogue<'a> {
    pub alpha: f32,
    /// One value per column, or empty for no bias.
    pub bias: &'a [f32],
    pub accumulate: bool,
    /// Applied to every value, tile by tile, while it is in the first-level cache.
    pub activation: Option<Activation>,
}

impl Default for Epilogue<'_> {
    fn default() -> Self {
        Self {
            alpha: 1.0,
            bias: &[],
            accumulate: false,
            activation: None,
        }
    }
}

/// Computes out = activation(alpha·a·b + bias), plus the previous value of `out` if `accumulate`
/// (see [`Epilogue`]), on `threads` threads.
///
/// # Panics
///
/// Panics if the shapes do not match or a view exceeds its slice. This is a bug in the caller,
/// never a property of its input.
pub(crate) fn gemm<'b>(
    out: MatrixMut<'_>,
    a: Matrix<'_>,
    b: impl Into<Rhs<'b>>,
    epilogue: Epilogue<'_>,
    threads: usize,
) {
    let b = b.into();
    assert!(
        a.columns == b.rows(),
        "cannot multiply {}×{} by {}×{}",
        a.rows,
        a.columns,
        b.rows(),
        b.columns()
    );
    let (rows, columns) = (a.rows, b.columns());
    let (data, row_stride) = out.into_data(rows, columns);
    assert!(
        a.fits_slice() && b.fits_slice(),
        "matrix view exceeds its slice"
    );
    assert!(
        epilogue.bias.is_empty() || epilogue.bias.len() == columns,
        "expected a bias of {columns} values, got {}",
        epilogue.bias.len()
    );
    if rows == 0 || columns == 0 {
        return;
    }
    let panels = columns.div_ceil(PanelWidth::current().nr);
    let out = OutputPtr(data.as_mut_ptr());
    run_jobs(panels, threads, |panels| {
        // SAFETY: `into_data` checked that all rows and columns of the output lie in its slice, which
        // is borrowed mutably. Each job writes only the columns of its own panels.
        unsafe { gemm_panels(out, row_stride, a, b, panels, epilogue) };
    });
}

/// Per-thread buffers, reused from product to product.
#[derive(Default)]
struct Scratch {
    /// Rows of A made contiguous.
    a: AlignedVec<f32>,
    /// One packed panel of B.
    panel: AlignedVec<f32>,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

/// Computes the output columns of some panels.
///
/// # Safety
///
/// `out` must point to a matrix with as many rows as `a` and as many columns as `b`, rows
/// `out_stride` apart. Nothing else may access the columns of `panels` during the call.
unsafe fn gemm_panels(
    out: OutputPtr,
    out_stride: usize,
    a: Matrix<'_>,
    b: Rhs<'_>,
    panels: Range<usize>,
    epilogue: Epilogue<'_>,
) {
    let (width, columns) = (PanelWidth::current(), b.columns());
    SCRATCH.with_borrow_mut(|scratch| {
        // At least one iteration: a product of depth 0 still adds the bias.
        for first in (0..a.columns.max(1)).step_by(KC) {
            let depth = KC.min(a.columns - first);
            let left = a.submatrix(0..a.rows, first..first + depth);
            let is_last = first + depth == a.columns;
            let rows = left_rows(left, panels.len(), &mut scratch.a);
            for index in panels.clone() {
                let start = index * width.nr;
                let end = columns.min(start + width.nr);
                let panel = match b {
                    Rhs::Packed(packed) => PanelRows {
                        data: packed.panel_rows(index, first, depth),
                        stride: width.padded(end - start),
                        next: if index + 1 < panels.end {
                            packed.panel_rows(index + 1, first, depth)
                        } else {
                            &[]
                        },
                    },
                    Rhs::Unpacked(matrix) => {
                        let part = matrix.submatrix(first..first + depth, start..end);
                        panel_rows(part, a.rows, &mut scratch.panel)
                    }
                };
                let kernel = PanelKernel {
                    // SAFETY: `start` is below the number of columns.
                    out: unsafe { out.as_ptr().add(start) },
                    out_stride,
                    a: rows,
                    rows: left.rows,
                    panel,
                    depth,
                    columns: end - start,
                    alpha: epilogue.alpha,
                    bias: if first == 0 && !epilogue.bias.is_empty() {
                        &epilogue.bias[start..end]
                    } else {
                        &[]
                    },
                    accumulate: epilogue.accumulate || first > 0,
                    activation: epilogue.activation.filter(|_| is_last),
                };
                // SAFETY: the caller guarantees exclusive access to these rows and columns of the
                // output.
                unsafe { kernel.run() };
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use clipn_testing::condition::UNIT_ROUNDOFF;
    use proptest::prelude::*;

    use super::*;

    fn values(count: usize, seed: usize) -> Vec<f32> {
        (0..count)
            .map(|i| (((i * 7919 + seed * 104_729) % 2003) as f32 - 1001.0) / 700.0)
            .collect()
    }

    /// A matrix with `gap` unused values after each row, or after each column if `transposed`.
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

    /// One value of a·b in f64, and the sum of the magnitudes of its terms.
    fn reference(a: &Matrix<'_>, b: &Matrix<'_>, row: usize, column: usize) -> (f64, f64) {
        (0..a.columns)
            .map(|k| at(a, row, k) * at(b, k, column))
            .fold((0.0, 0.0), |(sum, magnitude), term| {
                (sum + term, magnitude + term.abs())
            })
    }

    /// Bound on the error of a sum of `terms` products and two further values in f32, in any order:
    /// γₙ of Higham, "Accuracy and Stability of Numerical Algorithms", section 3.1, times the sum of
    /// the magnitudes.
    fn bound(terms: usize, magnitude: f64) -> f64 {
        let n_u = (terms + 3) as f64 * UNIT_ROUNDOFF;
        n_u / (1.0 - n_u) * magnitude
    }

    proptest! {
        #[test]
        fn agrees_with_a_naive_product_in_f64(
            m in 1usize..40, n in 1usize..150, k in 0usize..50, gap in 0usize..3,
            accumulate: bool, with_bias: bool, a_transposed: bool, b_transposed: bool, threads in 1usize..4,
        ) {
            let (a, b) = (values((m + gap) * (k + gap), 1), values((n + gap) * (k + gap), 2));
            let (a, b) = (matrix(&a, m, k, gap, a_transposed), matrix(&b, k, n, gap, b_transposed));
            let before = values(m * (n + gap), 3);
            let bias = if with_bias { values(n, 4) } else { Vec::new() };
            let (mut scaled, mut biased) = (before.clone(), before.clone());
            let out = MatrixMut::new(&mut scaled, m, n, n + gap);
            gemm(out, a, b, Epilogue { alpha: 0.5, accumulate, ..Epilogue::default() }, threads);
            let out = MatrixMut::new(&mut biased, m, n, n + gap);
            let epilogue = Epilogue { bias: &bias, accumulate, ..Epilogue::default() };
            gemm(out, a, &PackedB::pack(b), epilogue, threads);
            for r in 0..m {
                for c in 0..n + gap {
                    let index = r * (n + gap) + c;
                    let (scaled, biased) = (f64::from(scaled[index]), f64::from(biased[index]));
                    let before = f64::from(before[index]);
                    if c >= n {
                        prop_assert!(scaled == before && biased == before);
                        continue;
                    }
                    let (sum, magnitude) = reference(&a, &b, r, c);
                    let added = if accumulate { before } else { 0.0 };
                    let tolerance = bound(k, 0.5 * magnitude + added.abs());
                    prop_assert!((scaled - (0.5 * sum + added)).abs() <= tolerance, "{scaled} at {r},{c}");
                    let bias = bias.get(c).copied().map_or(0.0, f64::from);
                    let tolerance = bound(k, magnitude + added.abs() + bias.abs());
                    prop_assert!((biased - (sum + added + bias)).abs() <= tolerance, "{biased} at {r},{c}");
                }
            }
        }
    }

    #[test]
    fn a_fused_activation_gives_the_bits_of_a_separate_one() {
        for activation in [Activation::Gelu, Activation::QuickGelu] {
            for (m, k, n) in [(1, 3, 1), (7, 20, 70), (13, 5, 64), (20, KC + 9, 33)] {
                let (a, b, bias) = (values(m * k, 1), values(k * n, 2), values(n, 3));
                let mut separate = vec![0.0; m * n];
                let mut fused = separate.clone();
                for (out, activation) in [(&mut separate, None), (&mut fused, Some(activation))] {
                    let epilogue = Epilogue {
                        bias: &bias,
                        activation,
                        ..Epilogue::default()
                    };
                    let (a, b) = (Matrix::row_major(&a, k), Matrix::row_major(&b, n));
                    gemm(MatrixMut::row_major(out, n), a, b, epilogue, 2);
                }
                crate::kernels::activation::add_bias_and_activate(
                    &mut separate,
                    &vec![0.0; n],
                    activation,
                );
                assert_eq!(separate, fused, "{activation} {m}×{k}×{n}");
            }
        }
    }

    #[test]
    fn sides_read_in_place_give_the_bits_of_packed_ones() {
        // In place: few rows of A, whole vectors of B, at most two panels.
        let width = PanelWidth::current();
        for (m, k, n) in [
            (5, 9, width.nr),
            (37, 65, 2 * width.nr),
            (128, 3, width.lanes),
        ] {
            let (a, b) = (values(m * k, 1), values(k * n, 2));
            let b = Matrix::row_major(&b, n);
            let mut transposed = vec![0.0; m * k];
            transpose(&mut transposed, m, Matrix::row_major(&a, k));
            let in_place = Matrix::row_major(&transposed, m).transposed();
            let mut outs = [vec![0.0; m * n], vec![0.0; m * n]];
            let [first, second] = &mut outs;
            let out = MatrixMut::row_major(first, n);
            gemm(out, in_place, b, Epilogue::default(), 1);
            let (out, packed) = (MatrixMut::row_major(second, n), PackedB::pack(b));
            gemm(
                out,
                Matrix::row_major(&a, k),
                &packed,
                Epilogue::default(),
                1,
            );
            assert_eq!(outs[0], outs[1], "{m}×{k}×{n}");
        }
    }

    #[test]
    fn panels_start_at_cache_lines() {
        let values = values(300 * 150, 1);
        let packed = PackedB::pack(Matrix::row_major(&values, 150));
        let width = PanelWidth::current();
        for panel in 0..150usize.div_ceil(width.nr) {
            let start = packed.panel_rows(panel, 0, 300).as_ptr() as usize;
            // Panels narrower than a line, as without vectors, follow each other.
            let line = (width.nr * 300 * size_of::<f32>()).min(64);
            assert_eq!(start % line, 0, "panel {panel}");
        }
        SCRATCH.with_borrow_mut(|scratch| {
            assert_eq!(scratch.panel.first_n(100).as_ptr() as usize % 64, 0);
            assert_eq!(scratch.a.first_n(100).as_ptr() as usize % 64, 0);
        });
    }

    #[test]
    fn sums_deeper_than_one_panel_are_complete() {
        let (m, k, n) = (7, 2 * KC + 3, 70);
        let (a, b) = (values(m * k, 1), values(k * n, 2));
        for transposed in [false, true] {
            let (a, b) = (
                matrix(&a, m, k, 0, transposed),
                matrix(&b, k, n, 0, transposed),
            );
            let mut out = vec![9.0; m * n];
            gemm(
                MatrixMut::row_major(&mut out, n),
                a,
                b,
                Epilogue::default(),
                2,
            );
            for (i, found) in out.iter().enumerate() {
                let (sum, magnitude) = reference(&a, &b, i / n, i % n);
                assert!(
                    (f64::from(*found) - sum).abs() <= bound(k, magnitude),
                    "{found} at {i}"
                );
            }
        }
    }

    #[test]
    #[should_panic(expected = "cannot multiply 2×3 by 2×3")]
    fn rejects_mismatched_shapes() {
        let (a, b, mut out) = (vec![0.0; 6], vec![0.0; 6], vec![0.0; 4]);
        gemm(
            MatrixMut::row_major(&mut out, 2),
            Matrix::row_major(&a, 3),
            Matrix::row_major(&b, 3),
            Epilogue::default(),
            1,
        );
    }

    #[test]
    #[should_panic(expected = "exceeds its slice")]
    fn rejects_a_view_that_exceeds_its_slice() {
        let (a, b, mut out) = (vec![0.0; 5], vec![0.0; 6], vec![0.0; 4]);
        gemm(
            MatrixMut::row_major(&mut out, 2),
            Matrix::new(&a, 2, 3, 3),
            Matrix::row_major(&b, 2),
            Epilogue::default(),
            1,
        );
    }
}
