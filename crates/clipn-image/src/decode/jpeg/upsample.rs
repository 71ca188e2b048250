//! Upsampling of components and color conversion to RGB.
//!
//! A component of half the width or height is interpolated with weights 3/4 and 1/4 of its nearest
//! two samples and libjpeg's alternating rounding ("fancy upsampling"). Other ratios replicate
//! samples.
use pulp::{Simd, WithSimd};

use super::component::Component;
use super::headers::{ColorSpace, Frame};
use crate::decode::samples;

/// Returns the pixels of the image, `[height, width, 3]`.
pub(super) fn to_rgb(components: &[Component], frame: &Frame, color_space: ColorSpace) -> Vec<u8> {
    clipn_base::simd::current_arch().dispatch(ToRgb {
        components,
        frame,
        color_space,
    })
}

/// Upsampling and color conversion with the widest SIMD instructions available.
struct ToRgb<'a> {
    components: &'a [Component],
    frame: &'a Frame,
    color_space: ColorSpace,
}

impl WithSimd for ToRgb<'_> {
    type Output = Vec<u8>;

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> Vec<u8> {
        let (width, height) = (self.frame.width as usize, self.frame.height as usize);
        let mut pixels = vec![0; width * height * 3];
        let upsamplers: Vec<_> = self
            .components
            .iter()
            .map(|component| Upsampler::new(component, self.frame))
            .collect();
        let mut rows = vec![vec![0; width + 8]; self.components.len()];
        let mut scratch = vec![0; width];
        for (y, out) in pixels.chunks_exact_mut(width * 3).enumerate() {
            for (upsampler, row) in upsamplers.iter().zip(&mut rows) {
                upsampler.upsample_row(y, row, &mut scratch);
            }
            convert_row(&rows, self.color_space, out);
        }
        pixels
    }
}

/// Converts one row of components to one row of RGB pixels.
#[inline(always)]
fn convert_row(rows: &[Vec<u8>], color_space: ColorSpace, out: &mut [u8]) {
    let (out, _) = out.as_chunks_mut::<3>();
    let width = out.len();
    match (color_space, rows) {
        (ColorSpace::YCbCr, [y, cb, cr]) => {
            let (y, cb, cr) = (&y[..width], &cb[..width], &cr[..width]);
            for (i, pixel) in out.iter_mut().enumerate() {
                *pixel = samples::ycbcr_to_rgb([y[i], cb[i], cr[i]]);
            }
        }
        (ColorSpace::Rgb, [r, g, b]) => {
            for (i, pixel) in out.iter_mut().enumerate() {
                *pixel = [r[i], g[i], b[i]];
            }
        }
        // CMYK is stored inverted, as Adobe does, whether or not there is an Adobe segment.
        (ColorSpace::Cmyk, [c, m, y, k]) => {
            for (i, pixel) in out.iter_mut().enumerate() {
                *pixel = samples::cmyk_pixel_to_rgb([c[i], m[i], y[i], k[i]].map(|ink| 255 - ink));
            }
        }
        (ColorSpace::PlainCmyk, [c, m, y, k]) => {
            for (i, pixel) in out.iter_mut().enumerate() {
                *pixel = samples::cmyk_pixel_to_rgb([c[i], m[i], y[i], k[i]]);
            }
        }
        (ColorSpace::Ycck, [y, cb, cr, k]) => {
            for (i, pixel) in out.iter_mut().enumerate() {
                let [c, m, y] = samples::ycbcr_to_rgb([y[i], cb[i], cr[i]]);
                *pixel = samples::cmyk_pixel_to_rgb([c, m, y, 255 - k[i]]);
            }
        }
        (_, [gray, ..]) => {
            for (value, pixel) in gray.iter().zip(out) {
                *pixel = [*value; 3];
            }
        }
        (_, []) => {}
    }
}

/// Upsampling of one component to the size of the image.
struct Upsampler<'a> {
    component: &'a Component,
    /// Horizontal and vertical expansion factors.
    expansion: (usize, usize),
    /// Whether columns and rows are interpolated.
    fancy: (bool, bool),
}

