//! A look at the ends of an archive, which finds most damage without reading all of it.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::Path;

use clipn_base::content::ContentKind;

use crate::archive::compression::{ZSTD, decompress};
use crate::archive::header::{BLOCK, invalid_start, is_start};

/// Zero bytes that end a tar archive.
const END_MARK: u64 = 2 * BLOCK as u64;

/// What the ends of an archive show.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum EndsCheck {
    /// Both ends are as they should be.
    Whole,
    /// The file begins as an archive, but may break off: only reading all of it decides.
    Doubtful,
    /// The file is no archive: a noun phrase that says what it is.
    NotAnArchive(String),
}

/// Reads the first and last bytes of an archive.
///
/// # Errors
/// The error of the operating system.
pub(crate) fn check_ends(path: &Path) -> io::Result<EndsCheck> {
    let mut file = File::open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("not a regular file"));
    }
    let raw = first_block(&mut file)?;
    let kind = ContentKind::detect(&raw);
    if kind == ContentKind::Empty {
        return Ok(EndsCheck::NotAnArchive(kind.to_string()));
    }
    let is_packed = matches!(kind, ContentKind::Gzip | ContentKind::Zstd);
    let start = if is_packed {
        file.seek(SeekFrom::Start(0))?;
        match first_block(&mut decompress(file.try_clone()?)?.source) {
            Ok(start) => start,
            // Reading all of it says what is wrong.
            Err(_) => return Ok(EndsCheck::Doubtful),
        }
    } else {
        raw
    };
    if !is_start(&start) {
        let inner = invalid_start(&start);
        return Ok(EndsCheck::NotAnArchive(if is_packed {
            format!("{kind} of {inner}")
        } else {
            inner
        }));
    }
    let is_whole = match kind {
        ContentKind::Gzip => ends_like_gzip(&mut file)?,
        ContentKind::Zstd => ends_like_zstd(&mut file)?,
        _ => ends_like_tar(&mut file)?,
    };
    Ok(if is_whole {
        EndsCheck::Whole
    } else {
        EndsCheck::Doubtful
    })
}

/// Reads a block, or less at the end of the data.
fn first_block(source: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut block = Vec::with_capacity(BLOCK);
    source.take(BLOCK as u64).read_to_end(&mut block)?;
    Ok(block)
}

/// Whether the file ends with the zeros that end a tar archive.
fn ends_like_tar(file: &mut File) -> io::Result<bool> {
    let length = file.seek(SeekFrom::End(0))?;
    file.seek(SeekFrom::Start(length.saturating_sub(END_MARK)))?;
    let mut end = Vec::new();
    file.take(END_MARK).read_to_end(&mut end)?;
    Ok(!end.is_empty() && end.iter().all(|&byte| byte == 0))
}

/// Maximum compression ratio of gzip.
const MAX_GZIP_RATIO: u64 = 1032;

/// Whether the length that ends a gzip file is one of whole blocks, and neither too short nor too
/// long for the file. Hardly any file that breaks off ends so.
fn ends_like_gzip(file: &mut File) -> io::Result<bool> {
    let length = file.seek(SeekFrom::End(0))?;
    file.seek(SeekFrom::Start(length.saturating_sub(4)))?;
    let mut end = [0; 4];
    file.read_exact(&mut end)?;
    let unpacked = u64::from(u32::from_le_bytes(end));
    // The length is modulo 2^32, and compression adds less than 1 % to random bytes.
    let is_plausible = length >= 1 << 20
        || (length - length / 100..=length.saturating_mul(MAX_GZIP_RATIO)).contains(&unpacked);
    Ok(unpacked.is_multiple_of(BLOCK as u64) && is_plausible)
}

