//! Huffman decoding and the bit reader below it (T.81 Annex C and F.2.2).
use super::{NAME, corrupt};
use crate::error::ImageError;

/// Maximum length in bits of codes decoded with one table lookup.
const LOOKAHEAD_BITS: u32 = 10;

/// Run of zeros that stands for the end of a block or band: larger than any that fits into a block. That
/// of an end-of-band symbol EOBn (T.81 G.1.2.2) is larger by n.
pub(super) const END_OF_BAND: usize = 128;

/// AC coefficient whose code and additional bits are all in the next bits.
#[derive(Clone, Copy, Default)]
struct ShortCoefficient {
    value: i16,
    /// Zeros before the coefficient, or [`END_OF_BAND`].
    run: u8,
    /// Bits of code and value; 0 if they are not all in the next bits.
    length: u8,
}

/// Huffman table in the form used for decoding.
pub(super) struct HuffmanTable {
    /// Length (high byte) and symbol of the code that the next bits start with; 0 for longer codes.
    lookup: [u16; 1 << LOOKAHEAD_BITS],
    /// AC coefficient that the next bits start with.
    short_coefficients: [ShortCoefficient; 1 << LOOKAHEAD_BITS],
    /// Maximum code of each length (MAXCODE), -1 if there is none.
    max_code: [i32; 17],
    /// Difference between the index of a symbol and its code, for each length (VALPTR − MINCODE).
    value_offset: [i32; 17],
    /// Symbols in order of increasing code length (HUFFVAL).
    symbols: Vec<u8>,
}

impl HuffmanTable {
    /// Creates the table with `counts[i]` codes of `i + 1` bits (BITS and HUFFVAL, T.81 C.2).
    ///
    /// # Errors
    /// [`ImageError::Corrupt`] if there are more codes than the lengths allow.
    pub(super) fn new(counts: &[u8; 16], symbols: &[u8]) -> Result<Self, ImageError> {
        let mut table = Self {
            lookup: [0; 1 << LOOKAHEAD_BITS],
            short_coefficients: [ShortCoefficient::default(); 1 << LOOKAHEAD_BITS],
            max_code: [-1; 17],
            value_offset: [0; 17],
            symbols: symbols.to_vec(),
        };
        let (mut code, mut index) = (0i32, 0usize);
        for length in 1..=16 {
            let count = usize::from(counts[length - 1]);
            table.value_offset[length] = index as i32 - code;
            for symbol in &symbols[index..index + count] {
                if code >> length != 0 {
                    return Err(corrupt(
                        NAME,
                        "Huffman table has more codes than its code lengths allow",
                    ));
                }
                if length <= LOOKAHEAD_BITS as usize {
                    let spare = LOOKAHEAD_BITS as usize - length;
                    let entry = (length as u16) << 8 | u16::from(*symbol);
                    table.lookup[(code as usize) << spare..][..1 << spare].fill(entry);
                }
                code += 1;
            }
            if count > 0 {
                table.max_code[length] = code - 1;
            }
            index += count;
            code <<= 1;
        }
        table.build_short_coefficients();
        Ok(table)
    }

    /// Decodes the code longer than [`LOOKAHEAD_BITS`] at the top of `buffer`: the symbol and the length
    /// of its code.
    #[inline(never)]
    fn decode_long(&self, buffer: u64) -> (u8, u32) {
        for length in LOOKAHEAD_BITS + 1..=16 {
            let code = (buffer >> (64 - length)) as i32;
            if code <= self.max_code[length as usize] {
                let index = (code + self.value_offset[length as usize]) as usize;
                return (self.symbols.get(index).copied().unwrap_or(0), length);
            }
        }
        (0, 17)
    }

    /// Fills `short_coefficients`.
    fn build_short_coefficients(&mut self) {
        let entries = self.lookup.iter().zip(&mut self.short_coefficients);
        for (bits, (entry, coefficient)) in entries.enumerate() {
            let (length, symbol) = (u32::from(entry >> 8), u32::from(entry & 0xFF));
            let (run, size) = (symbol >> 4, symbol & 15);
            let total = length + size;
            let (run, value) = match (size, run) {
                _ if *entry == 0 || total > LOOKAHEAD_BITS => continue,
                (0, 0) => (END_OF_BAND as u8, 0),
                (0, 15) => (15, 0),
                // The number of an EOBn is in the bits that follow.
                (0, _) => continue,
                _ => {
                    let magnitude = bits as u32 >> (LOOKAHEAD_BITS - total) & ((1 << size) - 1);
                    (run as u8, extend(magnitude, size) as i16)
                }
            };
            *coefficient = ShortCoefficient {
                value,
                run,
                length: total as u8,
            };
        }
    }
}