impl<'a> Upsampler<'a> {
    fn new(component: &'a Component, frame: &Frame) -> Self {
        let (max, own) = (frame.max_sampling_factors(), component.sampling_factors);
        let expansion = (max.horizontal / own.horizontal, max.vertical / own.vertical);
        let fancy = match expansion {
            (1, 2) => (false, true),
            (2, 1) if component.width > 2 => (true, false),
            (2, 2) if component.width > 2 => (true, true),
            _ => (false, false),
        };
        Self {
            component,
            expansion,
            fancy,
        }
    }

    /// Returns the samples of row `y` of the component, without padding.
    #[inline(always)]
    fn source_row(&self, y: usize) -> &[u8] {
        &self.component.samples[y * self.component.stride()..][..self.component.width]
    }

    /// Writes row `y` of the upsampled component.
    #[inline(always)]
    fn upsample_row(&self, y: usize, out: &mut [u8], scratch: &mut [u16]) {
        let near = y / self.expansion.1;
        let lower = y % 2 == 1;
        let far = if lower {
            (near + 1).min(self.component.height - 1)
        } else {
            near.saturating_sub(1)
        };
        let (near, far) = (self.source_row(near), self.source_row(far));
        match self.fancy {
            (false, false) => replicate(near, self.expansion.0, out),
            (true, false) => {
                let values = &mut scratch[..near.len()];
                for (value, near) in values.iter_mut().zip(near) {
                    *value = u16::from(*near);
                }
                upsample_horizontally(values, (1, 2), 2, out);
            }
            (false, true) => {
                let bias = if lower { 2 } else { 1 };
                for (out, sum) in out.iter_mut().zip(weight_rows(near, far, scratch)) {
                    *out = ((*sum + bias) >> 2) as u8;
                }
            }
            (true, true) => upsample_horizontally(weight_rows(near, far, scratch), (8, 7), 4, out),
        }
    }
}

/// Computes 3 * near + far for each sample.
#[inline(always)]
fn weight_rows<'a>(near: &[u8], far: &[u8], sums: &'a mut [u16]) -> &'a [u16] {
    let sums = &mut sums[..near.len()];
    for ((sum, near), far) in sums.iter_mut().zip(near).zip(far) {
        *sum = 3 * u16::from(*near) + u16::from(*far);
    }
    sums
}

/// Upsamples a row horizontally by 2 with fancy upsampling.
///
/// The two outputs of a value are 3 * value + left and 3 * value + right neighbor, with `bias`
/// added and shifted right by `shift`. A value at the edge is its own neighbor.
#[inline(always)]
fn upsample_horizontally(values: &[u16], bias: (u16, u16), shift: u32, out: &mut [u8]) {
    let pair = |left: u16, value: u16, right: u16| {
        let three = 3 * value;
        [
            ((three + left + bias.0) >> shift) as u8,
            ((three + right + bias.1) >> shift) as u8,
        ]
    };
    let last = values.len() - 1;
    let (pairs, _) = out[..2 * values.len()].as_chunks_mut::<2>();
    pairs[0] = pair(values[0], values[0], values[1.min(last)]);
    for (out, near) in pairs[1..].iter_mut().zip(values.windows(3)) {
        *out = pair(near[0], near[1], near[2]);
    }
    pairs[last] = pair(values[last.saturating_sub(1)], values[last], values[last]);
}

/// Repeats each value `times` times.
#[inline(always)]
fn replicate(values: &[u8], times: usize, out: &mut [u8]) {
    if times == 1 {
        out[..values.len()].copy_from_slice(values);
        return;
    }
    for (out, value) in out.chunks_exact_mut(times).zip(values) {
        out.fill(*value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fancy_upsampling_weights_neighbors_and_alternates_rounding() {
        let mut out = [0; 6];
        upsample_horizontally(&[10, 20, 21], (1, 2), 2, &mut out);
        assert_eq!(out, [10, 13, 17, 20, 21, 21]);
        upsample_horizontally(&[40, 80, 84], (8, 7), 4, &mut out);
        assert_eq!(out, [10, 12, 18, 20, 21, 21]);
    }

    #[test]
    fn replication_stops_at_the_end_of_the_output() {
        let mut out = [0; 7];
        replicate(&[1, 2, 3], 3, &mut out);
        assert_eq!(out, [1, 1, 1, 2, 2, 2, 0]);
    }
}
