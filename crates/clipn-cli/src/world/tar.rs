//! Writer of tar archives in POSIX's ustar format (IEEE Std 1003.1), for WebDataset shards.

use std::io::{self, Write};

/// Block size of tar archives in bytes.
const BLOCK: usize = 512;

/// Writer of a tar archive.
///
/// Names have at most 100 bytes. Times, users and groups are zero, so that the same files give the
/// same bytes.
#[derive(Debug)]
pub(super) struct TarWriter<W: Write> {
    out: W,
}

impl<W: Write> TarWriter<W> {
    pub(super) fn new(out: W) -> Self {
        Self { out }
    }

    /// Appends a regular file.
    pub(super) fn append(&mut self, name: &str, content: &[u8]) -> io::Result<()> {
        self.out.write_all(&header(name, content.len() as u64)?)?;
        self.out.write_all(content)?;
        self.out
            .write_all(&[0; BLOCK][..content.len().next_multiple_of(BLOCK) - content.len()])
    }

    /// Writes the two zero blocks at the end of the archive.
    pub(super) fn finish(mut self) -> io::Result<()> {
        self.out.write_all(&[0; 2 * BLOCK])?;
        self.out.flush()
    }
}

/// Returns the header block of a regular file.
fn header(name: &str, size: u64) -> io::Result<[u8; BLOCK]> {
    if name.len() > 100 || size >= 1 << 33 {
        let problem = format!(
            "tar entry {name} ({size} bytes): name or size exceeds the limit of the format"
        );
        return Err(io::Error::new(io::ErrorKind::InvalidInput, problem));
    }
    let mut header = [0; BLOCK];
    let mut put = |offset: usize, bytes: &[u8]| {
        header[offset..offset + bytes.len()].copy_from_slice(bytes);
    };
    put(0, name.as_bytes());
    put(100, b"0000644\0");
    put(108, b"0000000\0");
    put(116, b"0000000\0");
    put(124, format!("{size:011o}\0").as_bytes());
    put(136, b"00000000000\0");
    put(148, b"        ");
    put(156, b"0");
    put(257, b"ustar\x0000");
    let checksum: u32 = header.iter().map(|&byte| u32::from(byte)).sum();
    header[148..156].copy_from_slice(format!("{checksum:06o}\0 ").as_bytes());
    Ok(header)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn archives_consist_of_whole_blocks() {
        let mut bytes = Vec::new();
        let mut tar = TarWriter::new(&mut bytes);
        tar.append("a.txt", b"hello").unwrap();
        tar.append("b.txt", &[7; 512]).unwrap();
        tar.finish().unwrap();
        assert_eq!(bytes.len(), 6 * BLOCK);
        assert_eq!(&bytes[124..136], b"00000000005\0");
        assert_eq!(&bytes[512..518], b"hello\0");
    }

    #[test]
    fn rejects_names_and_sizes_that_do_not_fit_the_header() {
        assert!(header(&"x".repeat(101), 1).is_err());
        assert!(header("x", 1 << 33).is_err());
    }
}
