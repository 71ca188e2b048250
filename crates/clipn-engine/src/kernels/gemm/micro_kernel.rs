use pulp::{Simd, WithSimd};

/// Width of the packed panels at the current SIMD level.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct PanelWidth {
    /// Columns of every panel except the last, and of one output tile (BLIS's NR).
    pub nr: usize,
    /// Values per vector; the width of every panel is a multiple of it.
    lanes: usize,
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

/// Product of rows of A and one packed panel of B: out = alpha·a·panel + bias, plus the previous
/// value of `out` if `accumulate`.
pub(super) struct PanelKernel<'a> {
    /// First column of the first output row.
    pub out: *mut f32,
    pub out_stride: usize,
    /// `[rows, depth]`, rows `a_stride` apart.
    pub a: &'a [f32],
    pub a_stride: usize,
    pub rows: usize,
    /// `[depth, columns]`, each row padded to whole vectors.
    pub panel: &'a [f32],
    pub depth: usize,
    /// Output columns, at most [`PanelWidth::nr`].
    pub columns: usize,
    pub alpha: f32,
    /// `[columns]`, or empty for no bias.
    pub bias: &'a [f32],
    pub accumulate: bool,
}

impl PanelKernel<'_> {
    /// Computes all output rows at the current SIMD level.
    ///
    /// # Safety
    ///
    /// `out` must point to `rows` rows of `columns` values, `out_stride` apart, that nothing else
    /// accesses during the call.
    pub(crate) unsafe fn run(self) {
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
const MR: usize = 6;
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
        let (panel, _) = S::as_simd_f32s(self.panel);
        let (panel, _) = panel.as_chunks::<V>();
        // Not `std::array::from_fn`: its calls are not always inlined, and what is not inlined here is
        // compiled without the instruction set.
        let mut rows = [&self.a[..0]; R];
        for r in 0..R {
            rows[r] = &self.a[(row + r) * self.a_stride..][..self.depth];
        }
        let mut sums = [[simd.splat_f32s(0.0); V]; R];
        for (k, right) in panel[..self.depth].iter().enumerate() {
            for r in 0..R {
                // SAFETY: `k` is less than `depth`, the length of every slice in `rows`.
                let left = simd.splat_f32s(unsafe { *rows[r].get_unchecked(k) });
                for v in 0..V {
                    sums[r][v] = simd.mul_add_e_f32s(left, right[v], sums[r][v]);
                }
            }
        }
        let alpha = simd.splat_f32s(self.alpha);
        let in_last = self.columns - (V - 1) * S::F32_LANES;
        for r in 0..R {
            for v in 0..V {
                let count = if v + 1 == V { in_last } else { S::F32_LANES };
                let first = v * S::F32_LANES;
                let at = (row + r) * self.out_stride + first;
                // SAFETY: the caller of `run` guarantees exclusive access to the `columns` values
                // of this row; `count` of them start at `first`.
                let out = unsafe { std::slice::from_raw_parts_mut(self.out.add(at), count) };
                let mut sum = simd.mul_f32s(alpha, sums[r][v]);
                if !self.bias.is_empty() {
                    sum = simd.add_f32s(
                        sum,
                        simd.partial_load_f32s(&self.bias[first..first + count]),
                    );
                }
                if self.accumulate {
                    sum = simd.add_f32s(simd.partial_load_f32s(out), sum);
                }
                simd.partial_store_f32s(out, sum);
            }
        }
    }
}
