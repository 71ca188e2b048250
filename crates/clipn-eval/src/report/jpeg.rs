//! Encoder for baseline JPEG (ITU-T T.81) with the example tables of its Annex K, for thumbnails.
//!
//! Colors are stored as JFIF's YCbCr without subsampling. Equations, sections and tables are those
//! of <https://www.w3.org/Graphics/JPEG/itu-t81.pdf>.
use std::f32::consts::PI;

/// Block of 8 × 8 samples or coefficients, in row order.
type Block = [f32; 64];

/// Position in row order of each coefficient in zig-zag order (Figure A.6).
const ZIGZAG: [usize; 64] = [
    0, 1, 8, 16, 9, 2, 3, 10, 17, 24, 32, 25, 18, 11, 4, 5, 12, 19, 26, 33, 40, 48, 41, 34, 27, 20,
    13, 6, 7, 14, 21, 28, 35, 42, 49, 56, 57, 50, 43, 36, 29, 22, 15, 23, 30, 37, 44, 51, 58, 59,
    52, 45, 38, 31, 39, 46, 53, 60, 61, 54, 47, 55, 62, 63,
];

/// Quantization of luminance in row order (Table K.1).
const LUMINANCE: [u16; 64] = [
    16, 11, 10, 16, 24, 40, 51, 61, 12, 12, 14, 19, 26, 58, 60, 55, 14, 13, 16, 24, 40, 57, 69, 56,
    14, 17, 22, 29, 51, 87, 80, 62, 18, 22, 37, 56, 68, 109, 103, 77, 24, 35, 55, 64, 81, 104, 113,
    92, 49, 64, 78, 87, 103, 121, 120, 101, 72, 92, 95, 98, 112, 100, 103, 99,
];

/// Quantization of chrominance in row order (Table K.2).
const CHROMINANCE: [u16; 64] = [
    17, 18, 24, 47, 99, 99, 99, 99, 18, 21, 26, 66, 99, 99, 99, 99, 24, 26, 56, 99, 99, 99, 99, 99,
    47, 66, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99,
    99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99,
];

/// Huffman table: the number of codes of each length, 1 to 16 bits, and their symbols.
struct HuffmanSpec {
    /// Class and destination (Tc, Th).
    id: u8,
    counts: [u8; 16],
    symbols: &'static [u8],
}

/// Symbols of both DC tables: the number of bits of a difference.
const DC_SYMBOLS: &[u8] = &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11];

/// Tables K.3 and K.5 of luminance, K.4 and K.6 of chrominance.
const HUFFMAN: [HuffmanSpec; 4] = [
    HuffmanSpec {
        id: 0x00,
        counts: [0, 1, 5, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0],
        symbols: DC_SYMBOLS,
    },
    HuffmanSpec {
        id: 0x10,
        counts: [0, 2, 1, 3, 3, 2, 4, 3, 5, 5, 4, 4, 0, 0, 1, 125],
        symbols: b"\x01\x02\x03\x00\x04\x11\x05\x12\x21\x31\x41\x06\x13\x51\x61\x07\x22\x71\x14\x32\x81\x91\xa1\x08\
            \x23\x42\xb1\xc1\x15\x52\xd1\xf0\x24\x33\x62\x72\x82\x09\x0a\x16\x17\x18\x19\x1a\x25\x26\x27\x28\
            \x29\x2a\x34\x35\x36\x37\x38\x39\x3a\x43\x44\x45\x46\x47\x48\x49\x4a\x53\x54\x55\x56\x57\x58\x59\
            \x5a\x63\x64\x65\x66\x67\x68\x69\x6a\x73\x74\x75\x76\x77\x78\x79\x7a\x83\x84\x85\x86\x87\x88\x89\
            \x8a\x92\x93\x94\x95\x96\x97\x98\x99\x9a\xa2\xa3\xa4\xa5\xa6\xa7\xa8\xa9\xaa\xb2\xb3\xb4\xb5\xb6\
            \xb7\xb8\xb9\xba\xc2\xc3\xc4\xc5\xc6\xc7\xc8\xc9\xca\xd2\xd3\xd4\xd5\xd6\xd7\xd8\xd9\xda\xe1\xe2\
            \xe3\xe4\xe5\xe6\xe7\xe8\xe9\xea\xf1\xf2\xf3\xf4\xf5\xf6\xf7\xf8\xf9\xfa",
    },
    HuffmanSpec {
        id: 0x01,
        counts: [0, 3, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0],
        symbols: DC_SYMBOLS,
    },
    HuffmanSpec {
        id: 0x11,
        counts: [0, 2, 1, 2, 4, 4, 3, 4, 7, 5, 4, 4, 0, 1, 2, 119],
        symbols: b"\x00\x01\x02\x03\x11\x04\x05\x21\x31\x06\x12\x41\x51\x07\x61\x71\x13\x22\x32\x81\x08\x14\x42\x91\
            \xa1\xb1\xc1\x09\x23\x33\x52\xf0\x15\x62\x72\xd1\x0a\x16\x24\x34\xe1\x25\xf1\x17\x18\x19\x1a\x26\
            \x27\x28\x29\x2a\x35\x36\x37\x38\x39\x3a\x43\x44\x45\x46\x47\x48\x49\x4a\x53\x54\x55\x56\x57\x58\
            \x59\x5a\x63\x64\x65\x66\x67\x68\x69\x6a\x73\x74\x75\x76\x77\x78\x79\x7a\x82\x83\x84\x85\x86\x87\
            \x88\x89\x8a\x92\x93\x94\x95\x96\x97\x98\x99\x9a\xa2\xa3\xa4\xa5\xa6\xa7\xa8\xa9\xaa\xb2\xb3\xb4\
            \xb5\xb6\xb7\xb8\xb9\xba\xc2\xc3\xc4\xc5\xc6\xc7\xc8\xc9\xca\xd2\xd3\xd4\xd5\xd6\xd7\xd8\xd9\xda\
            \xe2\xe3\xe4\xe5\xe6\xe7\xe8\xe9\xea\xf2\xf3\xf4\xf5\xf6\xf7\xf8\xf9\xfa",
    },
];

