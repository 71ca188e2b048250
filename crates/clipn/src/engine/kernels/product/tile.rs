use pulp::{Simd, WithSimd};

/// Columns that a panel holds: what one tile of the result is wide.
pub(super) fn panel_width() -> usize {
    struct Width;
    impl WithSimd for Width {
        type Output = usize;
        #[inline(always)]
        fn with_simd<S: Simd>(self, _: S) -> usize {
            vectors::<S>() * S::F32_LANES
        }
    }
    crate::simd::arch().dispatch(Width)
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
    /// `[depth, panel_width()]`.
    pub panel: &'a [f32],
    pub depth: usize,
    /// Columns of the result, at most [`panel_width`].
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
        crate::simd::arch().dispatch(self);
    }
}

impl WithSimd for Rows<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        // Constant for each S, so that one of the arms is compiled.
        match S::F32_LANES {
            8 => self.tiles::<S, 2>(simd),
            1 => self.tiles::<S, 8>(simd),
            _ => self.tiles::<S, 4>(simd),
        }
    }
}

/// Rows of a whole tile.
const ROWS: usize = 6;
/// Values of the largest tile, ROWS rows of the widest panel.
const LARGEST: usize = ROWS * 64;

/// Where a tile goes: rows of whole panels' width, `stride` apart.
#[derive(Clone, Copy)]
struct Place {
    out: *mut f32,
    stride: usize,
    accumulate: bool,
}

impl Rows<'_> {
    #[inline(always)]
    fn tiles<S: Simd, const V: usize>(&self, simd: S) {
        debug_assert_eq!(V, vectors::<S>());
        let width = V * S::F32_LANES;
        for row in (0..self.rows).step_by(ROWS) {
            let rows = ROWS.min(self.rows - row);
            if self.columns == width {
                let at = row * self.out_stride;
                // SAFETY: `row` is one of the rows for which the caller of `run` vouches.
                let out = unsafe { self.out.add(at) };
                let place = Place { out, stride: self.out_stride, accumulate: self.accumulate };
                self.some_rows::<S, V>(simd, row, rows, self.bias, place);
            } else {
                self.edge::<S, V>(simd, row, rows);
            }
        }
    }

    /// Rows whose columns are fewer than a panel's, by way of a tile that is whole.
    #[inline(always)]
    fn edge<S: Simd, const V: usize>(&self, simd: S, row: usize, rows: usize) {
        let width = V * S::F32_LANES;
        let mut tile = [0.0f32; LARGEST];
        let place = Place { out: tile.as_mut_ptr(), stride: width, accumulate: false };
        self.some_rows::<S, V>(simd, row, rows, &[], place);
        for (r, sums) in tile.chunks_exact(width).take(rows).enumerate() {
            // SAFETY: `row + r` is below `rows`, and the caller of `run` vouches for `columns` values there, which
            // nothing else uses.
            let out = unsafe {
                std::slice::from_raw_parts_mut(self.out.add((row + r) * self.out_stride), self.columns)
            };
            for (c, (out, sum)) in out.iter_mut().zip(sums).enumerate() {
                let sum = sum + self.bias.get(c).copied().unwrap_or_default();
                *out = if self.accumulate { *out + sum } else { sum };
            }
        }
    }

    #[inline(always)]
    fn some_rows<S: Simd, const V: usize>(
        &self,
        simd: S,
        row: usize,
        rows: usize,
        bias: &[f32],
        place: Place,
    ) {
        match rows {
            1 => self.tile::<S, V, 1>(simd, row, bias, place),
            2 => self.tile::<S, V, 2>(simd, row, bias, place),
            3 => self.tile::<S, V, 3>(simd, row, bias, place),
            4 => self.tile::<S, V, 4>(simd, row, bias, place),
            5 => self.tile::<S, V, 5>(simd, row, bias, place),
            _ => self.tile::<S, V, ROWS>(simd, row, bias, place),
        }
    }

    /// R rows from `row` on. All loops but the one over the depth have constant bounds, so the sums stay in registers.
    #[inline(always)]
    #[expect(
        clippy::needless_range_loop,
        reason = "sums that are not indexed by constants leave the registers"
    )]
    fn tile<S: Simd, const V: usize, const R: usize>(&self, simd: S, row: usize, bias: &[f32], place: Place) {
        let (panel, _) = S::as_simd_f32s(self.panel);
        let (panel, _) = panel.as_chunks::<V>();
        let rows: [&[f32]; R] = std::array::from_fn(|r| &self.a[(row + r) * self.a_stride..][..self.depth]);
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
        let (bias, _) = S::as_simd_f32s(bias);
        for r in 0..R {
            // SAFETY: a place has R rows of V vectors, `stride` apart, that nothing else uses: rows of the result for
            // which the caller of `run` vouches, or those of a whole tile.
            let out =
                unsafe { std::slice::from_raw_parts_mut(place.out.add(r * place.stride), V * S::F32_LANES) };
            let (out, _) = S::as_mut_simd_f32s(out);
            for v in 0..V {
                let mut sum = simd.mul_f32s(scale, sums[r][v]);
                if let Some(bias) = bias.get(v) {
                    sum = simd.add_f32s(sum, *bias);
                }
                out[v] = if place.accumulate { simd.add_f32s(out[v], sum) } else { sum };
            }
        }
    }
}
