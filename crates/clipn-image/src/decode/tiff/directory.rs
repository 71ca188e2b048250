//! Checks of a TIFF's first image file directory (IFD) before decoding.
//!
//! The decoder allocates memory for as many values as a tag claims.

use std::ops::RangeInclusive;

use tiff::tags::Tag;

use super::NAME;
use crate::decode::corrupt;
use crate::error::ImageError;

/// Tags that describe the storage of the image, the only ones that the decoder reads.
const IMAGE_TAGS: RangeInclusive<u16> = 254..=699;

/// Maximum number of entries of a directory in a classic TIFF.
const MAX_ENTRIES: u64 = u16::MAX as u64;

/// Directory entry.
struct Entry {
    tag: u16,
    /// Offset of the value field in the file.
    value_offset: usize,
    /// Total bytes of the values; `None` on overflow.
    value_bytes: Option<u64>,
}

/// Reader of the file's numbers in its byte order.
struct Fields<'a> {
    bytes: &'a [u8],
    big_endian: bool,
}

impl Fields<'_> {
    fn number(&self, offset: usize, length: usize) -> Option<u64> {
        let field = self.bytes.get(offset..offset.checked_add(length)?)?;
        let next = |number: u64, byte: &u8| number << 8 | u64::from(*byte);
        Some(if self.big_endian {
            field.iter().fold(0, next)
        } else {
            field.iter().rev().fold(0, next)
        })
    }

    /// Returns the entries of the first directory, up to the end of the file.
    fn entries(&self) -> Option<Vec<Entry>> {
        let is_big_tiff = self.number(2, 2)? == 43;
        // Sizes in bytes: the offset of the directory (stored at that same position), the number of
        // entries, an entry, and the value count in it.
        let (pointer, number, length, count) = if is_big_tiff {
            (8, 8, 20, 8)
        } else {
            (4, 2, 12, 4)
        };
        let directory = usize::try_from(self.number(pointer, pointer)?).ok()?;
        let entries = self.number(directory, number)?.min(MAX_ENTRIES) as usize;
        let first = directory.checked_add(number)?;
        let entry = |index: usize| {
            let offset = first.checked_add(index * length)?;
            let values = self.number(offset + 4, count)?;
            let value_bytes = value_size(self.number(offset + 2, 2)?).checked_mul(values);
            Some(Entry {
                tag: self.number(offset, 2)? as u16,
                value_offset: offset + 4 + count,
                value_bytes,
            })
        };
        Some((0..entries).map_while(entry).collect())
    }
}

/// Returns the bytes of a value of a TIFF field type; 0 for unknown types.
fn value_size(field_type: u64) -> u64 {
    match field_type {
        1 | 2 | 6 | 7 => 1,
        3 | 8 => 2,
        4 | 9 | 11 | 13 => 4,
        5 | 10 | 12 | 16..=18 => 8,
        _ => 0,
    }
}

/// Returns the entries of the first directory; none if it cannot be read.
fn entries(bytes: &[u8]) -> Vec<Entry> {
    let fields = Fields {
        bytes,
        big_endian: bytes.first() == Some(&b'M'),
    };
    fields.entries().unwrap_or_default()
}

/// Rejects a tag that claims more bytes of values than the file has.
pub(super) fn check_tag_sizes(bytes: &[u8]) -> Result<(), ImageError> {
    let too_many = |entry: &Entry| {
        entry
            .value_bytes
            .is_none_or(|values| values > bytes.len() as u64)
    };
    match entries(bytes)
        .iter()
        .find(|entry| IMAGE_TAGS.contains(&entry.tag) && too_many(entry))
    {
        Some(entry) => Err(corrupt(
            NAME,
            format!("tag {} has more values than the file can hold", entry.tag),
        )),
        None => Ok(()),
    }
}

/// Returns the offset of the two-byte value of the photometric interpretation.
pub(super) fn photometric_position(bytes: &[u8]) -> Option<usize> {
    let photometric = Tag::PhotometricInterpretation.to_u16();
    let entry = entries(bytes)
        .into_iter()
        .find(|entry| entry.tag == photometric)?;
    (entry.value_offset + 2 <= bytes.len()).then_some(entry.value_offset)
}