/// Converts `size` additional bits to a signed value (EXTEND, T.81 F.2.2.1): those that start with
/// 0 are negative.
#[inline(always)]
fn extend(magnitude: u32, size: u32) -> i32 {
    let (magnitude, half) = (magnitude as i32, 1i32 << (size - 1));
    // Without a branch: signs cannot be predicted.
    magnitude - i32::from(magnitude < half) * (2 * half - 1)
}

/// Entropy-coded segment without its stuffed zeros.
#[derive(Default)]
pub(super) struct Segment {
    /// The data, followed by [`PADDING`] zeros.
    bytes: Vec<u8>,
    /// Where the segment starts and where the marker after it starts, in the file.
    range: (usize, usize),
}

impl Segment {
    /// Reads the segment of `file` at `position`, in place of the one before.
    pub(super) fn read(&mut self, file: &[u8], position: usize) {
        let start = position.min(file.len());
        let (mut rest, mut end) = (&file[start..], file.len());
        self.bytes.clear();
        self.bytes.reserve_exact(rest.len() + PADDING);
        while let Some(index) = memchr::memchr(0xFF, rest) {
            // A byte 0xFF is followed by a stuffed zero, or starts a marker.
            if rest.get(index + 1) != Some(&0) {
                end = file.len() - rest.len() + index;
                rest = &rest[..index];
                break;
            }
            self.bytes.extend_from_slice(&rest[..=index]);
            rest = &rest[index + 2..];
        }
        self.bytes.extend_from_slice(rest);
        self.bytes.extend_from_slice(&[0; PADDING]);
        self.range = (start, end);
    }

    /// Returns the position in the file of the marker after the segment.
    pub(super) fn end(&self) -> usize {
        self.range.1
    }

    /// Returns the position in the file after the last byte with a consumed bit, and after its
    /// stuffed zero.
    pub(super) fn consumed(&self, bits: &BitPosition) -> usize {
        let read = &self.bytes[..bits.next - bits.count as usize / 8];
        self.range.0 + read.len() + read.iter().filter(|byte| **byte == 0xFF).count()
    }
}

/// Zeros after a segment, so that a word is read at any position in it.
const PADDING: usize = 8;

/// Position of a [`BitReader`] in its segment.
#[derive(Clone, Copy, Default)]
pub(super) struct BitPosition {
    /// Index of the next byte that is added to the buffer.
    next: usize,
    /// Next bits, from the most significant bit. Below the valid bits are bits that follow, or zeros.
    buffer: u64,
    /// Number of valid bits in `buffer`, at most 63.
    count: u32,
    /// Whether more bits were read than the segment has; the missing bits are zeros.
    pub(super) insufficient_data: bool,
}

/// Bit reader of an entropy-coded segment.
///
/// Loops over symbols own their reader: no function that is called gets its address, so that its fields
/// stay in registers.
pub(super) struct BitReader<'a> {
    /// The segment with its padding.
    bytes: &'a [u8],
    bits: BitPosition,
}

impl<'a> BitReader<'a> {
    /// Creates a reader that continues in `segment` where another one stopped.
    #[inline(always)]
    pub(super) fn new(segment: &'a Segment, bits: BitPosition) -> Self {
        Self {
            bytes: &segment.bytes,
            bits,
        }
    }

    /// Returns where the reader is.
    #[inline(always)]
    pub(super) fn stop(self) -> BitPosition {
        self.bits
    }

    /// Fills the buffer to at least 56 bits, or with all bits of the segment.
    ///
    /// Whether the buffer has bits enough is hard to predict, so whole bytes are added without a branch.
    #[inline(always)]
    fn refill(&mut self) {
        let (bits, bytes) = (&mut self.bits, self.bytes);
        let word = bytes.get(bits.next..).and_then(<[u8]>::first_chunk::<8>);
        let word = word.map_or(0, |word| u64::from_be_bytes(*word));
        // The last bits that fit belong to a byte that is counted by a later refill, which sets them again.
        bits.buffer |= word >> bits.count;
        let left = bytes.len().saturating_sub(PADDING + bits.next);
        let added = ((63 - bits.count as usize) / 8).min(left);
        bits.count += added as u32 * 8;
        bits.next += added;
    }

