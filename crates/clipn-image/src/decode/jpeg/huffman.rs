//! Huffman decoding and the bit reader below it (T.81 Annex C and F.2.2).
use super::{NAME, corrupt};
use crate::error::ImageError;

/// Maximum length in bits of codes decoded with one table lookup.
const LOOKAHEAD_BITS: u32 = 9;

/// Huffman table in the form used for decoding.
pub(super) struct HuffmanTable {
    /// Length (high byte) and symbol of the code that the next bits start with; 0 for longer codes.
    lookup: [u16; 1 << LOOKAHEAD_BITS],
    /// Value (high byte), run and total length of an AC coefficient whose code and additional bits
    /// are all in the next bits; 0 if they are not.
    fast_ac: [i16; 1 << LOOKAHEAD_BITS],
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
            fast_ac: [0; 1 << LOOKAHEAD_BITS],
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
        table.build_fast_ac();
        Ok(table)
    }

    /// Fills `fast_ac` for the coefficients from -128 to 127.
    fn build_fast_ac(&mut self) {
        for (bits, entry) in self.lookup.iter().enumerate() {
            let (length, symbol) = (u32::from(entry >> 8), u32::from(entry & 0xFF));
            let (run, size) = (symbol >> 4, symbol & 15);
            if *entry == 0 || size == 0 || length + size > LOOKAHEAD_BITS {
                continue;
            }
            let magnitude = bits as u32 >> (LOOKAHEAD_BITS - length - size) & ((1 << size) - 1);
            let value = extend(magnitude, size);
            if (-128..128).contains(&value) {
                self.fast_ac[bits] = (value * 256 + (run * 16 + length + size) as i32) as i16;
            }
        }
    }
}

/// Converts `size` additional bits to a signed value (EXTEND, T.81 F.2.2.1): those that start with
/// 0 are negative.
#[inline(always)]
fn extend(magnitude: u32, size: u32) -> i32 {
    let (magnitude, half) = (magnitude as i32, 1i32 << (size - 1));
    if magnitude < half {
        magnitude - 2 * half + 1
    } else {
        magnitude
    }
}

/// Bit reader of an entropy-coded segment.
pub(super) struct BitReader<'a> {
    bytes: &'a [u8],
    position: usize,
    /// Next bits, from the most significant bit; zeros below.
    buffer: u64,
    /// Number of valid bits in `buffer`.
    count: u32,
    /// Whether more bits were read than the segment has; the missing bits are zeros.
    pub(super) insufficient_data: bool,
}

impl<'a> BitReader<'a> {
    /// Creates a reader of the entropy-coded segment at `position`.
    pub(super) fn new(bytes: &'a [u8], position: usize) -> Self {
        Self {
            bytes,
            position,
            buffer: 0,
            count: 0,
            insufficient_data: false,
        }
    }

    /// Returns the position of the next byte to read: that of a marker once the segment is
    /// exhausted.
    pub(super) fn position(&self) -> usize {
        self.position
    }

    /// Returns the position after the last byte with a consumed bit; up to a few bytes more if
    /// stuffed zeros are buffered.
    pub(super) fn consumed(&self) -> usize {
        self.position.saturating_sub(self.count as usize / 8)
    }

    /// Discards buffered bits and continues at `position`.
    pub(super) fn restart(&mut self, position: usize) {
        *self = Self {
            insufficient_data: self.insufficient_data,
            ..Self::new(self.bytes, position)
        };
    }

    /// Fills the buffer to at least 32 bits, or with all bits before the next marker.
    #[inline(always)]
    fn refill(&mut self) {
        if self.count >= 32 {
            return;
        }
        if let Some(word) = self
            .bytes
            .get(self.position..)
            .and_then(<[u8]>::first_chunk::<4>)
        {
            let word = u32::from_be_bytes(*word);
            // No byte of the word is 0xFF.
            if (!word).wrapping_sub(0x0101_0101) & word & 0x8080_8080 == 0 {
                self.buffer |= u64::from(word) << (32 - self.count);
                self.count += 32;
                self.position += 4;
                return;
            }
        }
        self.refill_bytewise();
    }

    /// Fills the buffer byte by byte and removes stuffed zeros.
    #[inline(never)]
    fn refill_bytewise(&mut self) {
        while self.count <= 48 {
            let Some(byte) = self.bytes.get(self.position) else {
                return;
            };
            if *byte == 0xFF {
                if self.bytes.get(self.position + 1) != Some(&0) {
                    return;
                }
                self.position += 1;
            }
            self.position += 1;
            self.buffer |= u64::from(*byte) << (56 - self.count);
            self.count += 8;
        }
    }

