//! Samples of each component, and the DCT coefficients that they are computed from.
use pulp::{Simd, WithSimd};

use super::headers::Frame;
use super::idct;

/// Component of a frame.
pub(super) struct Plane {
    /// Horizontal and vertical sampling factors (Hi, Vi).
    pub sampling: (usize, usize),
    /// Samples per line (xi), without the padding to whole blocks.
    pub width: usize,
    /// Number of lines (yi), without the padding to whole blocks.
    pub height: usize,
    /// Blocks per row and block rows, without the padding to whole MCUs.
    pub blocks: (usize, usize),
    /// Blocks per row with the padding to whole minimum coded units (MCUs).
    pub blocks_per_row: usize,
    /// Stored coefficient blocks, each in row order (not zig-zag order).
    pub coefficients: Vec<[i16; 64]>,
    /// Samples, with `blocks_per_row * 8` per line.
    pub samples: Vec<u8>,
    /// Quantization table in row order, saved at the first scan of the component.
    pub steps: Option<[u16; 64]>,
    /// Quantization table destination (Tqi).
    pub quantization_table: usize,
    /// Component identifier (Ci).
    pub id: u8,
}

impl Plane {
    /// Allocates the planes of a frame, with all coefficients if `keep_all`, else with those of one
    /// MCU row.
    pub(super) fn of(frame: &Frame, keep_all: bool) -> Vec<Self> {
        let (max_h, max_v) = frame.max_sampling();
        let (width, height) = (frame.width as usize, frame.height as usize);
        let mcus = (width.div_ceil(8 * max_h), height.div_ceil(8 * max_v));
        let plane = |component: &super::headers::FrameComponent| {
            let (h, v) = component.sampling;
            let (width, height) = ((width * h).div_ceil(max_h), (height * v).div_ceil(max_v));
            let blocks_per_row = mcus.0 * h;
            let stored_block_rows = if keep_all { mcus.1 * v } else { v };
            Self {
                sampling: component.sampling,
                width,
                height,
                blocks: (width.div_ceil(8), height.div_ceil(8)),
                blocks_per_row,
                coefficients: vec![[0; 64]; blocks_per_row * stored_block_rows],
                samples: vec![0; blocks_per_row * mcus.1 * v * 64],
                steps: None,
                quantization_table: component.quantization_table,
                id: component.id,
            }
        };
        frame.components.iter().map(plane).collect()
    }

    /// Returns the number of samples from one line to the next.
    pub(super) fn stride(&self) -> usize {
        self.blocks_per_row * 8
    }

    /// Computes the samples of the stored block rows, which start at block row `first_block_row`.
    pub(super) fn transform(&mut self, first_block_row: usize) {
        let Some(steps) = self.steps else { return };
        let stride = self.stride();
        let samples = &mut self.samples[(first_block_row * 8 * stride)..];
        let blocks_per_row = self.blocks_per_row;
        clipn_base::simd::arch().dispatch(InverseDct {
            samples,
            stride,
            coefficients: &self.coefficients,
            blocks_per_row,
            steps,
        });
    }
}

/// Inverse DCT of block rows with the widest SIMD instructions available.
struct InverseDct<'a> {
    samples: &'a mut [u8],
    stride: usize,
    coefficients: &'a [[i16; 64]],
    blocks_per_row: usize,
    steps: [u16; 64],
}

impl WithSimd for InverseDct<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let rows = self.samples.chunks_exact_mut(self.stride * 8);
        for (samples, blocks) in rows.zip(self.coefficients.chunks_exact(self.blocks_per_row)) {
            inverse_dct_row(samples, self.stride, blocks, &self.steps);
        }
    }
}

/// Computes the eight lines of samples of one block row.
#[inline(always)]
fn inverse_dct_row(samples: &mut [u8], stride: usize, blocks: &[[i16; 64]], steps: &[u16; 64]) {
    for (column, block) in blocks.iter().enumerate() {
        for (row, values) in idct::samples(block, steps).iter().enumerate() {
            samples[row * stride + column * 8..][..8].copy_from_slice(values);
        }
    }
}
