//! The register-tiled loop over bytes, written once for all instruction sets.

use clipn_model::Activation;

use super::GROUP;
use crate::kernels::activation::activate_row;
use crate::kernels::aligned::prefetch;

/// Product of quantized rows and one panel: out = (Σ q·w)·scale·scale + bias, plus the previous
/// value of `out` if `accumulate`, then the activation.
#[derive(Debug, Clone, Copy)]
pub(super) struct PanelJob<'a> {
    /// First column of the first output row.
    pub out: *mut f32,
    pub out_stride: usize,
    /// q + zero point of the rows, `a_stride` bytes each; the first `groups` groups are used.
    pub a: &'a [u8],
    pub a_stride: usize,
    /// Scale of each row.
    pub a_scales: &'a [f32],
    /// `[groups][panel width][4]`.
    pub panel: &'a [i8],
    /// The panel that comes next, to load into the cache meanwhile; or empty.
    pub next: &'a [i8],
    pub groups: usize,
    /// Scales and start values of the columns, whole panels.
    pub scales: &'a [f32],
    pub starts: &'a [i32],
    /// Output columns.
    pub columns: usize,
    /// `[columns]`, or empty for no bias.
    pub bias: &'a [f32],
    pub accumulate: bool,
    pub activation: Option<Activation>,
}

impl PanelJob<'_> {
    /// Number of rows.
    pub(super) fn rows(&self) -> usize {
        self.a_scales.len()
    }

    /// Scales a sum of products, adds what the epilogue adds, and stores it.
    ///
    /// # Safety
    ///
    /// `row` and `column` must be below the numbers of rows and columns, and nothing else may access
    /// that value of the output.
    #[inline(always)]
    pub(super) unsafe fn finish(&self, row: usize, column: usize, product: f32) {
        // SAFETY: the caller guarantees that it is a value of the output.
        let out = unsafe { &mut *self.out.add(row * self.out_stride + column) };
        let mut sum = product;
        if let Some(bias) = self.bias.get(column) {
            sum += bias;
        }
        if self.accumulate {
            sum += *out;
        }
        *out = sum;
    }

    /// Applies the activation to the columns of a row.
    ///
    /// # Safety
    ///
    /// `row` must be below the number of rows, and nothing else may access its columns of the
    /// output.
    #[inline(always)]
    pub(super) unsafe fn activate(&self, row: usize) {
        if let Some(activation) = self.activation {
            // SAFETY: the caller guarantees exclusive access to these values.
            let out = unsafe {
                std::slice::from_raw_parts_mut(self.out.add(row * self.out_stride), self.columns)
            };
            activate_row(out, activation);
        }
    }
}

/// Vectors of an instruction set that multiplies bytes. The methods may be called only on a
/// processor that has it, from functions compiled for it.
pub(super) trait Dot {
    /// Vector of i32 or of bytes.
    type Ints: Copy;
    /// Vector of as many f32.
    type Floats: Copy;
    /// Values of i32 in a vector.
    const LANES: usize;

    /// Loads from any address.
    unsafe fn load(address: *const i32) -> Self::Ints;
    /// Repeats four bytes.
    unsafe fn splat(group: i32) -> Self::Ints;
    /// Adds the products of four bytes each of `a` and `w` to every sum.
    unsafe fn dot(sums: Self::Ints, a: Self::Ints, w: Self::Ints) -> Self::Ints;
    /// Converts to f32, rounding half to even.
    unsafe fn to_floats(sums: Self::Ints) -> Self::Floats;
    /// Repeats a value.
    unsafe fn splat_float(value: f32) -> Self::Floats;
    /// Loads from any address.
    unsafe fn load_floats(address: *const f32) -> Self::Floats;
    /// Stores to any address.
    unsafe fn store_floats(address: *mut f32, values: Self::Floats);
    /// Multiplies.
    unsafe fn mul(a: Self::Floats, b: Self::Floats) -> Self::Floats;
    /// Adds.
    unsafe fn add(a: Self::Floats, b: Self::Floats) -> Self::Floats;
}

/// Rows of a tile.
const MR: usize = 6;
/// Values of i32 in a cache line.
const LINE: usize = 16;

/// Computes all rows for the first V vectors of columns of a panel with P vectors.
///
/// # Safety
///
/// As for [`Dot`]; `job` must be consistent: its slices have the sizes that it documents, and
/// nothing else may access its output.
#[inline(always)]
pub(super) unsafe fn run<D: Dot, const V: usize, const P: usize>(job: &PanelJob<'_>) {
    let (mut row, rows) = (0, job.rows());
    // SAFETY: `row` and the rows of the tile stay below `rows`.
    unsafe {
        while row + MR <= rows {
            tile::<D, V, P, MR>(job, row);
            row += MR;
        }
        match rows - row {
            1 => tile::<D, V, P, 1>(job, row),
            2 => tile::<D, V, P, 2>(job, row),
            3 => tile::<D, V, P, 3>(job, row),
            4 => tile::<D, V, P, 4>(job, row),
            5 => tile::<D, V, P, 5>(job, row),
            _ => {}
        }
    }
}

