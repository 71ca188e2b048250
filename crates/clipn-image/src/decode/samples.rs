//! Conversions of samples to RGB, with Pillow's rules.
use super::DecodeOptions;
use crate::error::{ImageError, ImageOrigin};
use crate::rgb::RgbImage;

/// Converts 8-bit grayscale to three equal channels.
pub(super) fn gray_to_rgb(samples: &[u8]) -> Vec<u8> {
    samples.iter().flat_map(|value| [*value; 3]).collect()
}

/// Returns the samples of a row, which are stored with `bits` bits each (1, 2, 4 or 8), the first
/// one in the high bits.
pub(super) fn unpack_row(row: &[u8], width: usize, bits: u8) -> impl Iterator<Item = u8> {
    let per_byte = usize::from(8 / bits);
    let mask = u8::MAX >> (8 - bits);
    (0..width).map(move |x| {
        let shift = 8 - usize::from(bits) * (x % per_byte + 1);
        row[x / per_byte] >> shift & mask
    })
}

/// Converts palette indices to RGB; `palette` has three bytes per entry.
///
/// An index beyond the palette gives the gray of that index, because Pillow initializes palettes
/// with a gray ramp.
pub(super) fn palette_to_rgb(indices: &[u8], palette: &[u8]) -> Vec<u8> {
    let mut colors: [[u8; 3]; 256] = std::array::from_fn(|index| [index as u8; 3]);
    for (color, entry) in colors.iter_mut().zip(palette.as_chunks::<3>().0) {
        *color = *entry;
    }
    indices
        .iter()
        .flat_map(|index| colors[usize::from(*index)])
        .collect()
}

/// Converts the first of `channels` channels to three equal channels.
pub(super) fn first_channel_to_rgb(samples: &[u8], channels: usize) -> Vec<u8> {
    samples
        .chunks_exact(channels)
        .flat_map(|pixel| [pixel[0]; 3])
        .collect()
}

/// Keeps the first three of `channels` channels: alpha is dropped, not composited. It moves samples within
/// their buffer, as a second one doubled the memory of large images.
pub(super) fn first_three_channels<T: Copy>(mut samples: Vec<T>, channels: usize) -> Vec<T> {
    let pixels = samples.len() / channels;
    for pixel in 0..pixels {
        let from = pixel * channels;
        samples.copy_within(from..from + 3, pixel * 3);
    }
    samples.truncate(pixels * 3);
    samples.shrink_to_fit();
    samples
}

/// Makes an image of three of the channels of `image`, counted from 1.
pub(super) fn select_channels(image: &RgbImage, bands: [u16; 3]) -> Result<RgbImage, ImageError> {
    check_bands(bands, 3)?;
    let select = |pixel: &[u8; 3]| bands.map(|band| pixel[usize::from(band) - 1]);
    let pixels = image.pixels().as_chunks::<3>().0.iter().flat_map(select);
    RgbImage::new(image.width(), image.height(), pixels.collect())
}

/// Rejects bands, counted from 1, that an image with `count` bands does not have.
pub(super) fn check_bands(bands: [u16; 3], count: u16) -> Result<(), ImageError> {
    match bands.into_iter().find(|band| *band > count) {
        Some(band) => Err(ImageError::BandOutOfRange {
            origin: ImageOrigin::Memory,
            band,
            bands: count,
        }),
        None => Ok(()),
    }
}

/// Converts premultiplied RGBA (the first four of `channels` channels) to RGB, with Pillow's
/// division by alpha.
pub(super) fn premultiplied_to_rgb(samples: &[u8], channels: usize) -> Vec<u8> {
    let unpremultiply = |value: u8, alpha: u8| match alpha {
        0 => 0,
        alpha => (u16::from(value) * 255 / u16::from(alpha)).min(255) as u8,
    };
    samples
        .chunks_exact(channels)
        .flat_map(|p| [p[0], p[1], p[2]].map(|value| unpremultiply(value, p[3])))
        .collect()
}

/// Highest 16-bit sample of an image that is nearly black in 8 bits, as of cameras that store 12
/// bits in 16.
const DIM: u16 = (1 << 12) - 1;

