//! Framing of TensorFlow's record files: length and content, each with a masked CRC-32C
//! (tensorflow/core/lib/io/record_writer.h).

/// The Castagnoli polynomial with reversed bits.
const POLYNOMIAL: u32 = 0x82f6_3b78;

static TABLE: [u32; 256] = table();

const fn table() -> [u32; 256] {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = byte as u32;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 1 == 1 {
                (crc >> 1) ^ POLYNOMIAL
            } else {
                crc >> 1
            };
            bit += 1;
        }
        table[byte] = crc;
        byte += 1;
    }
    table
}

/// Computes CRC-32C (RFC 3720, appendix B.4).
fn crc32c(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc, &byte| {
        (crc >> 8) ^ TABLE[usize::from(crc as u8 ^ byte)]
    })
}

/// Computes the checksum as the format stores it: rotated, with a constant added, so that a
/// checksum over bytes that contain a checksum is not degenerate.
fn masked(bytes: &[u8]) -> u32 {
    crc32c(bytes).rotate_right(15).wrapping_add(0xa282_ead8)
}

/// Frames a record: length (u64), its checksum (u32), the record, its checksum (u32), all
/// little-endian.
pub(super) fn frame(record: &[u8]) -> Vec<u8> {
    let length = (record.len() as u64).to_le_bytes();
    let mut framed = Vec::with_capacity(record.len() + 16);
    framed.extend_from_slice(&length);
    framed.extend_from_slice(&masked(&length).to_le_bytes());
    framed.extend_from_slice(record);
    framed.extend_from_slice(&masked(record).to_le_bytes());
    framed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_match_the_standard() {
        // Examples of RFC 3720, appendix B.4, and the check value of the CRC catalogs.
        assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa);
        assert_eq!(crc32c(&[0xff; 32]), 0x62a8_ab43);
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
        assert_eq!(crc32c(b""), 0);
    }

    #[test]
    fn a_frame_holds_the_record() {
        let framed = frame(b"abc");
        assert_eq!(framed.len(), 19);
        assert_eq!(framed[..8], 3_u64.to_le_bytes());
        assert_eq!(framed[12..15], *b"abc");
    }
}
