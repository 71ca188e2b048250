//! Strips of TIFF images: samples of few bits, strips that end after the file, and strips that share bytes.

use std::io::Write;

use clipn_image::{DecodeOptions, ImageError, RgbImage, decode_bytes};
use flate2::{Compression, write::ZlibEncoder};

const WHITE_IS_ZERO: u16 = 0;
const BLACK_IS_ZERO: u16 = 1;
const PALETTE: u16 = 3;

const UNCOMPRESSED: u16 = 1;
const LZW: u16 = 5;
const JPEG: u16 = 7;
const DEFLATE: u16 = 8;
const PACKBITS: u16 = 32_773;

/// TIFF file whose strips stand at its end.
struct Tiff {
    size: (u32, u32),
    bits: u16,
    bands: u16,
    compression: u16,
    photometric: u16,
    /// Whether the bands are in planes.
    is_planar: bool,
    rows_per_strip: u32,
}

impl Tiff {
    fn gray(size: (u32, u32), bits: u16) -> Self {
        Self {
            size,
            bits,
            bands: 1,
            compression: UNCOMPRESSED,
            photometric: BLACK_IS_ZERO,
            is_planar: false,
            rows_per_strip: size.1,
        }
    }

    /// Encodes the file, with strips at these positions in `data`, given as start and length.
    fn encode(&self, strips: &[(usize, usize)], data: &[u8]) -> Vec<u8> {
        let count = strips.len();
        let mut entries = vec![
            (256, vec![self.size.0]),
            (257, vec![self.size.1]),
            (258, vec![self.bits.into()]),
            (259, vec![self.compression.into()]),
            (262, vec![self.photometric.into()]),
            (273, vec![0; count]),
            (277, vec![self.bands.into()]),
            (278, vec![self.rows_per_strip]),
            (
                279,
                strips.iter().map(|(_, length)| *length as u32).collect(),
            ),
            (284, vec![if self.is_planar { 2 } else { 1 }]),
        ];
        if self.photometric == PALETTE {
            let levels = 0..1u32 << self.bits;
            let map = (0..3).flat_map(|_| levels.clone().rev().map(|level| level << 8));
            entries.push((320, map.collect()));
        }
        let start = 8 + 2 + 12 * entries.len() + 4;
        let values: usize = entries.iter().map(|(_, values)| values.len()).sum();
        let data_start = start + 4 * values;
        entries[5].1 = strips
            .iter()
            .map(|(at, _)| (data_start + at) as u32)
            .collect();
        let mut file = b"II*\0\x08\0\0\0".to_vec();
        file.extend((entries.len() as u16).to_le_bytes());
        let mut tail = Vec::new();
        for (tag, values) in entries {
            let bytes: Vec<u8> = values
                .iter()
                .flat_map(|value| value.to_le_bytes())
                .collect();
            file.extend(u16::to_le_bytes(tag));
            file.extend([4, 0]);
            file.extend((values.len() as u32).to_le_bytes());
            if values.len() == 1 {
                file.extend(bytes);
            } else {
                file.extend(((start + tail.len()) as u32).to_le_bytes());
                tail.extend(bytes);
            }
        }
        file.extend([0; 4]);
        file.extend(tail);
        file.resize(data_start, 0);
        file.extend(data);
        file
    }
}

fn decode(file: &[u8]) -> Result<RgbImage, ImageError> {
    decode_bytes(file, &DecodeOptions::faithful())
}

/// The first value of every pixel.
fn reds(image: &RgbImage) -> Vec<u8> {
    image.pixels().iter().step_by(3).copied().collect()
}

/// Packs samples of `bits` bits, with `row` samples in a row.
fn pack(samples: &[u8], row: usize, bits: u16) -> Vec<u8> {
    let pack_row = |samples: &[u8]| -> Vec<u8> {
        let bits = usize::from(bits);
        let mut bytes = vec![0; (samples.len() * bits).div_ceil(8)];
        for (index, sample) in samples.iter().enumerate() {
            let at = index * bits;
            bytes[at / 8] |= sample << (8 - bits - at % 8);
        }
        bytes
    };
    samples.chunks(row).flat_map(pack_row).collect()
}