/// Converts 16-bit grayscale to RGB: [`wide_to_bytes`] if the options ask for it, else clipped at
/// 255 as in Pillow.
///
/// # Errors
/// Same as [`wide_to_bytes`].
pub(super) fn gray16_to_rgb(
    samples: &[u16],
    options: &DecodeOptions,
) -> Result<Vec<u8>, ImageError> {
    if options.scale_16_bit || options.sample_bits.is_some() {
        return Ok(gray_to_rgb(&wide_to_bytes(samples, options)?));
    }
    let clipped: Vec<u8> = samples
        .iter()
        .map(|value| (*value).min(255) as u8)
        .collect();
    Ok(gray_to_rgb(&clipped))
}

/// Returns the high 8 of the [`DecodeOptions::sample_bits`] of each 16-bit sample; larger values are
/// white.
///
/// # Errors
/// [`ImageError::DimSamples`] if the number of bits is not given, the image is for display, and it
/// would be nearly black.
pub(super) fn wide_to_bytes(
    samples: &[u16],
    options: &DecodeOptions,
) -> Result<Vec<u8>, ImageError> {
    check_wide(samples.iter().copied(), options)?;
    let to_byte = byte_of_wide(options);
    Ok(samples.iter().map(|value| to_byte(*value)).collect())
}

/// Rejects what [`wide_to_bytes`] rejects.
fn check_wide(
    samples: impl Iterator<Item = u16>,
    options: &DecodeOptions,
) -> Result<(), ImageError> {
    if options.scale_16_bit && options.sample_bits.is_none() {
        check_brightness(samples)?;
    }
    Ok(())
}

/// The conversion of [`wide_to_bytes`].
fn byte_of_wide(options: &DecodeOptions) -> impl Fn(u16) -> u8 + use<> {
    let shift = options.sample_bits.unwrap_or(16).saturating_sub(8);
    move |value: u16| (value >> shift).min(255) as u8
}

/// Rejects 16-bit samples without one that is bright enough to be seen, unless all are 0.
pub(super) fn check_brightness(samples: impl Iterator<Item = u16>) -> Result<(), ImageError> {
    match samples.max() {
        Some(highest @ 1..=DIM) => Err(ImageError::DimSamples {
            origin: ImageOrigin::Memory,
            highest,
        }),
        _ => Ok(()),
    }
}

/// Returns 16-bit samples that are stored with the high byte first.
pub(super) fn big_endian_u16(bytes: &[u8]) -> impl Iterator<Item = u16> {
    bytes
        .as_chunks::<2>()
        .0
        .iter()
        .map(|pair| u16::from_be_bytes(*pair))
}

/// Converts the first three of `channels` channels of 16-bit samples, which are stored with the high byte
/// first, as [`wide_to_bytes`] does, within their buffer.
///
/// # Errors
/// Same as [`wide_to_bytes`].
pub(super) fn big_endian_to_rgb(
    mut bytes: Vec<u8>,
    channels: usize,
    options: &DecodeOptions,
) -> Result<Vec<u8>, ImageError> {
    let size = 2 * channels;
    let first_three = bytes.chunks_exact(size).flat_map(|pixel| {
        let pairs = pixel.as_chunks::<2>().0.iter().take(3);
        pairs.map(|pair| u16::from_be_bytes(*pair))
    });
    check_wide(first_three, options)?;
    let to_byte = byte_of_wide(options);
    let pixels = bytes.len() / size;
    for pixel in 0..pixels {
        for channel in 0..3 {
            let at = pixel * size + 2 * channel;
            bytes[pixel * 3 + channel] = to_byte(u16::from_be_bytes([bytes[at], bytes[at + 1]]));
        }
    }
    bytes.truncate(pixels * 3);
    bytes.shrink_to_fit();
    Ok(bytes)
}

/// Converts CMYK (0 = no ink) to RGB, with Pillow's rounded division by 255.
pub(super) fn cmyk_to_rgb(samples: &[u8]) -> Vec<u8> {
    samples
        .as_chunks::<4>()
        .0
        .iter()
        .flat_map(|inks| cmyk_pixel_to_rgb(*inks))
        .collect()
}

/// Converts one CMYK pixel (0 = no ink) to RGB.
#[inline(always)]
pub(super) fn cmyk_pixel_to_rgb([cyan, magenta, yellow, black]: [u8; 4]) -> [u8; 3] {
    [cyan, magenta, yellow].map(|ink| ink_to_light(ink, black))
}

/// Returns the brightness of a channel with that ink over `black`.
#[inline(always)]
fn ink_to_light(ink: u8, black: u8) -> u8 {
    let paper = 255 - i32::from(black);
    let product = i32::from(ink) * paper + 128;
    (paper - (((product >> 8) + product) >> 8)).clamp(0, 255) as u8
}

