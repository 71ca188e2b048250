//! Strips and tiles of a TIFF image: where they are in the file, and how much of it they may take.
use std::collections::HashMap;
use std::io::{self, Cursor, Read, Seek, SeekFrom};
use std::ops::Range;

use tiff::decoder::{ChunkType, Decoder};
use tiff::tags::Tag;

use super::{NAME, convert_error};
use crate::decode::{corrupt, truncated};
use crate::error::ImageError;

/// Bytes that strips or tiles may take beyond those of the file and of the samples.
const SLACK: u64 = 16 << 20;

/// Returns the positions of the strips or tiles in the file.
pub(super) fn chunk_ranges<R: Read + Seek>(
    decoder: &mut Decoder<R>,
) -> Result<Vec<Range<usize>>, ImageError> {
    let (offsets, lengths) = match decoder.get_chunk_type() {
        ChunkType::Strip => (Tag::StripOffsets, Tag::StripByteCounts),
        ChunkType::Tile => (Tag::TileOffsets, Tag::TileByteCounts),
    };
    let mut numbers = |tag| {
        let numbers = decoder.find_tag_unsigned_vec::<u64>(tag);
        Ok::<_, ImageError>(numbers.map_err(convert_error)?.unwrap_or_default())
    };
    let (offsets, lengths) = (numbers(offsets)?, numbers(lengths)?);
    let range = |(start, length): (u64, u64)| {
        let end = start.saturating_add(length);
        let position = |position: u64| usize::try_from(position).unwrap_or(usize::MAX);
        position(start)..position(end)
    };
    Ok(offsets.into_iter().zip(lengths).map(range).collect())
}

/// Rejects compressed strips or tiles that end after the file, as libtiff does, and those that take far more
/// bytes than the file because they share them: each one is decompressed again.
///
/// Files whose equal tiles share their bytes stay within the size of the samples, `sample_bytes`. `tables` is the
/// number of bytes that are decoded again for each one.
///
/// # Errors
/// [`ImageError::Truncated`] or [`ImageError::Corrupt`].
pub(super) fn check_ranges(
    ranges: &[Range<usize>],
    tables: usize,
    file: &[u8],
    sample_bytes: u64,
) -> Result<(), ImageError> {
    if ranges.iter().any(|range| range.end > file.len()) {
        return Err(truncated(NAME));
    }
    let lengths = ranges.iter().map(|range| (range.len() + tables) as u64);
    let total = lengths.fold(0, u64::saturating_add);
    let limit = (file.len() as u64)
        .saturating_add(sample_bytes)
        .saturating_add(SLACK);
    if total > limit {
        let (count, size) = (ranges.len(), file.len());
        let reason = format!(
            "{count} strips or tiles of {total} bytes in a file of {size} bytes, expected at most {limit}"
        );
        return Err(corrupt(NAME, reason));
    }
    Ok(())
}

/// Rejects uncompressed strips or tiles that end after the first `file_size` bytes of the file. Their samples
/// determine their sizes: the sizes in the file are often wrong, and Pillow ignores them, too.
///
/// # Errors
/// [`ImageError::Truncated`].
pub(super) fn check_uncompressed<R: Read + Seek>(
    decoder: &mut Decoder<R>,
    file_size: usize,
) -> Result<(), ImageError> {
    let mut number = |tag, default| {
        let number = decoder.find_tag_unsigned::<u64>(tag);
        Ok::<_, ImageError>(number.map_err(convert_error)?.unwrap_or(default))
    };
    let is_planar = number(Tag::PlanarConfiguration, 1)? == 2;
    let bands = number(Tag::SamplesPerPixel, 1)?;
    let bits = decoder.find_tag_unsigned_vec::<u64>(Tag::BitsPerSample);
    let bits = bits
        .map_err(convert_error)?
        .and_then(|bits| bits.first().copied());
    let pixel_bits = bits
        .unwrap_or(1)
        .saturating_mul(if is_planar { 1 } else { bands });
    let (width, _) = decoder.chunk_dimensions();
    let row_bytes = u64::from(width).saturating_mul(pixel_bits).div_ceil(8);
    for (index, range) in (0..).zip(chunk_ranges(decoder)?) {
        let (_, rows) = decoder.chunk_data_dimensions(index);
        let length = row_bytes.saturating_mul(rows.into());
        if (range.start as u64).saturating_add(length) > file_size as u64 {
            return Err(truncated(NAME));
        }
    }
    Ok(())
}

/// Reader of a file that ends at the end of the strip or tile to which it was moved.
///
/// The `tiff` crate inflates strips without regard to their lengths. One that inflates to nothing would be read
/// to the end of the file, once for each strip.
pub(super) struct ChunkReader<'a> {
    file: Cursor<&'a [u8]>,
    /// End of the strip or tile at each position.
    ends: HashMap<u64, u64>,
    /// Position at which reading ends.
    end: u64,
}

impl<'a> ChunkReader<'a> {
    /// Creates a reader of `file`, whose strips or tiles are limited to `ranges`.
    pub(super) fn new(file: &'a [u8], ranges: &[Range<usize>]) -> Self {
        let mut ends = HashMap::with_capacity(ranges.len());
        for range in ranges {
            let end: &mut u64 = ends.entry(range.start as u64).or_default();
            *end = (*end).max(range.end as u64);
        }
        Self {
            file: Cursor::new(file),
            ends,
            end: u64::MAX,
        }
    }
}

impl Read for ChunkReader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.end.saturating_sub(self.file.position());
        self.file.by_ref().take(left).read(buffer)
    }
}

impl Seek for ChunkReader<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let position = self.file.seek(to)?;
        self.end = self.ends.get(&position).copied().unwrap_or(u64::MAX);
        Ok(position)
    }
}