/// Encodes RGB pixels `[height, width, 3]` with a quality of 1 to 100, as libjpeg defines it.
pub(super) fn encode(width: u16, height: u16, pixels: &[[u8; 3]], quality: u16) -> Vec<u8> {
    let quantization = [LUMINANCE, CHROMINANCE].map(|table| scaled(table, quality));
    let mut out = headers(width, height, &quantization);
    let codes = HUFFMAN.each_ref().map(HuffmanSpec::codes);
    let basis = dct_basis();
    let mut bits = BitWriter::default();
    let mut previous = [0; 3];
    let (columns, rows) = (usize::from(width), usize::from(height));
    for top in (0..rows).step_by(8) {
        for left in (0..columns).step_by(8) {
            let block = ycbcr_block(|x, y| {
                pixels[(top + y).min(rows - 1) * columns + (left + x).min(columns - 1)]
            });
            for (component, samples) in block.iter().enumerate() {
                let tables = component.min(1);
                let coefficients = quantized(&dct(samples, &basis), &quantization[tables]);
                let difference = coefficients[0] - previous[component];
                previous[component] = coefficients[0];
                bits.write_dc(difference, &codes[2 * tables]);
                bits.write_ac(&coefficients[1..], &codes[2 * tables + 1]);
            }
        }
    }
    out.extend(bits.finish());
    out.extend([0xFF, 0xD9]);
    out
}

/// Scales a quantization table as libjpeg does.
fn scaled(table: [u16; 64], quality: u16) -> [u16; 64] {
    let quality = u32::from(quality.clamp(1, 100));
    let percent = if quality < 50 {
        5000 / quality
    } else {
        200 - 2 * quality
    };
    table.map(|value| ((u32::from(value) * percent + 50) / 100).clamp(1, 255) as u16)
}

/// Returns the marker segments before the entropy-coded data (B.2).
fn headers(width: u16, height: u16, quantization: &[[u16; 64]; 2]) -> Vec<u8> {
    let mut out = vec![0xFF, 0xD8];
    let mut segment = |marker: u8, parts: &[&[u8]]| {
        let length = 2 + parts.iter().map(|part| part.len()).sum::<usize>();
        out.extend([0xFF, marker]);
        out.extend((length as u16).to_be_bytes());
        out.extend(parts.concat());
    };
    segment(0xE0, &[b"JFIF\0\x01\x01\0\0\x01\0\x01\0\0"]);
    for (id, table) in quantization.iter().enumerate() {
        let values = ZIGZAG.map(|position| table[position] as u8);
        segment(0xDB, &[&[id as u8], &values]);
    }
    let components = [1, 0x11, 0, 2, 0x11, 1, 3, 0x11, 1];
    let (height, width) = (height.to_be_bytes(), width.to_be_bytes());
    segment(0xC0, &[&[8], &height, &width, &[3], &components]);
    for table in &HUFFMAN {
        segment(0xC4, &[&[table.id], &table.counts, table.symbols]);
    }
    segment(0xDA, &[&[3, 1, 0x00, 2, 0x11, 3, 0x11, 0, 63, 0]]);
    out
}