/// Converts one YCbCr pixel to RGB: JFIF's equations in 16-bit fixed point, as in libjpeg.
#[inline(always)]
pub(super) fn ycbcr_to_rgb([y, cb, cr]: [u8; 3]) -> [u8; 3] {
    const HALF: i32 = 1 << 15;
    let (y, cb, cr) = (i32::from(y), i32::from(cb) - 128, i32::from(cr) - 128);
    let byte = |value: i32| value.clamp(0, 255) as u8;
    [
        byte(y + ((91_881 * cr + HALF) >> 16)),
        byte(y + ((-22_554 * cb - 46_802 * cr + HALF) >> 16)),
        byte(y + ((116_130 * cb + HALF) >> 16)),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cmyk_matches_pillow() {
        assert_eq!(
            cmyk_to_rgb(&[0, 0, 0, 0, 255, 0, 0, 0, 0, 0, 0, 255]),
            [255, 255, 255, 0, 255, 255, 0, 0, 0]
        );
        assert_eq!(cmyk_to_rgb(&[100, 50, 200, 30]), [137, 181, 49]);
    }

    #[test]
    fn palettes_start_with_a_gray_ramp() {
        assert_eq!(
            palette_to_rgb(&[0, 1, 9], &[1, 2, 3, 4, 5, 6]),
            [1, 2, 3, 4, 5, 6, 9, 9, 9]
        );
    }

    #[test]
    fn sixteen_bit_gray_is_clipped_or_scaled() {
        let values = [0u16, 255, 256, 65535];
        assert_eq!(
            gray16_to_rgb(&values, &DecodeOptions::faithful()).unwrap()[..],
            [[0; 3], [255; 3], [255; 3], [255; 3]].concat()
        );
        assert_eq!(
            gray16_to_rgb(&values, &DecodeOptions::for_display()).unwrap()[..],
            [[0; 3], [0; 3], [1; 3], [255; 3]].concat()
        );
    }

    #[test]
    fn channels_are_converted_within_their_buffer() {
        let samples: Vec<u8> = (0..40).collect();
        for channels in [3, 4, 5] {
            let expected: Vec<u8> = (samples.chunks_exact(channels))
                .flat_map(|pixel| &pixel[..3])
                .copied()
                .collect();
            assert_eq!(first_three_channels(samples.clone(), channels), expected);
            let wide: Vec<u16> = samples
                .iter()
                .map(|value| 900 * u16::from(*value))
                .collect();
            let stored: Vec<u8> = wide.iter().flat_map(|value| value.to_be_bytes()).collect();
            for options in [
                DecodeOptions::for_display(),
                DecodeOptions::faithful().with_sample_bits(12),
            ] {
                let expected =
                    wide_to_bytes(&first_three_channels(wide.clone(), channels), &options);
                let found = big_endian_to_rgb(stored.clone(), channels, &options);
                assert_eq!(found.unwrap(), expected.unwrap(), "{channels}");
            }
        }
        let dim = [1u16, 2, 3, u16::MAX].map(u16::to_be_bytes).concat();
        assert!(big_endian_to_rgb(dim, 4, &DecodeOptions::for_display()).is_err());
    }

    #[test]
    fn samples_of_fewer_bits_are_scaled_by_request() {
        let values = [0u16, 15, 16, 4095, 4096];
        let display = DecodeOptions::for_display();
        let scaled = wide_to_bytes(&values, &display.with_sample_bits(12));
        assert_eq!(scaled.unwrap(), [0, 0, 1, 255, 255]);
        let twelve = &values[..4];
        let error = wide_to_bytes(twelve, &display).unwrap_err();
        assert!(matches!(
            error,
            ImageError::DimSamples { highest: 4095, .. }
        ));
        // Dark by request, black, or as the published code reads it.
        let dark = wide_to_bytes(twelve, &display.with_sample_bits(16)).unwrap();
        assert_eq!(dark, [0, 0, 0, 15]);
        assert_eq!(wide_to_bytes(&[0, 0], &display).unwrap(), [0, 0]);
        assert!(wide_to_bytes(twelve, &DecodeOptions::faithful()).is_ok());
    }

    #[test]
    fn neutral_chroma_gives_gray() {
        for value in [0, 1, 77, 255] {
            assert_eq!(ycbcr_to_rgb([value, 128, 128]), [value; 3]);
        }
        assert_eq!(ycbcr_to_rgb([76, 85, 255]), [254, 0, 0]);
    }
}