/// Computes the R rows from `row` on.
///
/// # Safety
///
/// As for [`run`].
#[inline(always)]
#[expect(
    clippy::needless_range_loop,
    reason = "accumulators that are not indexed by constants are spilled from registers"
)]
unsafe fn tile<D: Dot, const V: usize, const P: usize, const R: usize>(
    job: &PanelJob<'_>,
    row: usize,
) {
    let mut rows = [job.a.as_ptr().cast::<i32>(); R];
    for r in 0..R {
        rows[r] = job.a.as_ptr().wrapping_add((row + r) * job.a_stride).cast();
    }
    // SAFETY: the panel has `groups` rows of P vectors, the rows of A `groups` groups, and `starts`
    // P vectors.
    unsafe {
        let mut sums = [[D::load(job.starts.as_ptr()); V]; R];
        for v in 1..V {
            let start = D::load(job.starts.as_ptr().add(v * D::LANES));
            for r in 0..R {
                sums[r][v] = start;
            }
        }
        let mut weights = job.panel.as_ptr().cast::<i32>();
        let mut ahead = job.ahead(row);
        for k in 0..job.groups {
            let mut panel_row = [sums[0][0]; V];
            for v in 0..V {
                panel_row[v] = D::load(weights.add(v * D::LANES));
            }
            prefetch(ahead);
            for r in 0..R {
                let group = D::splat(rows[r].add(k).read_unaligned());
                for v in 0..V {
                    sums[r][v] = D::dot(sums[r][v], group, panel_row[v]);
                }
            }
            weights = weights.wrapping_add(P * D::LANES);
            ahead = ahead.wrapping_add(LINE);
        }
        store::<D, V, R>(job, row, sums);
        for r in 0..R {
            job.activate(row + r);
        }
    }
}

impl PanelJob<'_> {
    /// Returns where the tile from `row` on prefetches, one cache line per group.
    #[inline(always)]
    fn ahead(&self, row: usize) -> *const i32 {
        let done = row / MR * self.groups * LINE * GROUP;
        match self.next.get(done..) {
            Some(next) if !next.is_empty() => next.as_ptr().cast(),
            _ => self.panel.as_ptr().cast(),
        }
    }
}

/// Stores the sums of the R rows from `row` on.
///
/// Each loop is short enough to be unrolled: a loop that is not would index the sums, which would
/// then be in memory all the time.
///
/// # Safety
///
/// As for [`run`].
#[inline(always)]
#[expect(clippy::needless_range_loop, reason = "as in the tile")]
unsafe fn store<D: Dot, const V: usize, const R: usize>(
    job: &PanelJob<'_>,
    row: usize,
    sums: [[D::Ints; V]; R],
) {
    // SAFETY: the rows and columns of the tile are in the output, to which the caller guarantees
    // exclusive access, and `scales` has P vectors, at least V.
    unsafe {
        let at = |r: usize, v: usize| job.out.add((row + r) * job.out_stride + v * D::LANES);
        let mut products = [[D::splat_float(0.0); V]; R];
        for r in 0..R {
            let row_scale = D::splat_float(*job.a_scales.get_unchecked(row + r));
            for v in 0..V {
                products[r][v] = D::mul(D::to_floats(sums[r][v]), row_scale);
            }
        }
        for v in 0..V {
            let scale = D::load_floats(job.scales.as_ptr().add(v * D::LANES));
            for r in 0..R {
                products[r][v] = D::mul(products[r][v], scale);
            }
        }
        if !job.columns.is_multiple_of(D::LANES) {
            // A copy, so that the products themselves need no address.
            let copy = products;
            return store_partial::<D, V, R>(job, row, &copy);
        }
        if !job.bias.is_empty() {
            for v in 0..V {
                let bias = D::load_floats(job.bias.as_ptr().add(v * D::LANES));
                for r in 0..R {
                    products[r][v] = D::add(products[r][v], bias);
                }
            }
        }
        if job.accumulate {
            for r in 0..R {
                for v in 0..V {
                    products[r][v] = D::add(products[r][v], D::load_floats(at(r, v)));
                }
            }
        }
        for r in 0..R {
            for v in 0..V {
                D::store_floats(at(r, v), products[r][v]);
            }
        }
    }
}

/// Stores the tile of a panel whose last vector is not whole.
///
/// # Safety
///
/// As for [`run`].
#[inline(never)]
unsafe fn store_partial<D: Dot, const V: usize, const R: usize>(
    job: &PanelJob<'_>,
    row: usize,
    products: &[[D::Floats; V]; R],
) {
    // SAFETY: `Floats` is a vector of `LANES` values of f32.
    let values =
        unsafe { std::slice::from_raw_parts(products.as_ptr().cast::<f32>(), R * V * D::LANES) };
    for (r, values) in values.chunks_exact(V * D::LANES).enumerate() {
        for (column, &product) in values[..job.columns].iter().enumerate() {
            // SAFETY: the row and the column are in the output.
            unsafe { job.finish(row + r, column, product) };
        }
    }
}
