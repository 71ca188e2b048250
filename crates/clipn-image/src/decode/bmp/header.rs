//! File header, bitmap header, bit masks and palette.
use super::{NAME, little_endian};
use crate::decode::{corrupt, truncated, unsupported};
use crate::error::ImageError;

/// Offset of the bitmap header: after the file header.
const BITMAP_HEADER: usize = 14;

/// Size of `BITMAPCOREHEADER`, with 16-bit sides and palette entries of three bytes.
const CORE_HEADER: u32 = 12;

/// Colors by index. Entries beyond the stored palette are black.
pub(super) type Palette = [[u8; 3]; 256];

/// Headers of a BMP file.
pub(super) struct Header {
    pub(super) width: u32,
    pub(super) height: u32,
    /// Whether the first row is the top one; otherwise it is the bottom one.
    pub(super) top_down: bool,
    /// Bits per pixel.
    pub(super) bits: u8,
    pub(super) layout: PixelLayout,
    /// Offset of the pixels in the file.
    pub(super) data_offset: usize,
}

/// Storage of the pixels.
pub(super) enum PixelLayout {
    /// Palette indices of 1, 2, 4 or 8 bits.
    Indexed(Box<Palette>),
    /// Runs of 8-bit palette indices.
    RunLength8(Box<Palette>),
    /// Runs of 4-bit palette indices.
    RunLength4(Box<Palette>),
    /// Blue, green and red bytes, and an unused byte with 32 bits per pixel.
    Bytes,
    /// Red, green and blue bits of a number of 16 or 32 bits.
    Masked(Box<[Channel; 3]>),
}

/// Compression field of the header.
enum Compression {
    None,
    RunLength8,
    RunLength4,
    BitFields,
}

/// Bits of a channel in a pixel, with at most 8 significant bits.
pub(super) struct Channel {
    shift: u32,
    mask: u32,
    /// Samples of 8 bits by the value of the bits.
    scaled: [u8; 256],
}

impl Channel {
    /// Creates a channel from its bit mask in a pixel of `pixel_bits` bits.
    ///
    /// Channels are scaled to 8 bits and rounded. Channels of 5 and 6 bits in 16-bit pixels are
    /// truncated, as in Pillow.
    fn new(mask: u32, pixel_bits: u8) -> Result<Self, ImageError> {
        let bits = mask.count_ones();
        if bits == 0 {
            return Err(corrupt(NAME, "empty bit mask of a channel"));
        }
        let shift = mask.trailing_zeros();
        if mask >> shift != u32::MAX >> (32 - bits) || shift + bits > u32::from(pixel_bits) {
            return Err(corrupt(
                NAME,
                format!("invalid bit mask {mask:#x} for {pixel_bits} bits per pixel"),
            ));
        }
        let kept = bits.min(8);
        let levels = (1u32 << kept) - 1;
        let rounding = match (pixel_bits, kept) {
            (16, 5 | 6) => 0,
            _ => levels / 2,
        };
        let scaled = |value: usize| ((value as u32 * 255 + rounding) / levels).min(255) as u8;
        Ok(Self {
            shift: shift + bits - kept,
            mask: levels,
            scaled: std::array::from_fn(scaled),
        })
    }

    /// Returns the 8-bit sample of a pixel.
    pub(super) fn sample(&self, pixel: u32) -> u8 {
        self.scaled[(pixel >> self.shift & self.mask) as usize]
    }
}

/// Reader of little-endian numbers.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn number(&self, offset: usize, length: usize) -> Result<u32, ImageError> {
        let field = self.0.get(offset..offset + length);
        field.map(little_endian).ok_or_else(|| truncated(NAME))
    }

    fn u16(&self, offset: usize) -> Result<u32, ImageError> {
        self.number(offset, 2)
    }

    fn u32(&self, offset: usize) -> Result<u32, ImageError> {
        self.number(offset, 4)
    }

    /// Reads `count` palette entries of `entry_bytes` bytes: blue, green, red and padding.
    fn palette(
        &self,
        offset: usize,
        count: usize,
        entry_bytes: usize,
    ) -> Result<Box<Palette>, ImageError> {
        let entries = self.0.get(offset..offset + count * entry_bytes);
        let entries = entries.ok_or_else(|| truncated(NAME))?;
        let mut palette = Box::new([[0; 3]; 256]);
        for (color, entry) in palette.iter_mut().zip(entries.chunks_exact(entry_bytes)) {
            *color = [entry[2], entry[1], entry[0]];
        }
        Ok(palette)
    }
}

impl Header {
    /// Reads the headers of a file.
    pub(super) fn read(bytes: &[u8]) -> Result<Self, ImageError> {
        let fields = Fields(bytes);
        match fields.u32(BITMAP_HEADER)? {
            CORE_HEADER => Self::read_core(&fields),
            size @ (40 | 52 | 56 | 108 | 124) => Self::read_info(&fields, size as usize),
            size if size < CORE_HEADER => {
                Err(corrupt(NAME, format!("bitmap header of {size} bytes")))
            }
            size => Err(unsupported(NAME, format!("bitmap header of {size} bytes"))),
        }
    }

