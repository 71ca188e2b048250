//! The samples of each component, and the coefficients they are made of.
use pulp::{Simd, WithSimd};

use super::headers::Frame;
use super::idct;

/// One component of a frame.
pub(super) struct Plane {
    /// Sampling factors.
    pub sampling: (usize, usize),
    /// Samples that show, without the padding to whole blocks.
    pub width: usize,
    pub height: usize,
    /// Blocks of a row that show, and rows of blocks.
    pub blocks: (usize, usize),
    /// Blocks of a row with the padding to whole coding units.
    pub blocks_per_row: usize,
    /// Coefficients of the rows of blocks that are kept, in rows of frequencies.
    pub coefficients: Vec<[i16; 64]>,
    /// Samples, `blocks_per_row * 8` a row.
    pub samples: Vec<u8>,
    /// Quantisation steps, taken when the component is first met in a scan.
    pub steps: Option<[u16; 64]>,
    pub quantisation: usize,
    pub id: u8,
}

impl Plane {
    /// The planes of a frame; all coefficients are kept when `whole`, else those of one row of coding units.
    pub(super) fn of(frame: &Frame, whole: bool) -> Vec<Self> {
        let (max_h, max_v) = frame.max_sampling();
        let (width, height) = (frame.width as usize, frame.height as usize);
        let units = (width.div_ceil(8 * max_h), height.div_ceil(8 * max_v));
        let plane = |component: &super::headers::FrameComponent| {
            let (h, v) = component.sampling;
            let (width, height) = ((width * h).div_ceil(max_h), (height * v).div_ceil(max_v));
            let blocks_per_row = units.0 * h;
            let kept_rows = if whole { units.1 * v } else { v };
            Self {
                sampling: component.sampling,
                width,
                height,
                blocks: (width.div_ceil(8), height.div_ceil(8)),
                blocks_per_row,
                coefficients: vec![[0; 64]; blocks_per_row * kept_rows],
                samples: vec![0; blocks_per_row * units.1 * v * 64],
                steps: None,
                quantisation: component.quantisation,
                id: component.id,
            }
        };
        frame.components.iter().map(plane).collect()
    }

    /// Samples from one row to the next.
    pub(super) fn stride(&self) -> usize {
        self.blocks_per_row * 8
    }

    /// Turns the kept coefficients into the samples of rows of blocks from `first_row`, as many as are kept.
    pub(super) fn transform(&mut self, first_row: usize) {
        let Some(steps) = self.steps else { return };
        let stride = self.stride();
        let samples = &mut self.samples[(first_row * 8 * stride)..];
        let blocks_per_row = self.blocks_per_row;
        clipn_base::simd::arch().dispatch(Transform {
            samples,
            stride,
            coefficients: &self.coefficients,
            blocks_per_row,
            steps,
        });
    }
}

/// Rows of blocks into samples.
struct Transform<'a> {
    samples: &'a mut [u8],
    stride: usize,
    coefficients: &'a [[i16; 64]],
    blocks_per_row: usize,
    steps: [u16; 64],
}

impl WithSimd for Transform<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let rows = self.samples.chunks_exact_mut(self.stride * 8);
        for (samples, blocks) in rows.zip(self.coefficients.chunks_exact(self.blocks_per_row)) {
            transform_row(samples, self.stride, blocks, &self.steps);
        }
    }
}

/// One row of blocks into eight rows of samples.
#[inline(always)]
fn transform_row(samples: &mut [u8], stride: usize, blocks: &[[i16; 64]], steps: &[u16; 64]) {
    for (column, block) in blocks.iter().enumerate() {
        for (row, values) in idct::samples(block, steps).iter().enumerate() {
            samples[row * stride + column * 8..][..8].copy_from_slice(values);
        }
    }
}