    /// Returns the next `count` (1 to 32) bits without consuming them.
    #[inline(always)]
    fn peek(&self, count: u32) -> u32 {
        (self.bits.buffer >> (64 - count)) as u32
    }

    /// Consumes `count` bits.
    #[inline(always)]
    fn consume(&mut self, count: u32) {
        let bits = &mut self.bits;
        bits.buffer <<= count;
        if count > bits.count {
            bits.insufficient_data = true;
            bits.count = count;
        }
        bits.count -= count;
    }

    /// Reads the next `count` (0 to 16) bits (RECEIVE, T.81 F.2.2.4).
    #[inline(always)]
    pub(super) fn receive(&mut self, count: u32) -> u32 {
        if count == 0 {
            return 0;
        }
        if self.bits.count < count {
            self.refill();
        }
        let bits = self.peek(count);
        self.consume(count);
        bits
    }

    /// Decodes the next symbol (DECODE, T.81 F.2.2.3); 0 for a code that is not in the table.
    #[inline(always)]
    pub(super) fn decode(&mut self, table: &HuffmanTable) -> u8 {
        self.refill();
        self.decode_buffered(table)
    }

    /// Decodes the next symbol without a refill.
    #[inline(always)]
    fn decode_buffered(&mut self, table: &HuffmanTable) -> u8 {
        let entry = table.lookup[self.peek(LOOKAHEAD_BITS) as usize];
        if entry != 0 {
            self.consume(u32::from(entry >> 8));
            return entry as u8;
        }
        let (symbol, length) = table.decode_long(self.bits.buffer);
        self.consume(length);
        symbol
    }

    /// Reads the `size` (1 to 15) additional bits after a symbol and extends their sign; no refill
    /// is needed.
    #[inline(always)]
    fn receive_extend_buffered(&mut self, size: u32) -> i32 {
        let magnitude = self.peek(size);
        self.consume(size);
        extend(magnitude, size)
    }

    /// Decodes the difference of a DC coefficient to its prediction (DIFF, T.81 F.2.2.1).
    #[inline(always)]
    pub(super) fn dc_difference(&mut self, table: &HuffmanTable) -> i32 {
        match u32::from(self.decode(table) & 15) {
            0 => 0,
            size => self.receive_extend_buffered(size),
        }
    }