/// Converts the colors of a block to JFIF's YCbCr, centered at 0.
fn ycbcr_block(color: impl Fn(usize, usize) -> [u8; 3]) -> [Block; 3] {
    let colors: [[f32; 3]; 64] = std::array::from_fn(|i| color(i % 8, i / 8).map(f32::from));
    [
        colors.map(|[r, g, b]| 0.299 * r + 0.587 * g + 0.114 * b - 128.0),
        colors.map(|[r, g, b]| -0.168_736 * r - 0.331_264 * g + 0.5 * b),
        colors.map(|[r, g, b]| 0.5 * r - 0.418_688 * g - 0.081_312 * b),
    ]
}

/// Returns the basis of the transform: the factor of sample x in coefficient u at `8 * u + x`.
fn dct_basis() -> Block {
    std::array::from_fn(|index| {
        let (u, x) = ((index / 8) as f32, (index % 8) as f32);
        let scale = if index < 8 { 0.125f32.sqrt() } else { 0.5 };
        scale * ((2.0 * x + 1.0) * u * PI / 16.0).cos()
    })
}

/// Forward discrete cosine transform (A.3.3): over the rows, then over the columns.
fn dct(samples: &Block, basis: &Block) -> Block {
    let dot = |a: &dyn Fn(usize) -> f32, u: usize| (0..8).map(|x| a(x) * basis[8 * u + x]).sum();
    let rows: Block = std::array::from_fn(|i| dot(&|x| samples[i / 8 * 8 + x], i % 8));
    std::array::from_fn(|i| dot(&|y| rows[8 * y + i % 8], i / 8))
}

/// Divides the coefficients by the quantization table and returns them in zig-zag order.
fn quantized(coefficients: &Block, table: &[u16; 64]) -> [i32; 64] {
    ZIGZAG.map(|position| (coefficients[position] / f32::from(table[position])).round() as i32)
}

impl HuffmanSpec {
    /// Returns the code and the number of its bits for each symbol (Annex C).
    fn codes(&self) -> [(u32, u32); 256] {
        let mut codes = [(0, 0); 256];
        let mut symbols = self.symbols.iter();
        let mut code = 0;
        for (length, count) in (1..).zip(self.counts) {
            for symbol in symbols.by_ref().take(usize::from(count)) {
                codes[usize::from(*symbol)] = (code, length);
                code += 1;
            }
            code <<= 1;
        }
        codes
    }
}

/// Entropy-coded data (F.1.2).
#[derive(Default)]
struct BitWriter {
    bytes: Vec<u8>,
    pending: u64,
    pending_bits: u32,
}

impl BitWriter {
    fn write(&mut self, value: u32, bits: u32) {
        self.pending = self.pending << bits | u64::from(value);
        self.pending_bits += bits;
        while self.pending_bits >= 8 {
            self.pending_bits -= 8;
            let byte = (self.pending >> self.pending_bits) as u8;
            self.bytes.push(byte);
            // A zero byte follows, so that the byte is not read as a marker.
            if byte == 0xFF {
                self.bytes.push(0);
            }
        }
    }

    /// Writes the symbol of `zeros` and the size of `value`, then the bits of `value`: negative
    /// values less 1.
    fn write_value(&mut self, zeros: usize, value: i32, codes: &[(u32, u32); 256]) {
        let size = 32 - value.unsigned_abs().leading_zeros();
        let (code, length) = codes[zeros << 4 | size as usize];
        self.write(code, length);
        let bits = value - i32::from(value < 0);
        self.write(bits as u32 & ((1 << size) - 1), size);
    }

    fn write_dc(&mut self, difference: i32, codes: &[(u32, u32); 256]) {
        self.write_value(0, difference, codes);
    }

