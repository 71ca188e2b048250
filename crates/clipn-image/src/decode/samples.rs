//! Samples of other kinds into red, green and blue, by Pillow's rules.
use super::DecodeOptions;

/// Grey bytes to three equal channels.
pub(super) fn from_grey(samples: &[u8]) -> Vec<u8> {
    samples.iter().flat_map(|value| [*value; 3]).collect()
}

/// The colours of palette entries; `palette` holds red, green and blue of each. An index beyond the palette gives the
/// grey of that index, which is how Pillow's palettes start.
pub(super) fn from_palette(indices: &[u8], palette: &[u8]) -> Vec<u8> {
    let mut colours: [[u8; 3]; 256] = std::array::from_fn(|index| [index as u8; 3]);
    for (colour, entry) in colours.iter_mut().zip(palette.as_chunks::<3>().0) {
        *colour = *entry;
    }
    indices
        .iter()
        .flat_map(|index| colours[usize::from(*index)])
        .collect()
}

/// The first channel of pixels of `channels` samples, as three.
pub(super) fn first_as_grey(samples: &[u8], channels: usize) -> Vec<u8> {
    samples
        .chunks_exact(channels)
        .flat_map(|pixel| [pixel[0]; 3])
        .collect()
}

/// The first three channels of pixels of `channels` samples: alpha is dropped, not composited.
pub(super) fn first_three(samples: &[u8], channels: usize) -> Vec<u8> {
    samples
        .chunks_exact(channels)
        .flat_map(|pixel| [pixel[0], pixel[1], pixel[2]])
        .collect()
}

/// The colours of pixels whose first three of `channels` were multiplied with the fourth, as Pillow divides them.
pub(super) fn unmultiplied(samples: &[u8], channels: usize) -> Vec<u8> {
    let divided = |value: u8, alpha: u8| match alpha {
        0 => 0,
        alpha => (u16::from(value) * 255 / u16::from(alpha)).min(255) as u8,
    };
    samples
        .chunks_exact(channels)
        .flat_map(|p| [p[0], p[1], p[2]].map(|value| divided(value, p[3])))
        .collect()
}

/// 16-bit grey to bytes: clipped at 255 as Pillow does, or the high byte.
pub(super) fn grey_from_16_bit(
    samples: impl Iterator<Item = u16>,
    options: &DecodeOptions,
) -> Vec<u8> {
    let scale = options.scale_16_bit;
    samples
        .flat_map(|value| {
            [if scale {
                (value >> 8) as u8
            } else {
                value.min(255) as u8
            }; 3]
        })
        .collect()
}

/// The high bytes of 16-bit samples.
pub(super) fn high_bytes(samples: impl Iterator<Item = u16>) -> Vec<u8> {
    samples.map(|value| (value >> 8) as u8).collect()
}

/// Native-endian 16-bit samples.
pub(super) fn native_16_bit(bytes: &[u8]) -> impl Iterator<Item = u16> {
    bytes
        .as_chunks::<2>()
        .0
        .iter()
        .map(|pair| u16::from_ne_bytes(*pair))
}

/// Ink (0 = none) to light, with Pillow's rounded division by 255.
pub(super) fn from_cmyk(samples: &[u8]) -> Vec<u8> {
    samples
        .as_chunks::<4>()
        .0
        .iter()
        .flat_map(|inks| from_inks(*inks))
        .collect()
}

/// Cyan, magenta, yellow and black to light.
#[inline(always)]
pub(super) fn from_inks([cyan, magenta, yellow, black]: [u8; 4]) -> [u8; 3] {
    [cyan, magenta, yellow].map(|ink| light(ink, black))
}

#[inline(always)]
fn light(ink: u8, black: u8) -> u8 {
    let paper = 255 - i32::from(black);
    let product = i32::from(ink) * paper + 128;
    (paper - (((product >> 8) + product) >> 8)).clamp(0, 255) as u8
}

/// Luma and chroma to red, green and blue: JFIF's equations in 16 fixed bits, as libjpeg has them.
#[inline(always)]
pub(super) fn from_luma_chroma([luma, blue, red]: [u8; 3]) -> [u8; 3] {
    const HALF: i32 = 1 << 15;
    let (luma, blue, red) = (i32::from(luma), i32::from(blue) - 128, i32::from(red) - 128);
    let byte = |value: i32| value.clamp(0, 255) as u8;
    [
        byte(luma + ((91_881 * red + HALF) >> 16)),
        byte(luma + ((-22_554 * blue - 46_802 * red + HALF) >> 16)),
        byte(luma + ((116_130 * blue + HALF) >> 16)),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inks_follow_pillow() {
        assert_eq!(
            from_cmyk(&[0, 0, 0, 0, 255, 0, 0, 0, 0, 0, 0, 255]),
            [255, 255, 255, 0, 255, 255, 0, 0, 0]
        );
        assert_eq!(from_cmyk(&[100, 50, 200, 30]), [137, 181, 49]);
    }

    #[test]
    fn palettes_start_grey() {
        assert_eq!(
            from_palette(&[0, 1, 9], &[1, 2, 3, 4, 5, 6]),
            [1, 2, 3, 4, 5, 6, 9, 9, 9]
        );
    }

    #[test]
    fn sixteen_bits_clip_or_scale() {
        let values = [0u16, 255, 256, 65535];
        assert_eq!(
            grey_from_16_bit(values.into_iter(), &DecodeOptions::faithful())[..],
            [[0; 3], [255; 3], [255; 3], [255; 3]].concat()
        );
        assert_eq!(
            grey_from_16_bit(values.into_iter(), &DecodeOptions::for_users())[..],
            [[0; 3], [0; 3], [1; 3], [255; 3]].concat()
        );
    }

    #[test]
    fn grey_luma_has_no_colour() {
        for value in [0, 1, 77, 255] {
            assert_eq!(from_luma_chroma([value, 128, 128]), [value; 3]);
        }
        assert_eq!(from_luma_chroma([76, 85, 255]), [254, 0, 0]);
    }
}
