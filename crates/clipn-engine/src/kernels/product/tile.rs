use pulp::{Simd, WithSimd};

/// How wide panels are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct PanelWidth {
    /// Columns of all panels but the last: what one tile of the result is wide.
    pub whole: usize,
    /// Values of one vector, of which every panel has whole ones.
    lanes: usize,
}

impl PanelWidth {
    /// That of the level of SIMD in use.
    pub fn current() -> Self {
        struct Width;
        impl WithSimd for Width {
            type Output = PanelWidth;
            #[inline(always)]
            fn with_simd<S: Simd>(self, _: S) -> PanelWidth {
                PanelWidth {
                    whole: vectors::<S>() * S::F32_LANES,
                    lanes: S::F32_LANES,
                }
            }
        }
        clipn_base::simd::arch().dispatch(Width)
    }

    /// Values that a row of a panel takes for so many columns.
    pub fn of(self, columns: usize) -> usize {
        columns.next_multiple_of(self.lanes).min(self.whole)
    }
}

/// Registers side by side in a tile. A tile's sums, one row of a panel and one value of the left side must fit into the
/// registers, 32 with AVX-512 and NEON, 16 else; the more sums, the fewer loads for each of them.
#[inline(always)]
const fn vectors<S: Simd>() -> usize {
    match S::F32_LANES {
        8 => 2,
        1 => 8,
        _ => 4,
    }
}

/// Rows of the left side against one panel: out = scale·a·panel + bias, plus what `out` held where `accumulate`.
pub(super) struct Rows<'a> {
    /// The first row's first column.
    pub out: *mut f32,
    pub out_stride: usize,
    /// `[rows, depth]`, rows `a_stride` apart.
    pub a: &'a [f32],
    pub a_stride: usize,
    pub rows: usize,
    /// `[depth, columns]`, each row filled up to whole vectors.
    pub panel: &'a [f32],
    pub depth: usize,
    /// Columns of the result, at most a whole panel's.
    pub columns: usize,
    pub scale: f32,
    /// `[columns]`, or empty for none.
    pub bias: &'a [f32],
    pub accumulate: bool,
}

impl Rows<'_> {
    /// # Safety
    /// `out` must point to `rows` rows of `columns` values, `out_stride` apart, that nothing else uses meanwhile.
    pub unsafe fn run(self) {
        clipn_base::simd::arch().dispatch(self);
    }
}

impl WithSimd for Rows<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        match self.columns.div_ceil(S::F32_LANES) {
            1 => self.tiles::<S, 1>(simd),
            2 => self.tiles::<S, 2>(simd),
            // The rest of the arms are compiled only for a level that has panels of so many vectors.
            3 if vectors::<S>() > 2 => self.tiles::<S, 3>(simd),
            4 if vectors::<S>() > 2 => self.tiles::<S, 4>(simd),
            5 if vectors::<S>() > 4 => self.tiles::<S, 5>(simd),
            6 if vectors::<S>() > 4 => self.tiles::<S, 6>(simd),
            7 if vectors::<S>() > 4 => self.tiles::<S, 7>(simd),
            8 if vectors::<S>() > 4 => self.tiles::<S, 8>(simd),
            vectors => unreachable!("a panel of {vectors} vectors"),
        }
    }
}

/// Rows of a tile.
const ROWS: usize = 6;
/// Rows of a tile of a panel of half the width or less, so that as many sums are under way.
const TALL_ROWS: usize = 2 * ROWS;

impl Rows<'_> {
    #[inline(always)]
    fn tiles<S: Simd, const V: usize>(&self, simd: S) {
        let mut row = 0;
        if 2 * V <= vectors::<S>() {
            while row + TALL_ROWS <= self.rows {
                self.tile::<S, V, TALL_ROWS>(simd, row);
                row += TALL_ROWS;
            }
        }
        while row + ROWS <= self.rows {
            self.tile::<S, V, ROWS>(simd, row);
            row += ROWS;
        }
        match self.rows - row {
            1 => self.tile::<S, V, 1>(simd, row),
            2 => self.tile::<S, V, 2>(simd, row),
            3 => self.tile::<S, V, 3>(simd, row),
            4 => self.tile::<S, V, 4>(simd, row),
            5 => self.tile::<S, V, 5>(simd, row),
            _ => {}
        }
    }

    /// R rows from `row` on. All loops but the one over the depth have constant bounds, so the sums stay in registers.
    #[inline(always)]
    #[expect(
        clippy::needless_range_loop,
        reason = "sums that are not indexed by constants leave the registers"
    )]
    fn tile<S: Simd, const V: usize, const R: usize>(&self, simd: S, row: usize) {
        let (panel, _) = S::as_simd_f32s(self.panel);
        let (panel, _) = panel.as_chunks::<V>();
        let rows: [&[f32]; R] =
            std::array::from_fn(|r| &self.a[(row + r) * self.a_stride..][..self.depth]);
        let mut sums = [[simd.splat_f32s(0.0); V]; R];
        for (k, right) in panel[..self.depth].iter().enumerate() {
            for r in 0..R {
                // SAFETY: `k` is below `depth`, and so many values each of the slices has.
                let left = simd.splat_f32s(unsafe { *rows[r].get_unchecked(k) });
                for v in 0..V {
                    sums[r][v] = simd.mul_add_e_f32s(left, right[v], sums[r][v]);
                }
            }
        }
        let scale = simd.splat_f32s(self.scale);
        let in_last = self.columns - (V - 1) * S::F32_LANES;
        for r in 0..R {
            for v in 0..V {
                let count = if v + 1 == V { in_last } else { S::F32_LANES };
                let first = v * S::F32_LANES;
                let at = (row + r) * self.out_stride + first;
                // SAFETY: the caller of `run` vouches for `columns` values of this row, which nothing else uses; from
                // `first` on there are `count`.
                let out = unsafe { std::slice::from_raw_parts_mut(self.out.add(at), count) };
                let mut sum = simd.mul_f32s(scale, sums[r][v]);
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
