//! Quantization and Huffman tables (T.81 B.2.4).
use super::huffman::HuffmanTable;
use super::{NAME, corrupt};
use crate::error::ImageError;

/// Position in row order of each coefficient in zig-zag order (T.81 Figure A.6).
///
/// The table is padded with the last position, for runs beyond the end of a block.
pub(super) const ZIGZAG: [usize; 80] = {
    let mut order = [63; 80];
    let (mut index, mut row, mut column) = (0, 0usize, 0usize);
    while index < 64 {
        order[index] = row * 8 + column;
        let upwards = (row + column) % 2 == 0;
        match (upwards, row, column) {
            (true, _, 7) => row += 1,
            (true, 0, _) => column += 1,
            (true, _, _) => (row, column) = (row - 1, column + 1),
            (false, 7, _) => column += 1,
            (false, _, 0) => row += 1,
            (false, _, _) => (row, column) = (row + 1, column - 1),
        }
        index += 1;
    }
    order
};

/// Tables defined by the marker segments so far (T.81 B.2.4).
#[derive(Default)]
pub(super) struct Tables {
    /// Quantization tables by destination (Tq), in row order.
    pub(super) quantization: [Option<[u16; 64]>; 4],
    /// DC Huffman tables by destination (Th).
    pub(super) dc: [Option<HuffmanTable>; 4],
    /// AC Huffman tables by destination (Th).
    pub(super) ac: [Option<HuffmanTable>; 4],
    /// Conditioning of arithmetic coding.
    pub(super) conditioning: Conditioning,
    /// Restart interval (Ri) in MCUs; 0 for none.
    pub(super) restart_interval: usize,
}

/// Conditioning of the statistics of arithmetic coding by table destination (T.81 B.2.4.3).
pub(super) struct Conditioning {
    /// Lower and upper bound (L, U) of the small DC differences, as exponents of 2.
    pub(super) dc: [(u8, u8); 16],
    /// Last coefficient (Kx) of the low AC frequencies.
    pub(super) ac: [u8; 16],
}

impl Default for Conditioning {
    fn default() -> Self {
        Self {
            dc: [(0, 1); 16],
            ac: [5; 16],
        }
    }
}

impl Tables {
    /// Reads the quantization tables of a DQT segment (T.81 B.2.4.1).
    pub(super) fn read_quantization_tables(
        &mut self,
        mut segment: &[u8],
    ) -> Result<(), ImageError> {
        let incomplete = || corrupt(NAME, "incomplete quantization table");
        while let [precision_destination, rest @ ..] = segment {
            let (is_16_bit, destination) = (
                precision_destination >> 4 != 0,
                usize::from(precision_destination & 15),
            );
            let length = if is_16_bit { 128 } else { 64 };
            let (values, rest) = rest.split_at_checked(length).ok_or_else(incomplete)?;
            let slot = self.quantization.get_mut(destination).ok_or_else(|| {
                corrupt(
                    NAME,
                    format!("quantization table destination: expected 0 to 3, got {destination}"),
                )
            })?;
            let table = slot.insert([0; 64]);
            for (index, position) in ZIGZAG[..64].iter().enumerate() {
                table[*position] = if is_16_bit {
                    u16::from_be_bytes([values[2 * index], values[2 * index + 1]])
                } else {
                    values[index].into()
                };
            }
            segment = rest;
        }
        Ok(())
    }

    /// Reads the Huffman tables of a DHT segment (T.81 B.2.4.2).
    pub(super) fn read_huffman_tables(&mut self, mut segment: &[u8]) -> Result<(), ImageError> {
        let incomplete = || corrupt(NAME, "incomplete Huffman table");
        while let [class_destination, rest @ ..] = segment {
            let (counts, rest) = rest.split_first_chunk::<16>().ok_or_else(incomplete)?;
            let total = counts.iter().map(|count| usize::from(*count)).sum();
            let (symbols, rest) = rest.split_at_checked(total).ok_or_else(incomplete)?;
            let destination = usize::from(class_destination & 15);
            let tables = if class_destination >> 4 == 0 {
                &mut self.dc
            } else {
                &mut self.ac
            };
            let slot = tables.get_mut(destination).ok_or_else(|| {
                corrupt(
                    NAME,
                    format!("Huffman table destination: expected 0 to 3, got {destination}"),
                )
            })?;
            *slot = Some(HuffmanTable::new(counts, symbols)?);
            segment = rest;
        }
        Ok(())
    }

    /// Reads the conditioning of arithmetic coding of a DAC segment (T.81 B.2.4.3).
    pub(super) fn read_conditioning(&mut self, segment: &[u8]) -> Result<(), ImageError> {
        for [class_destination, value] in segment.as_chunks::<2>().0 {
            let destination = usize::from(class_destination & 15);
            let (lower, upper) = (value & 15, value >> 4);
            match class_destination >> 4 {
                0 if lower <= upper => self.conditioning.dc[destination] = (lower, upper),
                1 => self.conditioning.ac[destination] = *value,
                _ => {
                    let reason = format!(
                        "invalid arithmetic conditioning {class_destination:#04x}: {value:#04x}"
                    );
                    return Err(corrupt(NAME, reason));
                }
            }
        }
        Ok(())
    }
}