    /// Decodes the next AC coefficient (T.81 F.2.2.2): the run of zeros before it and its value. The run
    /// is at least [`END_OF_BAND`] for symbols that end a block or band (EOB, EOBn); the value is 0 for
    /// those and after a run without a coefficient (ZRL).
    #[inline(always)]
    pub(super) fn ac_coefficient(&mut self, table: &HuffmanTable) -> (usize, i16) {
        self.refill();
        let short = table.short_coefficients[self.peek(LOOKAHEAD_BITS) as usize];
        if short.length != 0 {
            self.consume(short.length.into());
            return (short.run.into(), short.value);
        }
        let symbol = self.decode_buffered(table);
        let (run, size) = (usize::from(symbol >> 4), u32::from(symbol & 15));
        match (size, run) {
            (0, 15) => (run, 0),
            (0, _) => (END_OF_BAND + run, 0),
            _ => (run, self.receive_extend_buffered(size) as i16),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn segment(bytes: &[u8]) -> Segment {
        let mut segment = Segment::default();
        segment.read(bytes, 0);
        segment
    }

    fn table() -> HuffmanTable {
        // 0 -> 3, 10 -> 0x11, 110 -> 0, and a code 1110... of 12 bits -> 0x25.
        let mut counts = [0; 16];
        (counts[0], counts[1], counts[2], counts[11]) = (1, 1, 1, 1);
        HuffmanTable::new(&counts, &[3, 0x11, 0, 0x25]).unwrap()
    }

    #[test]
    fn decodes_short_and_long_codes() {
        let data = segment(&[0b0101_1011, 0b1000_0000, 0b0000_0000]);
        let mut bits = BitReader::new(&data, BitPosition::default());
        let table = table();
        let symbols: Vec<u8> = (0..4).map(|_| bits.decode(&table)).collect();
        assert_eq!(symbols, [3, 0x11, 0, 0x25]);
        let data = segment(&[0b1110_0000, 0b0000_1000]);
        let mut bits = BitReader::new(&data, BitPosition::default());
        assert_eq!(bits.decode(&table), 0x25);
        assert_eq!(bits.receive(1), 1);
    }

    #[test]
    fn unknown_codes_decode_to_zero() {
        let data = segment(&[0b1111_0000, 0, 0b0101_0000]);
        let mut bits = BitReader::new(&data, BitPosition::default());
        let table = table();
        assert_eq!(bits.decode(&table), 0);
        assert_eq!(bits.decode(&table), 0x11);
    }

    #[test]
    fn decodes_signed_ac_coefficients() {
        let segment = segment(&[0b1011_0011, 0b1110_0000, 0b0000_1001]);
        let mut bits = BitReader::new(&segment, BitPosition::default());
        let table = table();
        assert_eq!(bits.ac_coefficient(&table), (1, 1));
        assert_eq!(bits.ac_coefficient(&table), (1, -1));
        assert_eq!(bits.receive(1), 1);
    }

    #[test]
    fn end_of_band_symbols_keep_their_length() {
        // 0 -> EOB0, 10 -> EOB2, 110 -> ZRL.
        let mut counts = [0; 16];
        (counts[0], counts[1], counts[2]) = (1, 1, 1);
        let table = HuffmanTable::new(&counts, &[0x00, 0x20, 0xF0]).unwrap();
        let segment = segment(&[0b0101_1000]);
        let mut bits = BitReader::new(&segment, BitPosition::default());
        assert_eq!(bits.ac_coefficient(&table), (END_OF_BAND, 0));
        assert_eq!(bits.ac_coefficient(&table), (END_OF_BAND + 2, 0));
        assert_eq!(bits.ac_coefficient(&table), (15, 0));
    }

    #[test]
    fn bits_end_at_a_marker_and_stuffed_zeros_are_removed() {
        let segment = segment(&[0xFF, 0x00, 0x12, 0xFF, 0xD9]);
        let mut bits = BitReader::new(&segment, BitPosition::default());
        assert_eq!(segment.end(), 3);
        assert_eq!(bits.receive(8), 0xFF);
        let mut bits = BitReader::new(&segment, bits.stop());
        assert_eq!(segment.consumed(&bits.bits), 2);
        assert_eq!(bits.receive(8), 0x12);
        assert!(!bits.bits.insufficient_data);
        assert_eq!((bits.receive(3), bits.bits.insufficient_data), (0, true));
        assert_eq!(segment.consumed(&bits.stop()), 3);
    }

    #[test]
    fn bits_are_those_of_the_bytes() {
        let bytes: Vec<u8> = (0..40u8).map(|i| i.wrapping_mul(77)).collect();
        let segment = segment(&bytes);
        let mut bits = BitReader::new(&segment, BitPosition::default());
        let mut expected = bytes
            .iter()
            .flat_map(|byte| (0..8).rev().map(move |bit| byte >> bit & 1));
        for count in (0..=16).cycle().take(37) {
            let value = (0..count).fold(0, |value, _| {
                value << 1 | u32::from(expected.next().unwrap())
            });
            assert_eq!(bits.receive(count), value, "{count} bits");
        }
        assert!(!bits.stop().insufficient_data);
    }

    #[test]
    fn a_segment_replaces_the_one_before() {
        let file = [1, 2, 0xFF, 0xD0, 3, 0xFF, 0x00, 0xFF];
        let mut segment = Segment::default();
        segment.read(&file, 0);
        assert_eq!((&segment.bytes[..2], segment.end()), (&[1, 2][..], 2));
        segment.read(&file, 4);
        assert_eq!((&segment.bytes[..2], segment.end()), (&[3, 0xFF][..], 7));
        segment.read(&file, 9);
        assert_eq!((segment.bytes.len(), segment.end()), (PADDING, 8));
    }

    #[test]
    fn rejects_tables_with_too_many_codes() {
        let mut counts = [0; 16];
        counts[0] = 3;
        assert!(HuffmanTable::new(&counts, &[1, 2, 3]).is_err());
    }
}
