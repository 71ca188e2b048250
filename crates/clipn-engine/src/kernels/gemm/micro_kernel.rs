use clipn_model::Activation;
use pulp::{Simd, WithSimd};

use crate::kernels::activation::activate_row;
use crate::kernels::aligned::prefetch;

/// Width of the packed panels at the current SIMD level.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PanelWidth {
    /// Columns of every panel except the last, and of one output tile (BLIS's NR).
    pub nr: usize,
    /// Values per vector; the width of every panel is a multiple of it.
    pub lanes: usize,
}

impl PanelWidth {
    /// Returns the panel width for the SIMD level in use.
    pub(crate) fn current() -> Self {
        struct Width;
        impl WithSimd for Width {
            type Output = PanelWidth;
            #[inline(always)]
            fn with_simd<S: Simd>(self, _: S) -> PanelWidth {
                PanelWidth {
                    nr: tile_vectors::<S>() * S::F32_LANES,
                    lanes: S::F32_LANES,
                }
            }
        }
        clipn_base::simd::current_arch().dispatch(Width)
    }

    /// Returns the padded row length of a panel with this number of columns.
    pub(crate) fn padded(self, columns: usize) -> usize {
        columns.next_multiple_of(self.lanes).min(self.nr)
    }
}

/// Width of a tile in vectors.
///
/// The accumulators of a tile, one row of a panel and one value of A must fit into the vector
/// registers: 32 with AVX-512 and NEON, 16 otherwise. The more accumulators there are, the fewer
/// loads each of them needs.
#[inline(always)]
const fn tile_vectors<S: Simd>() -> usize {
    match S::F32_LANES {
        8 => 2,
        1 => 8,
        _ => 4,
    }
}

/// Rows of A: the value at row r and depth k is at `r·row_stride + k·depth_stride`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LeftRows<'a> {
    pub data: &'a [f32],
    pub row_stride: usize,
    pub depth_stride: usize,
}

/// Rows of B: row k is the values from `k·stride` on, padded to whole vectors.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PanelRows<'a> {
    pub data: &'a [f32],
    pub stride: usize,
    /// Values that the product after this one reads, to load into the cache meanwhile; or empty.
    pub next: &'a [f32],
}

impl PanelRows<'_> {
    /// Returns the rows without their first columns.
    pub(crate) fn skip_columns(self, column: usize) -> Self {
        Self {
            data: &self.data[column..],
            ..self
        }
    }
}

/// Product of rows of A and one panel of B: out = activation(alpha·a·panel + bias), plus the
/// previous value of `out` before the activation if `accumulate`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PanelKernel<'a> {
    /// First column of the first output row.
    pub out: *mut f32,
    pub out_stride: usize,
    pub a: LeftRows<'a>,
    pub rows: usize,
    pub panel: PanelRows<'a>,
    pub depth: usize,
    /// Output columns, at most [`PanelWidth::nr`].
    pub columns: usize,
    pub alpha: f32,
    /// `[columns]`, or empty for no bias.
    pub bias: &'a [f32],
    pub accumulate: bool,
    pub activation: Option<Activation>,
}

impl PanelKernel<'_> {
    /// Computes all output rows at the current SIMD level.
    ///
    /// # Panics
    ///
    /// Panics if the rows of A or of the panel exceed their slices.
    ///
    /// # Safety
    ///
    /// `out` must point to `rows` rows of `columns` values, `out_stride` apart, that nothing else
    /// accesses during the call.
    pub(crate) unsafe fn run(self) {
        let Self { a, panel, .. } = self;
        if self.rows == 0 || self.columns == 0 {
            return;
        }
        let width = PanelWidth::current().padded(self.columns);
        assert!(
            self.depth == 0
                || (self.rows - 1) * a.row_stride + (self.depth - 1) * a.depth_stride
                    < a.data.len()
                    && (self.depth - 1) * panel.stride + width <= panel.data.len(),
            "operands of a tile exceed their slices"
        );
        clipn_base::simd::current_arch().dispatch(self);
    }
}

