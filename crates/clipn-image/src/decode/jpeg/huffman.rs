//! Huffman codes, and the bits they are read from.
use super::headers::next_marker;
use super::{NAME, damaged};
use crate::error::ImageError;

/// Codes of up to this many bits are found with one look.
const LOOK_BITS: u32 = 9;

/// A Huffman table.
pub(super) struct Table {
    /// By the next bits: length and symbol of the code that they start with, 0 where it is longer.
    lookup: [u16; 1 << LOOK_BITS],
    /// By the next bits: value, run and length of a coefficient that fits into them whole, 0 where none does.
    coefficients: [i16; 1 << LOOK_BITS],
    /// The largest code of each length, and -1 where there is none.
    largest: [i32; 17],
    /// What to add to a code of each length to get the index of its symbol.
    offset: [i32; 17],
    symbols: Vec<u8>,
}

impl Table {
    /// Builds the canonical table with `counts[i]` codes of `i + 1` bits.
    pub(super) fn new(counts: &[u8; 16], symbols: &[u8]) -> Result<Self, ImageError> {
        let mut table = Self {
            lookup: [0; 1 << LOOK_BITS],
            coefficients: [0; 1 << LOOK_BITS],
            largest: [-1; 17],
            offset: [0; 17],
            symbols: symbols.to_vec(),
        };
        let (mut code, mut index) = (0i32, 0usize);
        for length in 1..=16 {
            let count = usize::from(counts[length - 1]);
            table.offset[length] = index as i32 - code;
            for symbol in &symbols[index..index + count] {
                if code >> length != 0 {
                    return Err(damaged(NAME, "a Huffman table has more codes than fit"));
                }
                if length <= LOOK_BITS as usize {
                    let spare = LOOK_BITS as usize - length;
                    let entry = (length as u16) << 8 | u16::from(*symbol);
                    table.lookup[(code as usize) << spare..][..1 << spare].fill(entry);
                }
                code += 1;
            }
            if count > 0 {
                table.largest[length] = code - 1;
            }
            index += count;
            code <<= 1;
        }
        table.find_coefficients();
        Ok(table)
    }

    fn find_coefficients(&mut self) {
        for (bits, entry) in self.lookup.iter().enumerate() {
            let (length, symbol) = (u32::from(entry >> 8), u32::from(entry & 0xFF));
            let (run, size) = (symbol >> 4, symbol & 15);
            if *entry == 0 || size == 0 || length + size > LOOK_BITS {
                continue;
            }
            let magnitude = bits as u32 >> (LOOK_BITS - length - size) & ((1 << size) - 1);
            let value = extend(magnitude, size);
            if (-128..128).contains(&value) {
                self.coefficients[bits] = (value * 256 + (run * 16 + length + size) as i32) as i16;
            }
        }
    }
}

/// A coefficient of `size` bits: those that start with 0 are negative.
#[inline(always)]
fn extend(magnitude: u32, size: u32) -> i32 {
    let (magnitude, half) = (magnitude as i32, 1i32 << (size - 1));
    if magnitude < half {
        magnitude - 2 * half + 1
    } else {
        magnitude
    }
}

/// The entropy-coded bits between two markers.
pub(super) struct Bits<'a> {
    bytes: &'a [u8],
    position: usize,
    /// The next bits, from the top; zeros below.
    buffer: u64,
    count: u32,
    /// More bits were asked for than there are. What was read since is made of zeros.
    pub starved: bool,
}

impl<'a> Bits<'a> {
    pub(super) fn new(bytes: &'a [u8], position: usize) -> Self {
        Self {
            bytes,
            position,
            buffer: 0,
            count: 0,
            starved: false,
        }
    }

    /// Where the bytes stand that have not been taken: at a marker once the bits have run out.
    pub(super) fn position(&self) -> usize {
        self.position
    }

    /// Goes on at `position` with no bits left over.
    pub(super) fn restart(&mut self, position: usize) {
        *self = Self {
            starved: self.starved,
            ..Self::new(self.bytes, position)
        };
    }

    /// The first marker at or after `position`, and the position after it.
    pub(super) fn marker_from(&self, position: usize) -> Option<(u8, usize)> {
        next_marker(self.bytes, position)
    }

