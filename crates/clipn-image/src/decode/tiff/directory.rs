//! A TIFF's first directory, looked at before the decoder is: it takes memory for as many values as a tag claims.

use std::ops::RangeInclusive;

use tiff::tags::Tag;

use super::NAME;
use crate::decode::damaged;
use crate::error::ImageError;

/// The tags that say how the picture is stored, which are all that the decoder reads.
const OF_PICTURE: RangeInclusive<u16> = 254..=699;

/// The most entries that a directory of a classic TIFF can have.
const MOST_ENTRIES: u64 = u16::MAX as u64;

/// Where an entry of the directory lies, and how many bytes its values have.
struct Entry {
    tag: u16,
    value: usize,
    bytes: Option<u64>,
}

/// Reads numbers where the file has them.
struct Fields<'a> {
    bytes: &'a [u8],
    big_endian: bool,
}

impl Fields<'_> {
    fn number(&self, at: usize, length: usize) -> Option<u64> {
        let field = self.bytes.get(at..at.checked_add(length)?)?;
        let next = |number: u64, byte: &u8| number << 8 | u64::from(*byte);
        Some(if self.big_endian {
            field.iter().fold(0, next)
        } else {
            field.iter().rev().fold(0, next)
        })
    }

    /// The first directory's entries, as far as the file holds them.
    fn entries(&self) -> Option<Vec<Entry>> {
        let is_big = self.number(2, 2)? == 43;
        // Lengths of: the directory's place, which stands behind as many bytes, the number of entries, an entry, a count.
        let (pointer, number, length, count) = if is_big { (8, 8, 20, 8) } else { (4, 2, 12, 4) };
        let directory = usize::try_from(self.number(pointer, pointer)?).ok()?;
        let entries = self.number(directory, number)?.min(MOST_ENTRIES) as usize;
        let first = directory.checked_add(number)?;
        let entry = |index: usize| {
            let at = first.checked_add(index * length)?;
            let values = self.number(at + 4, count)?;
            let bytes = size(self.number(at + 2, 2)?).checked_mul(values);
            Some(Entry {
                tag: self.number(at, 2)? as u16,
                value: at + 4 + count,
                bytes,
            })
        };
        Some((0..entries).map_while(entry).collect())
    }
}

/// Bytes of a value of a type; 0 of one that no reader knows.
fn size(kind: u64) -> u64 {
    match kind {
        1 | 2 | 6 | 7 => 1,
        3 | 8 => 2,
        4 | 9 | 11 | 13 => 4,
        5 | 10 | 12 | 16..=18 => 8,
        _ => 0,
    }
}

fn entries(bytes: &[u8]) -> Vec<Entry> {
    let fields = Fields {
        bytes,
        big_endian: bytes.first() == Some(&b'M'),
    };
    fields.entries().unwrap_or_default()
}

/// Refuses a tag that is said to have more values than the file has bytes.
pub(super) fn check(bytes: &[u8]) -> Result<(), ImageError> {
    let too_many = |entry: &Entry| entry.bytes.is_none_or(|values| values > bytes.len() as u64);
    match entries(bytes)
        .iter()
        .find(|entry| OF_PICTURE.contains(&entry.tag) && too_many(entry))
    {
        Some(entry) => Err(damaged(
            NAME,
            format!("the tag {} has more values than the file holds", entry.tag),
        )),
        None => Ok(()),
    }
}

/// Where the value of the photometric interpretation lies, two bytes long.
pub(super) fn photometric_position(bytes: &[u8]) -> Option<usize> {
    let photometric = Tag::PhotometricInterpretation.to_u16();
    let found = entries(bytes)
        .into_iter()
        .find(|entry| entry.tag == photometric)?;
    (found.value + 2 <= bytes.len()).then_some(found.value)
}
