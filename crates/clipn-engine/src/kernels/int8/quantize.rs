use clipn_base::simd::vectorized;
use clipn_model::NormParams;

use super::{GROUP, Int8Kernel};
use crate::kernels::aligned::AlignedVec;
use crate::kernels::norm::norm_row;

/// Quantized rows, `[rows, depth]`, with a scale each.
#[derive(Debug, Clone)]
pub(crate) struct QuantizedRows {
    /// q + zero point as bytes, each row padded to `stride`.
    values: AlignedVec<u8>,
    scales: AlignedVec<f32>,
    rows: usize,
    depth: usize,
    kernel: Int8Kernel,
    /// One row before quantization.
    row: Vec<f32>,
}

impl Default for QuantizedRows {
    fn default() -> Self {
        Self::for_kernel(Int8Kernel::current())
    }
}

impl QuantizedRows {
    pub(super) fn for_kernel(kernel: Int8Kernel) -> Self {
        Self {
            values: AlignedVec::default(),
            scales: AlignedVec::default(),
            rows: 0,
            depth: 0,
            kernel,
            row: Vec::new(),
        }
    }

    /// Quantizes the rows of `x`, `[rows, depth]`.
    ///
    /// A value of a row is x / scale, rounded to the nearest integer, with the scale that takes the
    /// largest magnitude of the row to 127. A row with a value that is not finite has the scale
    /// NaN, so that damaged weights are noticed.
    pub(crate) fn quantize(&mut self, x: &[f32], depth: usize) {
        let kernel = self.kernel;
        let (values, scales, stride) = self.prepare(x.len() / depth.max(1), depth);
        vectorized(
            #[inline(always)]
            || {
                let rows = x
                    .chunks_exact(depth)
                    .zip(values.chunks_exact_mut(stride))
                    .zip(scales);
                for ((row, out), scale) in rows {
                    *scale = quantize_row(&mut out[..depth], row, kernel);
                }
            },
        );
    }

    /// Quantizes the layer norm of the rows of `x`, `[rows, width]`.
    pub(crate) fn quantize_normed(&mut self, x: &[f32], params: &NormParams<f32>) {
        let (kernel, width) = (self.kernel, params.weight.len());
        let mut normed = std::mem::take(&mut self.row);
        normed.resize(width, 0.0);
        let (values, scales, stride) = self.prepare(x.len() / width, width);
        vectorized(
            #[inline(always)]
            || {
                let rows = x
                    .chunks_exact(width)
                    .zip(values.chunks_exact_mut(stride))
                    .zip(scales);
                for ((row, out), scale) in rows {
                    norm_row(&mut normed, row, &params.weight, &params.bias);
                    *scale = quantize_row(&mut out[..width], &normed, kernel);
                }
            },
        );
        self.row = normed;
    }

    fn prepare(&mut self, rows: usize, depth: usize) -> (&mut [u8], &mut [f32], usize) {
        (self.rows, self.depth) = (rows, depth);
        let stride = self.stride();
        (
            self.values.first_n(rows * stride),
            self.scales.first_n(rows),
            stride,
        )
    }

    pub(super) fn rows(&self) -> usize {
        self.rows
    }

    pub(super) fn depth(&self) -> usize {
        self.depth
    }

    pub(super) fn kernel(&self) -> Int8Kernel {
        self.kernel
    }

    /// Bytes from row to row: whole groups.
    pub(super) fn stride(&self) -> usize {
        self.depth.next_multiple_of(GROUP).max(GROUP)
    }

    /// Returns q + zero point of all rows, `stride` bytes each.
    pub(super) fn values(&self) -> &[u8] {
        &self.values.as_slice()[..self.rows * self.stride()]
    }

    pub(super) fn scales(&self) -> &[f32] {
        &self.scales.as_slice()[..self.rows]
    }
}

/// Quantizes a row and returns its scale.
#[inline(always)]
fn quantize_row(out: &mut [u8], row: &[f32], kernel: Int8Kernel) -> f32 {
    // Adding 1.5·2^23 rounds to an integer, half to even, and leaves it in the low bits of the sum.
    const ROUND: f32 = 12_582_912.0;
    // Magnitudes compare as integers, among which NaN and infinity are the largest.
    let mut largest = 0;
    for value in row {
        largest = largest.max(value.to_bits() & 0x7fff_ffff);
    }
    let largest = f32::from_bits(largest);
    let zero = kernel.zero_point() as u32;
    // Below the smallest normal number, the reciprocal overflows.
    if !largest.is_finite() || largest < f32::MIN_POSITIVE {
        out.fill(zero as u8);
        return if largest.is_finite() { 0.0 } else { f32::NAN };
    }
    let inverse = kernel.max_input() / largest;
    if !inverse.is_finite() {
        out.fill(zero as u8);
        return 0.0;
    }
    for (out, &value) in out.iter_mut().zip(row) {
        let bits = (value * inverse + ROUND).to_bits();
        *out = bits.wrapping_add(zero) as u8;
    }
    largest / kernel.max_input()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::layer_norm;

    fn quantized(row: &[f32], kernel: Int8Kernel) -> (Vec<i32>, f32) {
        let mut rows = QuantizedRows::for_kernel(kernel);
        rows.quantize(row, row.len());
        let signed = |&byte: &u8| match kernel.zero_point() {
            0 => i32::from(byte.cast_signed()),
            zero => i32::from(byte) - zero,
        };
        let values = rows.values()[..row.len()].iter().map(signed).collect();
        (values, rows.scales()[0])
    }

    #[test]
    fn values_are_rounded_to_the_nearest_multiple_of_the_scale() {
        for kernel in Int8Kernel::available() {
            let row: Vec<f32> = (0..131).map(|i| (i as f32 - 60.0) * 0.37).collect();
            let (values, scale) = quantized(&row, kernel);
            assert_eq!(scale, 70.0 * 0.37 / kernel.max_input());
            for (value, x) in values.iter().zip(&row) {
                assert!((*value as f32 * scale - x).abs() <= 0.500_1 * scale);
            }
            assert_eq!(values[130], kernel.max_input() as i32);
        }
    }

    #[test]
    fn rows_of_zeros_or_tiny_numbers_become_zero_and_others_nan() {
        for kernel in Int8Kernel::available() {
            assert_eq!(quantized(&[0.0; 5], kernel), (vec![0; 5], 0.0));
            assert_eq!(quantized(&[1e-40; 5], kernel), (vec![0; 5], 0.0));
            assert_eq!(quantized(&[2e-38; 5], kernel).1, 0.0);
            for damaged in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
                assert!(quantized(&[1.0, damaged, 2.0], kernel).1.is_nan());
            }
        }
    }

    #[test]
    fn a_fused_layer_norm_gives_the_same_bytes() {
        let x: Vec<f32> = (0..3 * 70).map(|i| (i * 37 % 101) as f32).collect();
        let params = NormParams {
            weight: vec![1.5; 70].into(),
            bias: vec![0.25; 70].into(),
        };
        let mut normed = vec![0.0; x.len()];
        layer_norm(&mut normed, &x, &params);
        let (mut separate, mut fused) = (QuantizedRows::default(), QuantizedRows::default());
        separate.quantize(&normed, 70);
        fused.quantize_normed(&x, &params);
        assert_eq!(separate.scales(), fused.scales());
        for row in 0..3 {
            let row = row * separate.stride()..row * separate.stride() + 70;
            assert_eq!(separate.values()[row.clone()], fused.values()[row]);
        }
    }
}
