//! Image file directories (IFDs): the first directory of a TIFF file, or of EXIF data, which is one.

/// Maximum number of entries of a directory in a classic TIFF.
const MAX_ENTRIES: u64 = u16::MAX as u64;

/// TIFF field type of fractions.
const RATIONAL: u16 = 5;

/// TIFF field type of bytes without a meaning.
const UNDEFINED: u16 = 7;

/// Directory entry.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entry {
    pub(super) tag: u16,
    field_type: u16,
    /// Number of values.
    count: u64,
    /// Position of the value field, which has the values, or their position if they are too long.
    value_field: usize,
}

impl Entry {
    /// Total bytes of the values; `None` on overflow.
    pub(super) fn value_bytes(&self) -> Option<u64> {
        value_size(self.field_type).checked_mul(self.count)
    }
}

/// The first directory of a file.
#[derive(Debug)]
pub(super) struct Directory<'a> {
    bytes: &'a [u8],
    is_big_endian: bool,
    /// Whether the file is a BigTIFF, with numbers of 8 bytes.
    is_big_tiff: bool,
    pub(super) entries: Vec<Entry>,
}

impl<'a> Directory<'a> {
    /// Reads the entries that are in the file; none if it is not a TIFF.
    pub(super) fn read(bytes: &'a [u8]) -> Self {
        let mut directory = Self {
            bytes,
            is_big_endian: bytes.starts_with(b"MM"),
            is_big_tiff: false,
            entries: Vec::new(),
        };
        directory.is_big_tiff = directory.number(2, 2) == Some(43);
        directory.entries = directory.read_entries().unwrap_or_default();
        directory
    }

    fn read_entries(&self) -> Option<Vec<Entry>> {
        let is_tiff = self.bytes.starts_with(b"MM") || self.bytes.starts_with(b"II");
        if !is_tiff || !matches!(self.number(2, 2)?, 42 | 43) {
            return None;
        }
        let layout = self.layout();
        let position = usize::try_from(self.number(layout.pointer, layout.pointer)?).ok()?;
        let count = self.number(position, layout.entry_count)?.min(MAX_ENTRIES);
        let first = position.checked_add(layout.entry_count)?;
        let entry = |index: u64| {
            let start = first.checked_add(index as usize * layout.entry)?;
            let value_field = start + 4 + layout.value_count;
            self.bytes.get(start..start + layout.entry)?;
            Some(Entry {
                tag: self.number(start, 2)? as u16,
                field_type: self.number(start + 2, 2)? as u16,
                count: self.number(start + 4, layout.value_count)?,
                value_field,
            })
        };
        Some((0..count).map_while(entry).collect())
    }

    fn layout(&self) -> &'static Layout {
        if self.is_big_tiff { &BIG } else { &CLASSIC }
    }

    /// Reads a number of `length` bytes in the file's byte order.
    fn number(&self, position: usize, length: usize) -> Option<u64> {
        let field = self.bytes.get(position..position.checked_add(length)?)?;
        let next = |number: u64, byte: &u8| number << 8 | u64::from(*byte);
        Some(if self.is_big_endian {
            field.iter().fold(0, next)
        } else {
            field.iter().rev().fold(0, next)
        })
    }

    /// Returns the first entry with that tag.
    pub(super) fn entry(&self, tag: u16) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.tag == tag)
    }

    /// Returns the number of an entry with one number, of whatever size.
    pub(super) fn single_number(&self, entry: &Entry) -> Option<u64> {
        let is_number = matches!(entry.field_type, 3 | 4 | 8 | 9 | 16 | 17);
        let size = value_size(entry.field_type) as usize;
        let is_inline = size <= self.layout().pointer;
        (is_number && entry.count == 1 && is_inline)
            .then(|| self.number(entry.value_field, size))
            .flatten()
    }

    /// Returns the bytes of an entry's values.
    pub(super) fn value(&self, entry: &Entry) -> Option<&'a [u8]> {
        let length = usize::try_from(entry.value_bytes()?).ok()?;
        let pointer = self.layout().pointer;
        let start = if length <= pointer {
            entry.value_field
        } else {
            usize::try_from(self.number(entry.value_field, pointer)?).ok()?
        };
        self.bytes.get(start..start.checked_add(length)?)
    }

    /// Returns the values of an entry of fractions.
    pub(super) fn ratios(&self, entry: &Entry) -> Option<Vec<f32>> {
        let value = self.value(entry).filter(|_| entry.field_type == RATIONAL)?;
        let numbers = value.as_chunks::<4>().0.iter().map(|bytes| {
            let number = match self.is_big_endian {
                true => u32::from_be_bytes(*bytes),
                false => u32::from_le_bytes(*bytes),
            };
            number as f32
        });
        let numbers: Vec<f32> = numbers.collect();
        let pairs = numbers.as_chunks::<2>().0.iter();
        Some(
            pairs
                .map(|[numerator, denominator]| numerator / denominator)
                .collect(),
        )
    }

    /// Returns a copy of the file with other values of some tags, each one number: `None` removes a
    /// tag. The changed directory is appended, so that everything else stays where it is.
    pub(super) fn with_changes(&self, changes: &[(u16, Option<u32>)]) -> Vec<u8> {
        let layout = self.layout();
        let mut entries: Vec<(u16, Vec<u8>)> = self
            .entries
            .iter()
            .filter(|entry| changes.iter().all(|(tag, _)| *tag != entry.tag))
            .map(|entry| {
                let end = entry.value_field + layout.pointer;
                (entry.tag, self.bytes[end - layout.entry..end].to_vec())
            })
            .collect();
        for (tag, value) in changes {
            if let Some(value) = value {
                entries.push((*tag, self.long_entry(*tag, *value)));
            }
        }
        entries.sort_by_key(|(tag, _)| *tag);
        let mut file = self.bytes.to_vec();
        // Directories start at even positions.
        file.resize(file.len().next_multiple_of(2), 0);
        let position = self.encoded(file.len() as u64, layout.pointer);
        file[layout.pointer..2 * layout.pointer].copy_from_slice(&position);
        file.extend(self.encoded(entries.len() as u64, layout.entry_count));
        entries
            .iter()
            .for_each(|(_, entry)| file.extend_from_slice(entry));
        // No next directory.
        file.extend(vec![0; layout.pointer]);
        file
    }

    /// Encodes an entry of one 32-bit number.
    fn long_entry(&self, tag: u16, value: u32) -> Vec<u8> {
        const LONG: u64 = 4;
        let layout = self.layout();
        let mut entry = self.encoded(tag.into(), 2);
        entry.extend(self.encoded(LONG, 2));
        entry.extend(self.encoded(1, layout.value_count));
        entry.extend(self.encoded(value.into(), 4));
        entry.resize(layout.entry, 0);
        entry
    }

    /// Encodes a number in `length` bytes in the file's byte order.
    fn encoded(&self, number: u64, length: usize) -> Vec<u8> {
        if self.is_big_endian {
            number.to_be_bytes()[8 - length..].to_vec()
        } else {
            number.to_le_bytes()[..length].to_vec()
        }
    }
}