fn deflate(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// Pillow does not read these files; libtiff does.
#[test]
fn gray_of_few_bits_may_have_alpha() {
    const WIDTH: usize = 5;
    const HEIGHT: usize = 3;
    for bits in [1, 2, 4] {
        let white = (1u16 << bits) as usize - 1;
        let gray: Vec<u8> = (0..WIDTH * HEIGHT)
            .map(|i| ((i * 7 % 5) & white) as u8)
            .collect();
        let alpha: Vec<u8> = (0..WIDTH * HEIGHT)
            .map(|i| ((i % 3) & white) as u8)
            .collect();
        let expected: Vec<u8> = gray
            .iter()
            .map(|value| value * (255 / white) as u8)
            .collect();
        let inverted: Vec<u8> = expected.iter().map(|value| 255 - value).collect();
        let pixels: Vec<u8> = gray
            .iter()
            .zip(&alpha)
            .flat_map(|(g, a)| [*g, *a])
            .collect();
        let chunky = pack(&pixels, 2 * WIDTH, bits);
        let planes = [pack(&gray, WIDTH, bits), pack(&alpha, WIDTH, bits)];
        let size = (WIDTH as u32, HEIGHT as u32);
        let mut tiff = Tiff {
            bands: 2,
            ..Tiff::gray(size, bits)
        };
        let file = tiff.encode(&[(0, chunky.len())], &chunky);
        assert_eq!(reds(&decode(&file).unwrap()), expected, "{bits} bits");
        tiff.photometric = WHITE_IS_ZERO;
        let file = tiff.encode(&[(0, chunky.len())], &chunky);
        assert_eq!(reds(&decode(&file).unwrap()), inverted, "{bits} bits");
        tiff.photometric = PALETTE;
        let file = tiff.encode(&[(0, chunky.len())], &chunky);
        let colors: Vec<u8> = gray.iter().map(|value| white as u8 - value).collect();
        assert_eq!(reds(&decode(&file).unwrap()), colors, "{bits} bits");
        tiff.photometric = BLACK_IS_ZERO;
        tiff.is_planar = true;
        let length = planes[0].len();
        let file = tiff.encode(&[(0, length), (length, length)], &planes.concat());
        assert_eq!(
            reds(&decode(&file).unwrap()),
            expected,
            "{bits} bits, planes"
        );
        // Bands that are named.
        let options = DecodeOptions::faithful().with_bands([2, 1, 1]);
        let image = decode_bytes(&file, &options).unwrap();
        assert_eq!(image.pixels()[3 * 4], alpha[4] * (255 / white) as u8);
        assert_eq!(image.pixels()[3 * 4 + 1], expected[4]);
    }
}

#[test]
fn palettes_of_16_bits_are_rejected_by_name() {
    let tiff = Tiff {
        photometric: PALETTE,
        ..Tiff::gray((2, 2), 16)
    };
    let error = decode(&tiff.encode(&[(0, 8)], &[0; 8])).unwrap_err();
    assert!(error.to_string().ends_with("16-bit palette"), "{error}");
}

/// Images for which the directory is written again are not read beyond the end of their file.
#[test]
fn strips_end_with_the_file() {
    let samples: Vec<u8> = (0..64).collect();
    let packed = [&[63][..], &samples].concat();
    for (compression, data) in [
        (UNCOMPRESSED, samples.clone()),
        (DEFLATE, deflate(&samples)),
        (PACKBITS, packed),
    ] {
        for photometric in [BLACK_IS_ZERO, WHITE_IS_ZERO, PALETTE] {
            let tiff = Tiff {
                compression,
                photometric,
                ..Tiff::gray((8, 8), 8)
            };
            let file = tiff.encode(&[(0, data.len())], &data);
            assert!(decode(&file).is_ok());
            for missing in [1, 2, 7, data.len()] {
                let error = decode(&file[..file.len() - missing]).unwrap_err();
                assert!(
                    matches!(error, ImageError::Truncated { .. }),
                    "{compression}, {photometric}, {missing}: {error}"
                );
            }
        }
    }
    // Without compression, the size of a strip follows from its samples.
    for length in [3, 1000] {
        let file = Tiff::gray((8, 8), 8).encode(&[(0, length)], &samples);
        assert_eq!(reds(&decode(&file).unwrap()), samples, "{length}");
    }
}

#[test]
fn equal_strips_may_share_their_bytes() {
    let data = deflate(&[1, 2, 3]);
    let tiff = Tiff {
        compression: DEFLATE,
        rows_per_strip: 1,
        ..Tiff::gray((3, 100), 8)
    };
    let image = decode(&tiff.encode(&[(0, data.len()); 100], &data)).unwrap();
    assert_eq!(reds(&image), [1, 2, 3].repeat(100));
}

/// Takes minutes if each strip is read to its end.
#[test]
fn strips_do_not_share_bytes_without_limit() {
    const ROWS: usize = 20_000;
    const LENGTH: usize = 4 << 20;
    // No-ops of PackBits, clear codes of LZW, comments of JPEG.
    let nothing = vec![0x80; LENGTH];
    for compression in [PACKBITS, LZW, JPEG] {
        let tiff = Tiff {
            compression,
            rows_per_strip: 1,
            ..Tiff::gray((1, ROWS as u32), 8)
        };
        let error = decode(&tiff.encode(&[(0, LENGTH); ROWS], &nothing)).unwrap_err();
        let expected = "20000 strips or tiles of 83886080000 bytes in a file of";
        assert!(error.to_string().contains(expected), "{error}");
    }
}

/// Takes minutes if strips are inflated beyond their ends.
#[test]
fn inflated_strips_end_where_they_should() {
    const ROWS: usize = 20_000;
    // Stored blocks without data, then one with a sample, and its checksum.
    let mut data = vec![0x78, 0x01];
    data.extend([0, 0, 0, 0xFF, 0xFF].repeat(1 << 20));
    data.extend([1, 1, 0, 0xFE, 0xFF, 7, 0, 8, 0, 8]);
    let mut tiff = Tiff {
        compression: DEFLATE,
        ..Tiff::gray((1, 1), 8)
    };
    assert_eq!(
        reds(&decode(&tiff.encode(&[(0, data.len())], &data)).unwrap()),
        [7]
    );
    tiff.size.1 = ROWS as u32;
    tiff.rows_per_strip = 1;
    let error = decode(&tiff.encode(&[(0, 12); ROWS], &data)).unwrap_err();
    assert!(matches!(error, ImageError::Truncated { .. }), "{error}");
}