    /// Returns the next `count` (1 to 32) bits without consuming them.
    #[inline(always)]
    fn peek(&self, count: u32) -> u32 {
        (self.buffer >> (64 - count)) as u32
    }

    /// Consumes `count` bits.
    #[inline(always)]
    fn consume(&mut self, count: u32) {
        self.buffer <<= count;
        if count > self.count {
            self.insufficient_data = true;
            self.count = count;
        }
        self.count -= count;
    }

    /// Reads the next `count` (0 to 16) bits (RECEIVE, T.81 F.2.2.4).
    #[inline(always)]
    pub(super) fn receive(&mut self, count: u32) -> u32 {
        if count == 0 {
            return 0;
        }
        self.refill();
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
        self.decode_long(table)
    }

    /// Decodes a code longer than [`LOOKAHEAD_BITS`].
    #[inline(never)]
    fn decode_long(&mut self, table: &HuffmanTable) -> u8 {
        for length in LOOKAHEAD_BITS + 1..=16 {
            let code = self.peek(length) as i32;
            if code <= table.max_code[length as usize] {
                self.consume(length);
                let index = (code + table.value_offset[length as usize]) as usize;
                return table.symbols.get(index).copied().unwrap_or(0);
            }
        }
        self.consume(17);
        0
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

    /// Decodes the next AC coefficient (T.81 F.2.2.2): the run of zeros before it and its value, 0
    /// for symbols without a coefficient (EOB, ZRL).
    #[inline(always)]
    pub(super) fn ac_coefficient(&mut self, table: &HuffmanTable) -> (usize, i32) {
        self.refill();
        let fast = table.fast_ac[self.peek(LOOKAHEAD_BITS) as usize];
        if fast != 0 {
            self.consume((fast & 15) as u32);
            return ((fast >> 4 & 15) as usize, i32::from(fast >> 8));
        }
        let symbol = self.decode_buffered(table);
        let (run, size) = (usize::from(symbol >> 4), u32::from(symbol & 15));
        (
            run,
            if size == 0 {
                0
            } else {
                self.receive_extend_buffered(size)
            },
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> HuffmanTable {
        // 0 -> 3, 10 -> 0x11, 110 -> 0, and a code 1110... of 12 bits -> 0x25.
        let mut counts = [0; 16];
        (counts[0], counts[1], counts[2], counts[11]) = (1, 1, 1, 1);
        HuffmanTable::new(&counts, &[3, 0x11, 0, 0x25]).unwrap()
    }

    #[test]
    fn decodes_short_and_long_codes() {
        let mut bits = BitReader::new(&[0b0101_1011, 0b1000_0000, 0b0000_0000], 0);
        let table = table();
        let symbols: Vec<u8> = (0..4).map(|_| bits.decode(&table)).collect();
        assert_eq!(symbols, [3, 0x11, 0, 0x25]);
        let mut bits = BitReader::new(&[0b1110_0000, 0b0000_1000], 0);
        assert_eq!(bits.decode(&table), 0x25);
        assert_eq!(bits.receive(1), 1);
    }

    #[test]
    fn unknown_codes_decode_to_zero() {
        let mut bits = BitReader::new(&[0b1111_0000, 0, 0b0101_0000], 0);
        let table = table();
        assert_eq!(bits.decode(&table), 0);
        assert_eq!(bits.decode(&table), 0x11);
    }

    #[test]
    fn decodes_signed_ac_coefficients() {
        let mut bits = BitReader::new(&[0b1011_0011, 0b1110_0000, 0b0000_1001], 0);
        let table = table();
        assert_eq!(bits.ac_coefficient(&table), (1, 1));
        assert_eq!(bits.ac_coefficient(&table), (1, -1));
        assert_eq!(bits.receive(1), 1);
    }

    #[test]
    fn bits_end_at_a_marker_and_stuffed_zeros_are_removed() {
        let mut bits = BitReader::new(&[0xFF, 0x00, 0x12, 0xFF, 0xD9], 0);
        assert_eq!(bits.receive(16), 0xFF12);
        assert!(!bits.insufficient_data);
        assert_eq!(
            (bits.receive(3), bits.insufficient_data, bits.position()),
            (0, true, 3)
        );
    }

    #[test]
    fn rejects_tables_with_too_many_codes() {
        let mut counts = [0; 16];
        counts[0] = 3;
        assert!(HuffmanTable::new(&counts, &[1, 2, 3]).is_err());
    }
}