/// Sizes in bytes.
#[derive(Debug)]
struct Layout {
    /// A position in the file; that of the directory is stored at the position of this value.
    pointer: usize,
    /// Number of entries of a directory.
    entry_count: usize,
    /// A whole entry.
    entry: usize,
    /// Number of values of an entry.
    value_count: usize,
}

static CLASSIC: Layout = Layout {
    pointer: 4,
    entry_count: 2,
    entry: 12,
    value_count: 4,
};

static BIG: Layout = Layout {
    pointer: 8,
    entry_count: 8,
    entry: 20,
    value_count: 8,
};

/// Returns the bytes of a value of a TIFF field type; 0 for unknown types.
fn value_size(field_type: u16) -> u64 {
    match field_type {
        1 | 2 | 6 | UNDEFINED => 1,
        3 | 8 => 2,
        4 | 9 | 11 | 13 => 4,
        RATIONAL | 10 | 12 | 16..=18 => 8,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WIDTH: u16 = 256;
    const NAME: u16 = 285;

    /// A file with a width, and a name of `length` bytes behind the directory.
    fn file(is_big_endian: bool, is_big_tiff: bool, length: usize) -> Vec<u8> {
        let empty = Directory {
            bytes: &[],
            is_big_endian,
            is_big_tiff,
            entries: Vec::new(),
        };
        let layout = empty.layout();
        let mut file = if is_big_endian { b"MM" } else { b"II" }.to_vec();
        file.extend(empty.encoded(if is_big_tiff { 43 } else { 42 }, 2));
        file.resize(layout.pointer, 0);
        file.extend(empty.encoded(2 * layout.pointer as u64, layout.pointer));
        file.extend(empty.encoded(2, layout.entry_count));
        file.extend(empty.long_entry(WIDTH, 21));
        file.extend(empty.encoded(NAME.into(), 2));
        file.extend(empty.encoded(UNDEFINED.into(), 2));
        file.extend(empty.encoded(length as u64, layout.value_count));
        let end = file.len() + 2 * layout.pointer;
        file.extend(empty.encoded(end as u64, layout.pointer));
        file.extend(vec![0; layout.pointer]);
        file.extend((0..length).map(|index| index as u8));
        file
    }

    #[test]
    fn reads_numbers_and_bytes_of_every_kind_of_file() {
        for (is_big_endian, is_big_tiff) in
            [(false, false), (false, true), (true, false), (true, true)]
        {
            let file = file(is_big_endian, is_big_tiff, 40);
            let directory = Directory::read(&file);
            assert_eq!(directory.entries.len(), 2);
            let width = directory.entry(WIDTH).unwrap();
            assert_eq!(directory.single_number(width), Some(21));
            let name = directory.entry(NAME).unwrap();
            assert_eq!(directory.single_number(name), None);
            assert_eq!(directory.value(name).unwrap(), &file[file.len() - 40..]);
            assert!(directory.entry(257).is_none());
            for length in 0..file.len() {
                let cut = Directory::read(&file[..length]);
                assert!(
                    cut.entries
                        .iter()
                        .all(|entry| entry.tag == WIDTH || cut.value(entry).is_none())
                );
            }
        }
    }

    #[test]
    fn changes_keep_all_other_entries() {
        for (is_big_endian, is_big_tiff) in
            [(false, false), (false, true), (true, false), (true, true)]
        {
            let file = file(is_big_endian, is_big_tiff, 41);
            let changed =
                Directory::read(&file).with_changes(&[(WIDTH, Some(70_000)), (100, Some(3))]);
            let directory = Directory::read(&changed);
            let tags: Vec<u16> = directory.entries.iter().map(|entry| entry.tag).collect();
            assert_eq!(tags, [100, WIDTH, NAME], "sorted");
            let number = |tag| directory.single_number(directory.entry(tag).unwrap());
            assert_eq!((number(WIDTH), number(100)), (Some(70_000), Some(3)));
            let name = directory.value(directory.entry(NAME).unwrap()).unwrap();
            assert_eq!(name, &file[file.len() - 41..]);
            let removed = Directory::read(&file).with_changes(&[(NAME, None)]);
            assert_eq!(Directory::read(&removed).entries.len(), 1);
        }
    }
}