    fn write_ac(&mut self, coefficients: &[i32], codes: &[(u32, u32); 256]) {
        let mut zeros = 0;
        for value in coefficients {
            if *value == 0 {
                zeros += 1;
                continue;
            }
            while zeros >= 16 {
                let (code, length) = codes[0xF0];
                self.write(code, length);
                zeros -= 16;
            }
            self.write_value(zeros, *value, codes);
            zeros = 0;
        }
        if zeros > 0 {
            let (code, length) = codes[0];
            self.write(code, length);
        }
    }

    /// Returns the data, with its last byte filled up with ones.
    fn finish(mut self) -> Vec<u8> {
        let padding = 7;
        self.write((1 << padding) - 1, padding);
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use clipn_image::{DecodeOptions, decode_bytes};

    use super::*;

    /// Largest and mean difference of a decoded image from its original, in levels.
    fn differences(
        (width, height): (u16, u16),
        quality: u16,
        color: impl Fn(u16, u16) -> [u8; 3],
    ) -> (u8, f64) {
        let pixels: Vec<_> = (0..height)
            .flat_map(|y| (0..width).map(move |x| (x, y)))
            .map(|(x, y)| color(x, y))
            .collect();
        let bytes = encode(width, height, &pixels, quality);
        let image = decode_bytes(&bytes, &DecodeOptions::faithful()).unwrap();
        assert_eq!(
            (image.width(), image.height()),
            (width.into(), height.into())
        );
        let pairs = image.pixels().iter().zip(pixels.as_flattened());
        let differences: Vec<u8> = pairs.map(|(a, b)| a.abs_diff(*b)).collect();
        let sum: f64 = differences.iter().copied().map(f64::from).sum();
        let largest = differences.iter().copied().max().unwrap();
        (largest, sum / differences.len() as f64)
    }

    fn ramp(x: u16, y: u16) -> [u8; 3] {
        [(x * 3) as u8, (y * 4) as u8, (200 - x - y) as u8]
    }

    #[test]
    fn decoded_pixels_are_close_at_any_size() {
        for size in [(1, 1), (8, 8), (7, 9), (64, 33), (65, 40)] {
            let (largest, mean) = differences(size, 95, ramp);
            assert!(largest <= 8 && mean < 1.5, "{size:?}: {largest}, {mean}");
        }
    }

    #[test]
    fn quality_one_hundred_loses_only_rounding() {
        let noise = |x: u16, y: u16| {
            let value = u32::from(x) * 7919 + u32::from(y) * 104_729;
            let value = value.wrapping_mul(2_654_435_761);
            [(value >> 24) as u8, (value >> 16) as u8, (value >> 8) as u8]
        };
        let (largest, mean) = differences((50, 30), 100, noise);
        assert!(largest <= 5 && mean < 1.2, "{largest}, {mean}");
    }

    #[test]
    fn the_extreme_coefficients_have_codes() {
        // Blocks of black and white alternate: the largest DC differences. Lines of a pixel: the
        // largest AC coefficients.
        let blocks = |x: u16, y: u16| [(x / 8 + y / 8) as u8 % 2 * 255; 3];
        let lines = |x: u16, _| [x as u8 % 2 * 255; 3];
        assert!(differences((32, 32), 100, blocks).0 <= 2);
        assert!(differences((32, 32), 100, lines).0 <= 2);
        let colors = |x: u16, y: u16| match (x / 8 + y / 8) % 2 {
            0 => [255, 0, 0],
            _ => [0, 255, 255],
        };
        assert!(differences((32, 32), 100, colors).0 <= 3);
    }

    #[test]
    fn a_lower_quality_takes_fewer_bytes() {
        let pixels: Vec<_> = (0..64 * 64).map(|i| ramp(i % 64, i / 64)).collect();
        let sizes = [20, 50, 82, 95, 100].map(|quality| encode(64, 64, &pixels, quality).len());
        assert!(sizes.is_sorted() && sizes[0] < sizes[4], "{sizes:?}");
    }

    #[test]
    fn tables_are_scaled_as_in_libjpeg() {
        assert_eq!(scaled(LUMINANCE, 50), LUMINANCE);
        assert_eq!(scaled(LUMINANCE, 82)[..4], [6, 4, 4, 6]);
        assert_eq!(scaled(LUMINANCE, 10)[..4], [80, 55, 50, 80]);
        assert_eq!(scaled(CHROMINANCE, 100), [1; 64]);
    }
}
