//! Headers of tar archives, and what is said of those that are none.

use std::io;

use clipn_base::content::ContentKind;
use tar::Header;

/// Size in bytes of a header, and the alignment of contents.
pub(super) const BLOCK: usize = 512;

/// Returns the header in a block if its checksum is right.
pub(super) fn valid_header(block: &[u8; BLOCK]) -> Option<Header> {
    let header = Header::from_byte_slice(block).clone();
    let stored = header.cksum().ok()?;
    (stored == checksum(block)).then_some(header)
}

/// Whether a tar archive may begin with these bytes, at least [`BLOCK`] of them.
pub(super) fn is_start(bytes: &[u8]) -> bool {
    let Some(block) = bytes.first_chunk() else {
        return false;
    };
    block.iter().all(|&byte| byte == 0) || valid_header(block).is_some()
}

/// Names what begins with these bytes, which are not those of a tar archive.
pub(super) fn invalid_start(bytes: &[u8]) -> String {
    match ContentKind::detect(bytes) {
        ContentKind::Tar => "a damaged tar archive".to_string(),
        kind => kind.to_string(),
    }
}

pub(super) fn not_an_archive(start: &[u8]) -> io::Error {
    let found = invalid_start(start);
    io::Error::new(
        io::ErrorKind::InvalidData,
        format!("expected a tar archive, got {found}"),
    )
}

/// Returns the sum of a header's bytes, with the checksum field taken as spaces.
fn checksum(block: &[u8; BLOCK]) -> u32 {
    let sum = |bytes: &[u8]| bytes.iter().map(|&byte| u32::from(byte)).sum::<u32>();
    sum(&block[..148]) + 8 * u32::from(b' ') + sum(&block[156..])
}

/// Returns the size in a header. A blank field is 0, as Python's `tarfile` reads it: labels of GNU tar
/// have one.
pub(super) fn stored_size(header: &Header) -> io::Result<u64> {
    if header
        .as_old()
        .size
        .iter()
        .all(|byte| matches!(byte, 0 | b' '))
    {
        return Ok(0);
    }
    header
        .entry_size()
        .map_err(|_| damaged("invalid size in a header"))
}

pub(super) fn damaged(problem: &str) -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        format!("damaged tar archive: {problem}"),
    )
}

pub(super) fn truncated() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "truncated tar archive")
}
