//! Samples of each component, and the DCT coefficients that they are computed from.
use pulp::{Simd, WithSimd};

use super::headers::{Frame, FrameComponent, SamplingFactors};
use super::{idct, smoothing};

/// Sample of a block without coefficients.
const MIDDLE: u8 = 128;

/// Component of a frame.
pub(super) struct Component {
    pub(super) sampling_factors: SamplingFactors,
    /// Samples per line (xi), without the padding to whole blocks.
    pub(super) width: usize,
    /// Number of lines (yi), without the padding to whole blocks.
    pub(super) height: usize,
    /// Blocks per row and block rows, without the padding to whole MCUs.
    pub(super) size_in_blocks: (usize, usize),
    /// Blocks per row with the padding to whole minimum coded units (MCUs).
    pub(super) padded_blocks_per_row: usize,
    /// Stored coefficient blocks, each in row order (not zig-zag order).
    pub(super) coefficients: Vec<[i16; 64]>,
    /// Samples, with `padded_blocks_per_row * 8` per line.
    pub(super) samples: Vec<u8>,
    /// Quantization table in row order, saved at the first scan of the component.
    pub(super) saved_quantization_table: Option<[u16; 64]>,
    /// Number of low bits that no scan contained yet, for each coefficient in zig-zag order; 255 if
    /// it has none at all.
    pub(super) missing_bits: [u8; 64],
    /// The first of `missing_bits` before the last scan of the component; 0 if that was the first
    /// scan of the file.
    pub(super) missing_bits_before: [u8; smoothing::ESTIMATED],
    /// Quantization table destination (Tqi).
    pub(super) quantization_table: usize,
    /// Component identifier (Ci).
    pub(super) id: u8,
}

impl Component {
    /// Allocates the components of a frame, with all coefficients if `keep_all`, else with those of
    /// one MCU row.
    pub(super) fn allocate(frame: &Frame, keep_all: bool) -> Vec<Self> {
        let max = frame.max_sampling_factors();
        let (width, height) = (frame.width as usize, frame.height as usize);
        let mcus = (
            width.div_ceil(8 * max.horizontal),
            height.div_ceil(8 * max.vertical),
        );
        let allocate = |component: &FrameComponent| {
            let SamplingFactors {
                horizontal: h,
                vertical: v,
            } = component.sampling_factors;
            let width = (width * h).div_ceil(max.horizontal);
            let height = (height * v).div_ceil(max.vertical);
            let padded_blocks_per_row = mcus.0 * h;
            let stored_block_rows = if keep_all { mcus.1 * v } else { v };
            Self {
                sampling_factors: component.sampling_factors,
                width,
                height,
                size_in_blocks: (width.div_ceil(8), height.div_ceil(8)),
                padded_blocks_per_row,
                coefficients: vec![[0; 64]; padded_blocks_per_row * stored_block_rows],
                samples: vec![MIDDLE; padded_blocks_per_row * mcus.1 * v * 64],
                saved_quantization_table: None,
                missing_bits: [u8::MAX; 64],
                missing_bits_before: [u8::MAX; smoothing::ESTIMATED],
                quantization_table: component.quantization_table,
                id: component.id,
            }
        };
        frame.components.iter().map(allocate).collect()
    }

    /// Returns the number of samples from one line to the next.
    pub(super) fn stride(&self) -> usize {
        self.padded_blocks_per_row * 8
    }

    /// Whether the scans so far contained all bits of all coefficients.
    pub(super) fn is_complete(&self) -> bool {
        self.missing_bits == [0; 64]
    }

    /// Computes the samples of the stored block rows, which start at block row `first_block_row`.
    /// Those of a component that no scan contained stay in the middle of their range, as in libjpeg.
    pub(super) fn inverse_dct(&mut self, first_block_row: usize) {
        let Some(quantization) = self.saved_quantization_table else {
            return;
        };
        let stride = self.stride();
        let samples = &mut self.samples[(first_block_row * 8 * stride)..];
        let padded_blocks_per_row = self.padded_blocks_per_row;
        clipn_base::simd::current_arch().dispatch(InverseDct {
            samples,
            stride,
            coefficients: &self.coefficients,
            padded_blocks_per_row,
            quantization,
        });
    }
}

/// Inverse DCT of block rows with the widest SIMD instructions available.
struct InverseDct<'a> {
    samples: &'a mut [u8],
    stride: usize,
    coefficients: &'a [[i16; 64]],
    padded_blocks_per_row: usize,
    quantization: [u16; 64],
}

impl WithSimd for InverseDct<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let rows = self.samples.chunks_exact_mut(self.stride * 8);
        for (samples, blocks) in
            rows.zip(self.coefficients.chunks_exact(self.padded_blocks_per_row))
        {
            inverse_dct_row(samples, self.stride, blocks, &self.quantization);
        }
    }
}

/// Computes the eight lines of samples of one block row.
#[inline(always)]
fn inverse_dct_row(
    samples: &mut [u8],
    stride: usize,
    blocks: &[[i16; 64]],
    quantization: &[u16; 64],
) {
    for (column, block) in blocks.iter().enumerate() {
        for (row, values) in idct::dequantize_and_idct(block, quantization)
            .iter()
            .enumerate()
        {
            samples[row * stride + column * 8..][..8].copy_from_slice(values);
        }
    }
}
