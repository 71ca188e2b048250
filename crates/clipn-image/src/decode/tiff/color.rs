//! Color spaces of TIFF images.

/// Photometric interpretations (TIFF 6.0, page 37).
pub(super) mod photometric {
    pub(in crate::decode::tiff) const WHITE_IS_ZERO: u16 = 0;
    pub(in crate::decode::tiff) const BLACK_IS_ZERO: u16 = 1;
    pub(in crate::decode::tiff) const RGB: u16 = 2;
    pub(in crate::decode::tiff) const PALETTE: u16 = 3;
    pub(in crate::decode::tiff) const CMYK: u16 = 5;
    pub(in crate::decode::tiff) const YCBCR: u16 = 6;
    pub(in crate::decode::tiff) const CIELAB: u16 = 8;
}

/// Conversion of YCbCr samples to RGB with the coefficients of the file, in libtiff's fixed point.
pub(super) struct YcbcrConversion {
    luma: [i32; 256],
    cr_to_red: [i32; 256],
    cr_to_green: [i32; 256],
    cb_to_green: [i32; 256],
    cb_to_blue: [i32; 256],
}

impl YcbcrConversion {
    /// Luma coefficients of red, green and blue (CCIR 601).
    pub(super) const COEFFICIENTS: [f32; 3] = [0.299, 0.587, 0.114];
    /// Codes of black and white of Y, Cb and Cr.
    pub(super) const REFERENCE: [f32; 6] = [0.0, 255.0, 128.0, 255.0, 128.0, 255.0];

    /// Computes the tables. `reference` has the codes of black and white of each component.
    pub(super) fn new(coefficients: [f32; 3], reference: [f32; 6]) -> Self {
        const HALF: i32 = 1 << 15;
        const LIMIT: f32 = 128.0 * 32.0;
        let [red, green, blue] = coefficients;
        // Fixed point with 16 bits; NaN of damaged coefficients becomes 0.
        let fixed = |factor: f32| (f64::from(factor.clamp(0.0, 2.0)) * 65_536.0 + 0.5) as i32;
        let code_value = |code: f32, black: f32, white: f32, range: f32| {
            let span = if white == black { 1.0 } else { white - black };
            ((code - black.trunc()) * range / span).clamp(-LIMIT, LIMIT) as i32
        };
        let (to_red, to_blue) = (2.0 - 2.0 * red, 2.0 - 2.0 * blue);
        let [to_red_fixed, to_blue_fixed] = [to_red, to_blue].map(fixed);
        let cr_to_green = -fixed(red * to_red / green);
        let cb_to_green = -fixed(blue * to_blue / green);
        let chroma = |index: usize, first: usize| {
            let (black, white) = (reference[first] - 128.0, reference[first + 1] - 128.0);
            code_value(index as f32 - 128.0, black, white, 127.0)
        };
        let table = |entry: &dyn Fn(usize) -> i32| std::array::from_fn(entry);
        Self {
            luma: table(&|i| code_value(i as f32, reference[0], reference[1], 255.0)),
            cr_to_red: table(&|i| (to_red_fixed * chroma(i, 4) + HALF) >> 16),
            cr_to_green: table(&|i| cr_to_green * chroma(i, 4)),
            cb_to_green: table(&|i| cb_to_green * chroma(i, 2) + HALF),
            cb_to_blue: table(&|i| (to_blue_fixed * chroma(i, 2) + HALF) >> 16),
        }
    }

    /// Converts one pixel.
    pub(super) fn to_rgb(&self, [y, cb, cr]: [u8; 3]) -> [u8; 3] {
        let [y, cb, cr] = [y, cb, cr].map(usize::from);
        let luma = self.luma[y];
        let byte = |value: i32| value.clamp(0, 255) as u8;
        [
            byte(luma + self.cr_to_red[cr]),
            byte(luma + ((self.cb_to_green[cb] + self.cr_to_green[cr]) >> 16)),
            byte(luma + self.cb_to_blue[cb]),
        ]
    }
}

/// Converts a pixel of CIE L\*a\*b\* with D50 white to sRGB. L\* from 0 to 100 is stored as 0 to 255;
/// a\* and b\* as signed bytes.
pub(super) fn cielab_to_rgb([l, a, b]: [u8; 3]) -> [u8; 3] {
    // Bradford adaptation from D50 to the D65 of sRGB, and its primaries.
    const TO_LINEAR: [[f64; 3]; 3] = [
        [3.134_136, -1.617_386, -0.490_662],
        [-0.978_795, 1.916_254, 0.033_443],
        [0.071_955, -0.228_977, 1.405_386],
    ];
    const WHITE: [f64; 3] = [0.964_212, 1.0, 0.825_188];
    let fy = (f64::from(l) * 100.0 / 255.0 + 16.0) / 116.0;
    let signed = |byte: u8| f64::from(byte as i8);
    let fxyz = [fy + signed(a) / 500.0, fy, fy - signed(b) / 200.0];
    let inverse = |t: f64| match t > 6.0 / 29.0 {
        true => t.powi(3),
        false => 3.0 * (6.0f64 / 29.0).powi(2) * (t - 4.0 / 29.0),
    };
    let xyz: [f64; 3] = std::array::from_fn(|i| WHITE[i] * inverse(fxyz[i]));
    TO_LINEAR.map(|row| {
        let linear: f64 = row
            .iter()
            .zip(xyz)
            .map(|(weight, value)| weight * value)
            .sum();
        let encoded = match linear > 0.003_130_8 {
            true => 1.055 * linear.powf(1.0 / 2.4) - 0.055,
            false => 12.92 * linear,
        };
        (encoded.clamp(0.0, 1.0) * 255.0).round() as u8
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::samples::ycbcr_to_rgb;

    #[test]
    fn the_usual_coefficients_are_those_of_jfif() {
        let usual = YcbcrConversion::new(YcbcrConversion::COEFFICIENTS, YcbcrConversion::REFERENCE);
        for index in 0..1 << 15 {
            let pixel = [index << 3, index >> 2 & 0xF8, index >> 7 & 0xF8].map(|v| v as u8);
            assert_eq!(usual.to_rgb(pixel), ycbcr_to_rgb(pixel), "{pixel:?}");
        }
    }

    #[test]
    fn video_levels_have_black_at_16() {
        let reference = [16.0, 235.0, 128.0, 240.0, 128.0, 240.0];
        let video = YcbcrConversion::new(YcbcrConversion::COEFFICIENTS, reference);
        assert_eq!(video.to_rgb([16, 128, 128]), [0; 3]);
        assert_eq!(video.to_rgb([235, 128, 128]), [255; 3]);
        let damaged = YcbcrConversion::new([f32::NAN, 0.0, 0.0], [0.0; 6]);
        damaged.to_rgb([1, 2, 3]);
    }

    #[test]
    fn gray_and_primaries_of_cielab() {
        assert_eq!(cielab_to_rgb([0, 0, 0]), [0; 3]);
        assert_eq!(cielab_to_rgb([255, 0, 0]), [255; 3]);
        let [r, g, b] = cielab_to_rgb([136, 0, 0]);
        assert!(r == g && g == b && (126..=128).contains(&r), "{r} {g} {b}");
        // sRGB red has L* = 54.29, a* = 80.81, b* = 69.89 with D50 white.
        let red = cielab_to_rgb([138, 81, 70]);
        assert!(red[0] > 252 && red[1] < 8 && red[2] < 8, "{red:?}");
    }
}