    fn read_core(fields: &Fields) -> Result<Self, ImageError> {
        let (width, height) = (fields.u16(18)?, fields.u16(20)?);
        check_planes(fields.u16(22)?)?;
        let bits = match fields.u16(24)? {
            bits @ (1 | 4 | 8 | 24) => bits as u8,
            bits => return Err(invalid_bits(bits)),
        };
        let layout = if bits == 24 {
            PixelLayout::Bytes
        } else {
            let offset = BITMAP_HEADER + CORE_HEADER as usize;
            PixelLayout::Indexed(fields.palette(offset, 1 << bits, 3)?)
        };
        Ok(Self {
            width,
            height,
            top_down: false,
            bits,
            layout,
            data_offset: fields.u32(10)? as usize,
        })
    }

    fn read_info(fields: &Fields, header_size: usize) -> Result<Self, ImageError> {
        let width = fields.u32(18)?;
        if width > i32::MAX as u32 {
            let width = width.cast_signed();
            return Err(corrupt(NAME, format!("negative width {width}")));
        }
        // A negative height marks an image whose first row is the top one.
        let height = fields.u32(22)?.cast_signed();
        check_planes(fields.u16(26)?)?;
        let bits = fields.u16(28)?;
        let compression = compression(fields.u32(30)?)?;
        let top_down = height < 0;
        let is_run_length = !matches!(compression, Compression::None | Compression::BitFields);
        if top_down && is_run_length {
            return Err(corrupt(NAME, "run lengths with the top row first"));
        }
        let palette_len = fields.u32(46)?;
        // Number of important colors: the last field, which has no use here.
        fields.u32(50)?;
        let palette = || {
            let count = match palette_len {
                0 => 1 << bits,
                count if count <= 1 << bits => count as usize,
                count => {
                    let reason = format!("{count} palette colors for {bits} bits per pixel");
                    return Err(corrupt(NAME, reason));
                }
            };
            fields.palette(BITMAP_HEADER + header_size, count, 4)
        };
        // The masks follow the fields of `BITMAPINFOHEADER`, in a longer header or behind it.
        let channel = |index: usize| Channel::new(fields.u32(54 + 4 * index)?, bits as u8);
        let layout = match (compression, bits) {
            (Compression::None, 1 | 2 | 4 | 8) => PixelLayout::Indexed(palette()?),
            (Compression::None, 16) => PixelLayout::Masked(Box::new([
                Channel::new(0x7C00, 16)?,
                Channel::new(0x3E0, 16)?,
                Channel::new(0x1F, 16)?,
            ])),
            (Compression::None, 24 | 32) => PixelLayout::Bytes,
            (Compression::RunLength8, 8) => PixelLayout::RunLength8(palette()?),
            (Compression::RunLength4, 4) => PixelLayout::RunLength4(palette()?),
            (Compression::BitFields, 16 | 32) => {
                PixelLayout::Masked(Box::new([channel(0)?, channel(1)?, channel(2)?]))
            }
            _ => return Err(invalid_bits(bits)),
        };
        Ok(Self {
            width,
            height: height.unsigned_abs(),
            top_down,
            bits: bits as u8,
            layout,
            data_offset: fields.u32(10)? as usize,
        })
    }
}

fn check_planes(planes: u32) -> Result<(), ImageError> {
    match planes {
        1 => Ok(()),
        planes => Err(corrupt(NAME, format!("expected 1 plane, got {planes}"))),
    }
}

fn compression(field: u32) -> Result<Compression, ImageError> {
    Ok(match field {
        0 => Compression::None,
        1 => Compression::RunLength8,
        2 => Compression::RunLength4,
        3 => Compression::BitFields,
        4 => return Err(unsupported(NAME, "JPEG compression")),
        5 => return Err(unsupported(NAME, "PNG compression")),
        11..=13 => return Err(unsupported(NAME, "CMYK")),
        other => return Err(corrupt(NAME, format!("unknown compression {other}"))),
    })
}

fn invalid_bits(bits: u32) -> ImageError {
    corrupt(NAME, format!("{bits} bits per pixel for this compression"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn channels_are_scaled_to_the_whole_range() {
        for bits in 1..=8 {
            let channel = Channel::new(((1 << bits) - 1) << 9, 32).unwrap();
            let levels = (1 << bits) - 1;
            for value in 0..=levels {
                let expected = (f64::from(value) / f64::from(levels) * 255.0).round() as u8;
                assert_eq!(
                    channel.sample(value << 9),
                    expected,
                    "{value} of {bits} bits"
                );
            }
        }
    }

    #[test]
    fn wide_channels_keep_their_high_bits() {
        let channel = Channel::new(0x3FF << 20, 32).unwrap();
        assert_eq!(channel.sample(0x3FF << 20), 255);
        assert_eq!(channel.sample(0x203 << 20), 0x80);
        assert_eq!(channel.sample(0xFFFFF), 0);
    }

    #[test]
    fn rejects_masks_that_are_empty_torn_or_too_long() {
        for (mask, bits) in [(0, 16), (0b1011 << 4, 16), (0x1F << 12, 16), (0x5, 32)] {
            assert!(Channel::new(mask, bits).is_err(), "{mask:#x}");
        }
        assert!(Channel::new(0x1F << 11, 16).is_ok());
        assert!(Channel::new(u32::MAX, 32).is_ok());
    }
}