/// Whether the blocks of a zstd file fill it exactly, by their headers.
fn ends_like_zstd(file: &mut File) -> io::Result<bool> {
    let length = file.seek(SeekFrom::End(0))?;
    file.seek(SeekFrom::Start(0))?;
    let mut reader = BufReader::with_capacity(64, file);
    match walk_frames(&mut reader) {
        Ok(end) => Ok(end == length),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}

/// Skips all frames, and returns where they end; a position past the end of the file if it breaks
/// off inside of a block.
fn walk_frames(source: &mut BufReader<&mut File>) -> io::Result<u64> {
    let mut position = 0;
    loop {
        let mut magic = [0; 4];
        match source.read(&mut magic[..1])? {
            0 => return Ok(position),
            _ => source.read_exact(&mut magic[1..])?,
        }
        position += 4;
        if magic == ZSTD {
            position = walk_blocks(source, position)?;
            continue;
        }
        let mut size = [0; 4];
        source.read_exact(&mut size)?;
        position += 4 + u64::from(u32::from_le_bytes(size));
        source.seek(SeekFrom::Start(position))?;
    }
}

/// Skips the rest of a frame after its magic number (RFC 8878, section 3.1.1).
fn walk_blocks(source: &mut BufReader<&mut File>, mut position: u64) -> io::Result<u64> {
    let mut descriptor = [0];
    source.read_exact(&mut descriptor)?;
    let [descriptor] = descriptor;
    let is_single_segment = descriptor >> 5 & 1;
    let dictionary = [0, 1, 2, 4][usize::from(descriptor & 3)];
    let content_size = [u64::from(is_single_segment), 2, 4, 8][usize::from(descriptor >> 6)];
    position += 2 - u64::from(is_single_segment) + dictionary + content_size;
    loop {
        source.seek(SeekFrom::Start(position))?;
        let mut header = [0; 4];
        source.read_exact(&mut header[..3])?;
        let header = u32::from_le_bytes(header);
        let is_run = header >> 1 & 3 == 1;
        position += 3 + if is_run { 1 } else { u64::from(header >> 3) };
        if header & 1 == 1 {
            position += 4 * u64::from(descriptor >> 2 & 1);
            source.seek(SeekFrom::Start(position))?;
            return Ok(position);
        }
    }
}

#[cfg(test)]
mod tests {
    use clipn_testing::shards::{gzip, samples, tar, zstd};

    use super::*;

    fn check(bytes: &[u8]) -> EndsCheck {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.tar");
        std::fs::write(&path, bytes).unwrap();
        check_ends(&path).unwrap()
    }

    #[test]
    fn whole_archives_pass_and_cut_ones_are_doubtful() {
        let plain = tar(&samples(0..40));
        let two_frames = [zstd(&plain[..4096]), zstd(&plain[4096..])].concat();
        let packings = [
            ("plain", plain.clone()),
            ("gzip", gzip(&plain)),
            ("zstd", zstd(&plain)),
            ("two frames", two_frames),
        ];
        for (name, packed) in packings {
            assert_eq!(check(&packed), EndsCheck::Whole, "{name}");
            for cut in 1..20 {
                let end = packed.len() * cut / 20;
                assert_ne!(check(&packed[..end]), EndsCheck::Whole, "{name} {cut}");
            }
        }
    }

    #[test]
    fn other_files_are_named() {
        let named = |bytes: &[u8]| match check(bytes) {
            EndsCheck::NotAnArchive(name) => name,
            other => panic!("{other:?}"),
        };
        assert_eq!(named(b""), "an empty file");
        assert_eq!(
            named(b"version https://git-lfs.github.com/spec/v1\n"),
            "a Git LFS pointer"
        );
        assert_eq!(named(b"\xfd7zXZ\0\0\x04"), "an xz archive");
        assert_eq!(named(b"<!DOCTYPE html><html>"), "an HTML page");
        assert_eq!(named(&gzip(b"caption\n")), "a gzip archive of a text file");
        assert_eq!(named(&zstd(b"{\"a\": 1}")), "a zstd archive of JSON");
    }
}
