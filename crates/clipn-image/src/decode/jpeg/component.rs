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
    /// Coefficient blocks, each in row order (not zig-zag order); none if samples are computed at once.
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
    /// Allocates the components of a frame, with the coefficients if `keep_all`.
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
            let blocks = padded_blocks_per_row * mcus.1 * v;
            Self {
                sampling_factors: component.sampling_factors,
                width,
                height,
                size_in_blocks: (width.div_ceil(8), height.div_ceil(8)),
                padded_blocks_per_row,
                coefficients: vec![[0; 64]; if keep_all { blocks } else { 0 }],
                samples: vec![if keep_all { MIDDLE } else { 0 }; blocks * 64],
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

    /// Returns the number of blocks with the padding to whole MCUs.
    pub(super) fn blocks(&self) -> usize {
        self.samples.len() / 64
    }

    /// Whether the scans so far contained all bits of all coefficients.
    pub(super) fn is_complete(&self) -> bool {
        self.missing_bits == [0; 64]
    }

    /// Computes all samples from the coefficients. Those of a component that no scan contained stay in the
    /// middle of their range, as in libjpeg.
    pub(super) fn inverse_dct(&mut self) {
        clipn_base::simd::current_arch().dispatch(InverseDct { component: self });
    }

    /// Computes the samples of block `(x, y)` from its coefficients.
    #[inline(always)]
    pub(super) fn write_samples(&mut self, (x, y): (usize, usize), coefficients: &[i16; 64]) {
        let Some(quantization) = &self.saved_quantization_table else {
            return;
        };
        let stride = self.stride();
        let lines = self.samples[y * 8 * stride..][..8 * stride].chunks_exact_mut(stride);
        let block = idct::dequantize_and_idct(coefficients, quantization);
        for (line, values) in lines.zip(&block) {
            line[x * 8..][..8].copy_from_slice(values);
        }
    }
}

/// Inverse DCT of all blocks with the widest SIMD instructions available.
struct InverseDct<'a> {
    component: &'a mut Component,
}

impl WithSimd for InverseDct<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let coefficients = std::mem::take(&mut self.component.coefficients);
        let rows = coefficients.chunks_exact(self.component.padded_blocks_per_row);
        for (y, blocks) in rows.enumerate() {
            for (x, block) in blocks.iter().enumerate() {
                self.component.write_samples((x, y), block);
            }
        }
    }
}