    /// At least 32 bits, or all that there are before the next marker.
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
            // No byte of it is 0xFF.
            if (!word).wrapping_sub(0x0101_0101) & word & 0x8080_8080 == 0 {
                self.buffer |= u64::from(word) << (32 - self.count);
                self.count += 32;
                self.position += 4;
                return;
            }
        }
        self.refill_slowly();
    }

    #[inline(never)]
    fn refill_slowly(&mut self) {
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

    /// The next `count` (1 to 32) bits, which stay.
    #[inline(always)]
    fn peek(&self, count: u32) -> u32 {
        (self.buffer >> (64 - count)) as u32
    }

    #[inline(always)]
    fn take(&mut self, count: u32) {
        self.buffer <<= count;
        if count > self.count {
            self.starved = true;
            self.count = count;
        }
        self.count -= count;
    }

    /// The next `count` (0 to 16) bits.
    #[inline(always)]
    pub(super) fn bits(&mut self, count: u32) -> u32 {
        if count == 0 {
            return 0;
        }
        self.refill();
        let bits = self.peek(count);
        self.take(count);
        bits
    }

    /// The next symbol; 0 for a code that the table does not have.
    #[inline(always)]
    pub(super) fn symbol(&mut self, table: &Table) -> u8 {
        self.refill();
        self.symbol_at_hand(table)
    }

    #[inline(always)]
    fn symbol_at_hand(&mut self, table: &Table) -> u8 {
        let entry = table.lookup[self.peek(LOOK_BITS) as usize];
        if entry != 0 {
            self.take(u32::from(entry >> 8));
            return entry as u8;
        }
        self.long_symbol(table)
    }

    #[inline(never)]
    fn long_symbol(&mut self, table: &Table) -> u8 {
        for length in LOOK_BITS + 1..=16 {
            let code = self.peek(length) as i32;
            if code <= table.largest[length as usize] {
                self.take(length);
                let index = (code + table.offset[length as usize]) as usize;
                return table.symbols.get(index).copied().unwrap_or(0);
            }
        }
        self.take(17);
        0
    }

    /// A value of `size` (1 to 15) bits after its symbol, for which no refill is needed.
    #[inline(always)]
    fn value_at_hand(&mut self, size: u32) -> i32 {
        let magnitude = self.peek(size);
        self.take(size);
        extend(magnitude, size)
    }

    /// A difference of two DC coefficients.
    #[inline(always)]
    pub(super) fn difference(&mut self, table: &Table) -> i32 {
        match u32::from(self.symbol(table) & 15) {
            0 => 0,
            size => self.value_at_hand(size),
        }
    }

    /// The next AC coefficient: the zeros before it, and its value, 0 where the symbol is one of those without.
    #[inline(always)]
    pub(super) fn coefficient(&mut self, table: &Table) -> (usize, i32) {
        self.refill();
        let whole = table.coefficients[self.peek(LOOK_BITS) as usize];
        if whole != 0 {
            self.take((whole & 15) as u32);
            return ((whole >> 4 & 15) as usize, i32::from(whole >> 8));
        }
        let symbol = self.symbol_at_hand(table);
        let (run, size) = (usize::from(symbol >> 4), u32::from(symbol & 15));
        (
            run,
            if size == 0 {
                0
            } else {
                self.value_at_hand(size)
            },
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        // 0 -> 3, 10 -> 0x11, 110 -> 0, and 1110... of 12 bits -> 0x25.
        let mut counts = [0; 16];
        (counts[0], counts[1], counts[2], counts[11]) = (1, 1, 1, 1);
        Table::new(&counts, &[3, 0x11, 0, 0x25]).unwrap()
    }

    #[test]
    fn short_and_long_codes_are_found() {
        let mut bits = Bits::new(&[0b0101_1011, 0b1000_0000, 0b0000_0000], 0);
        let table = table();
        let symbols: Vec<u8> = (0..4).map(|_| bits.symbol(&table)).collect();
        assert_eq!(symbols, [3, 0x11, 0, 0x25]);
        let mut bits = Bits::new(&[0b1110_0000, 0b0000_1000], 0);
        assert_eq!(bits.symbol(&table), 0x25);
        assert_eq!(bits.bits(1), 1);
    }

    #[test]
    fn codes_that_the_table_lacks_are_zero() {
        let mut bits = Bits::new(&[0b1111_0000, 0, 0b0101_0000], 0);
        let table = table();
        assert_eq!(bits.symbol(&table), 0);
        assert_eq!(bits.symbol(&table), 0x11);
    }

    #[test]
    fn coefficients_have_signs() {
        let mut bits = Bits::new(&[0b1011_0011, 0b1110_0000, 0b0000_1001], 0);
        let table = table();
        assert_eq!(bits.coefficient(&table), (1, 1));
        assert_eq!(bits.coefficient(&table), (1, -1));
        assert_eq!(bits.bits(1), 1);
    }

    #[test]
    fn bits_end_at_a_marker_and_stuffing_is_dropped() {
        let mut bits = Bits::new(&[0xFF, 0x00, 0x12, 0xFF, 0xD9], 0);
        assert_eq!(bits.bits(16), 0xFF12);
        assert!(!bits.starved);
        assert_eq!((bits.bits(3), bits.starved, bits.position()), (0, true, 3));
    }

    #[test]
    fn tables_with_too_many_codes_are_refused() {
        let mut counts = [0; 16];
        counts[0] = 3;
        assert!(Table::new(&counts, &[1, 2, 3]).is_err());
    }
}