impl WithSimd for PanelKernel<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        match self.columns.div_ceil(S::F32_LANES) {
            1 => self.tiles::<S, 1>(simd),
            2 => self.tiles::<S, 2>(simd),
            // Each of the following arms is compiled only for SIMD levels with panels of that many
            // vectors.
            3 if tile_vectors::<S>() > 2 => self.tiles::<S, 3>(simd),
            4 if tile_vectors::<S>() > 2 => self.tiles::<S, 4>(simd),
            5 if tile_vectors::<S>() > 4 => self.tiles::<S, 5>(simd),
            6 if tile_vectors::<S>() > 4 => self.tiles::<S, 6>(simd),
            7 if tile_vectors::<S>() > 4 => self.tiles::<S, 7>(simd),
            8 if tile_vectors::<S>() > 4 => self.tiles::<S, 8>(simd),
            vectors => unreachable!("a panel of {vectors} vectors"),
        }
    }
}

/// Rows of a tile (BLIS's MR).
pub(crate) const MR: usize = 6;
/// Rows of a tile for panels of at most half the width, so that as many accumulators are in flight.
const TALL_MR: usize = 2 * MR;

impl PanelKernel<'_> {
    /// Splits the rows into tiles for the micro-kernel, for a panel of V vectors.
    #[inline(always)]
    fn tiles<S: Simd, const V: usize>(&self, simd: S) {
        let mut row = 0;
        if 2 * V <= tile_vectors::<S>() {
            while row + TALL_MR <= self.rows {
                self.micro_kernel::<S, V, TALL_MR>(simd, row);
                row += TALL_MR;
            }
        }
        while row + MR <= self.rows {
            self.micro_kernel::<S, V, MR>(simd, row);
            row += MR;
        }
        match self.rows - row {
            1 => self.micro_kernel::<S, V, 1>(simd, row),
            2 => self.micro_kernel::<S, V, 2>(simd, row),
            3 => self.micro_kernel::<S, V, 3>(simd, row),
            4 => self.micro_kernel::<S, V, 4>(simd, row),
            5 => self.micro_kernel::<S, V, 5>(simd, row),
            _ => {}
        }
    }

    /// Micro-kernel: computes the R rows that start at `row`. All loops except the one over the
    /// depth have constant bounds, so that the accumulators stay in registers.
    #[inline(always)]
    #[expect(
        clippy::needless_range_loop,
        reason = "accumulators that are not indexed by constants are spilled from registers"
    )]
    fn micro_kernel<S: Simd, const V: usize, const R: usize>(&self, simd: S, row: usize) {
        let LeftRows {
            data,
            row_stride,
            depth_stride,
        } = self.a;
        // Not `std::array::from_fn`: its calls are not always inlined, and what is not inlined here is
        // compiled without the instruction set.
        let mut rows = [data.as_ptr(); R];
        for r in 0..R {
            rows[r] = data.as_ptr().wrapping_add((row + r) * row_stride);
        }
        let mut sums = [[simd.splat_f32s(0.0); V]; R];
        let mut right = self.panel.data.as_ptr();
        let mut ahead = self.ahead(row);
        let mut offset = 0;
        for _ in 0..self.depth {
            let mut panel_row = [simd.splat_f32s(0.0); V];
            for v in 0..V {
                let address = right.wrapping_add(v * S::F32_LANES);
                // SAFETY: `run` checked that `depth` rows of V vectors lie in the panel.
                panel_row[v] = unsafe { address.cast::<S::f32s>().read_unaligned() };
            }
            prefetch(ahead);
            for r in 0..R {
                // SAFETY: `run` checked that `depth` values of each row lie in the slice of A.
                let left = simd.splat_f32s(unsafe { *rows[r].wrapping_add(offset) });
                for v in 0..V {
                    sums[r][v] = simd.mul_add_e_f32s(left, panel_row[v], sums[r][v]);
                }
            }
            offset += depth_stride;
            right = right.wrapping_add(self.panel.stride);
            ahead = ahead.wrapping_add(LINE);
        }
        self.store::<S, V, R>(simd, row, sums);
        if let Some(activation) = self.activation {
            for r in 0..R {
                // SAFETY: the caller of `run` guarantees exclusive access to these values.
                let out = unsafe {
                    std::slice::from_raw_parts_mut(
                        self.out.add((row + r) * self.out_stride),
                        self.columns,
                    )
                };
                activate_row(out, activation);
            }
        }
    }

    /// Returns where the tile from `row` on prefetches, one cache line per value of depth: its
    /// part of the next panel, or its own panel once the whole next panel has been requested.
    #[inline(always)]
    fn ahead(&self, row: usize) -> *const f32 {
        let done = row / MR * self.depth * LINE;
        match self.panel.next.get(done..) {
            Some(next) if !next.is_empty() => next.as_ptr(),
            _ => self.panel.data.as_ptr(),
        }
    }

    /// Stores the sums of the R rows from `row` on, as [`PanelKernel`] says.
    ///
    /// Each loop is short enough to be unrolled: a loop that is not would index the sums, which
    /// would then be in memory all the time.
    #[inline(always)]
    #[expect(clippy::needless_range_loop, reason = "as in the micro-kernel")]
    fn store<S: Simd, const V: usize, const R: usize>(
        &self,
        simd: S,
        row: usize,
        mut sums: [[S::f32s; V]; R],
    ) {
        let alpha = simd.splat_f32s(self.alpha);
        for r in 0..R {
            for v in 0..V {
                sums[r][v] = simd.mul_f32s(alpha, sums[r][v]);
            }
        }
        if !self.bias.is_empty() {
            let bias = self.bias_vectors::<S, V>(simd);
            for r in 0..R {
                for v in 0..V {
                    sums[r][v] = simd.add_f32s(sums[r][v], bias[v]);
                }
            }
        }
        // SAFETY: the caller of `run` guarantees exclusive access to the `columns` values of these
        // rows, among which are all whole vectors but the last.
        let at = |r: usize, v: usize| unsafe {
            let row = self.out.add((row + r) * self.out_stride);
            row.add(v * S::F32_LANES).cast::<S::f32s>()
        };
        if self.accumulate {
            for r in 0..R {
                for v in 0..V - 1 {
                    // SAFETY: as above.
                    sums[r][v] = simd.add_f32s(unsafe { at(r, v).read_unaligned() }, sums[r][v]);
                }
            }
        }
        let mut last = [simd.splat_f32s(0.0); R];
        for r in 0..R {
            for v in 0..V - 1 {
                // SAFETY: as above.
                unsafe { at(r, v).write_unaligned(sums[r][v]) };
            }
            last[r] = sums[r][V - 1];
        }
        let in_last = self.columns - (V - 1) * S::F32_LANES;
        for r in 0..R {
            let out = at(r, V - 1);
            // The partial loads and stores of `pulp` are calls of functions.
            if in_last == S::F32_LANES {
                if self.accumulate {
                    // SAFETY: the last vector is whole.
                    last[r] = simd.add_f32s(unsafe { out.read_unaligned() }, last[r]);
                }
                // SAFETY: as above.
                unsafe { out.write_unaligned(last[r]) };
            } else {
                // SAFETY: the last vector has `in_last` values of the row.
                let out = unsafe { std::slice::from_raw_parts_mut(out.cast::<f32>(), in_last) };
                if self.accumulate {
                    last[r] = simd.add_f32s(simd.partial_load_f32s(out), last[r]);
                }
                simd.partial_store_f32s(out, last[r]);
            }
        }
    }

    /// Returns the bias of a panel of V vectors.
    #[inline(always)]
    #[expect(clippy::needless_range_loop, reason = "as in the micro-kernel")]
    fn bias_vectors<S: Simd, const V: usize>(&self, simd: S) -> [S::f32s; V] {
        let mut bias = [simd.splat_f32s(0.0); V];
        for v in 0..V {
            let first = v * S::F32_LANES;
            bias[v] = match self.bias.get(first..first + S::F32_LANES) {
                // SAFETY: a vector is `F32_LANES` values.
                Some(whole) => unsafe { whole.as_ptr().cast::<S::f32s>().read_unaligned() },
                None => simd.partial_load_f32s(&self.bias[first..]),
            };
        }
        bias
    }
}

/// Values of f32 in a cache line.
const LINE: usize = crate::kernels::aligned::CACHE_LINE / size_of::<f32>();
