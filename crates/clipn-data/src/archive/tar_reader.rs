//! Streaming reader of tar archives, without seeking.
//!
//! Headers are not trusted: no memory is allocated for a declared size, which only limits how far
//! to read.
use std::io::{self, Read};

use clipn_base::content::ContentKind;
use tar::{EntryType, Header, PaxExtensions};

/// Size in bytes of a header, and the alignment of contents.
pub(super) const BLOCK: usize = 512;

/// Maximum size in bytes of a long name or a pax header.
const MAX_NAME: u64 = 1 << 20;

/// Maximum bytes read after the end of the archive, so that the decompressor verifies its checksum.
const MAX_TRAILER: u64 = 1 << 20;

/// Name and size of a regular file.
#[derive(Debug)]
pub(crate) struct Entry {
    /// Path in the archive, as bytes.
    pub name: Vec<u8>,
    /// Size in bytes declared by the header.
    pub size: u64,
}

/// Reader of an archive.
pub(crate) struct TarReader<R> {
    source: R,
    /// Unread bytes of the current entry.
    left: u64,
    padding: u64,
    finished: bool,
    /// Whether no header has been read yet.
    at_start: bool,
}

impl<R: Read> TarReader<R> {
    pub(crate) fn new(source: R) -> Self {
        Self {
            source,
            left: 0,
            padding: 0,
            finished: false,
            at_start: true,
        }
    }

    /// Advances to the next regular file; the rest of the current one is skipped.
    pub(crate) fn next(&mut self) -> io::Result<Option<Entry>> {
        let (mut long_name, mut pax_size) = (None, None);
        while !self.finished {
            self.finish_entry()?;
            let Some(header) = self.header()? else {
                self.finished = true;
                return Ok(None);
            };
            let size = header
                .entry_size()
                .map_err(|_| damaged("invalid size in a header"))?;
            self.enter(size);
            match header.entry_type() {
                EntryType::GNULongName => {
                    let mut name = self
                        .read(MAX_NAME)?
                        .ok_or_else(|| damaged("too long a name"))?;
                    name.truncate(
                        name.iter()
                            .position(|&byte| byte == 0)
                            .unwrap_or(name.len()),
                    );
                    long_name = Some(name);
                }
                EntryType::XHeader => {
                    let pax = self
                        .read(MAX_NAME)?
                        .ok_or_else(|| damaged("too long a pax header"))?;
                    for extension in PaxExtensions::new(&pax).flatten() {
                        match extension.key_bytes() {
                            b"path" => long_name = Some(extension.value_bytes().to_vec()),
                            b"size" => {
                                pax_size =
                                    extension.value().ok().and_then(|size| size.parse().ok());
                            }
                            _ => {}
                        }
                    }
                }
                kind => {
                    let name = long_name
                        .take()
                        .unwrap_or_else(|| header.path_bytes().into_owned());
                    let size = pax_size.take().unwrap_or(size);
                    self.enter(size);
                    // Links and devices have no contents; sparse files are not images.
                    if matches!(kind, EntryType::Regular | EntryType::Continuous)
                        && !name.ends_with(b"/")
                    {
                        return Ok(Some(Entry { name, size }));
                    }
                }
            }
        }
        Ok(None)
    }

    /// Reads the contents of the current entry; returns `None` and reads nothing if they exceed
    /// `limit` bytes.
    pub(crate) fn read(&mut self, limit: u64) -> io::Result<Option<Vec<u8>>> {
        let size = self.left;
        if size > limit {
            return Ok(None);
        }
        let mut bytes = Vec::with_capacity(size.min(1 << 20) as usize);
        (&mut self.source).take(size).read_to_end(&mut bytes)?;
        self.left -= bytes.len() as u64;
        if self.left > 0 {
            return Err(truncated());
        }
        Ok(Some(bytes))
    }

    /// Reads at most the first `length` bytes of the current entry; [`read`](Self::read) returns the
    /// rest.
    pub(crate) fn read_start(&mut self, length: usize) -> io::Result<Vec<u8>> {
        let length = self.left.min(length as u64);
        let mut start = Vec::new();
        (&mut self.source).take(length).read_to_end(&mut start)?;
        self.left -= start.len() as u64;
        if (start.len() as u64) < length {
            return Err(truncated());
        }
        Ok(start)
    }

    fn enter(&mut self, size: u64) {
        self.left = size;
        self.padding = (BLOCK as u64 - size % BLOCK as u64) % BLOCK as u64;
    }

    /// Skips the rest of the current entry.
    fn finish_entry(&mut self) -> io::Result<()> {
        let rest = self.left.saturating_add(self.padding);
        let read = io::copy(&mut (&mut self.source).take(rest), &mut io::sink())?;
        // Some writers omit the padding of the last entry, but none writes a part of it.
        if read < rest && read != self.left {
            return Err(truncated());
        }
        (self.left, self.padding) = (0, 0);
        Ok(())
    }

    /// Reads the next header; `None` at the end of the archive.
    fn header(&mut self) -> io::Result<Option<Header>> {
        let mut block = [0; BLOCK];
        let mut filled = 0;
        while filled < BLOCK {
            match self.source.read(&mut block[filled..]) {
                Ok(0) if filled == 0 => return Ok(None),
                Ok(0) if self.at_start => return Err(not_an_archive(&block[..filled])),
                Ok(0) => return Err(truncated()),
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        let at_start = std::mem::take(&mut self.at_start);
        if block.iter().all(|&byte| byte == 0) {
            io::copy(&mut (&mut self.source).take(MAX_TRAILER), &mut io::sink())?;
            return Ok(None);
        }
        match valid_header(&block) {
            Some(header) => Ok(Some(header)),
            None if at_start => Err(not_an_archive(&block)),
            None => Err(damaged("wrong checksum of a header")),
        }
    }
}

/// Returns the header in a block if its checksum is right.
fn valid_header(block: &[u8; BLOCK]) -> Option<Header> {
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

fn not_an_archive(start: &[u8]) -> io::Error {
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

fn damaged(problem: &str) -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        format!("damaged tar archive: {problem}"),
    )
}

fn truncated() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "truncated tar archive")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(bytes: &[u8]) -> io::Result<Vec<(String, usize)>> {
        let mut archive = TarReader::new(bytes);
        let mut names = Vec::new();
        while let Some(entry) = archive.next()? {
            let contents = archive
                .read(1 << 16)?
                .map_or(usize::MAX, |bytes| bytes.len());
            names.push((String::from_utf8_lossy(&entry.name).into_owned(), contents));
        }
        Ok(names)
    }

    fn archive(files: &[(&str, usize)]) -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        for (name, size) in files {
            let mut header = Header::new_gnu();
            header.set_size(*size as u64);
            builder
                .append_data(&mut header, name, vec![7; *size].as_slice())
                .unwrap();
        }
        builder.into_inner().unwrap()
    }

    #[test]
    fn reads_long_names_and_skips_contents_over_the_limit() {
        let long = format!("{}/x.jpg", "d".repeat(200));
        let files = [
            ("a.jpg", 1),
            (long.as_str(), 513),
            ("big.jpg", 1 << 17),
            ("b.txt", 0),
        ];
        let found = names(&archive(&files)).unwrap();
        assert_eq!(
            found,
            [
                ("a.jpg".into(), 1),
                (long, 513),
                ("big.jpg".into(), usize::MAX),
                ("b.txt".into(), 0)
            ]
        );
    }

    #[test]
    fn reads_pax_names_and_sizes() {
        let mut bytes = Vec::new();
        let record = b"17 path=pax.jpeg\n10 size=5\n";
        for (name, kind, size, contents) in [
            ("x", EntryType::XHeader, record.len(), &record[..]),
            ("short", EntryType::Regular, 0, b"12345"),
        ] {
            let mut header = Header::new_ustar();
            header.set_path(name).unwrap();
            header.set_entry_type(kind);
            header.set_size(size as u64);
            header.set_cksum();
            bytes.extend(header.as_bytes());
            bytes.extend(contents);
            bytes.resize(bytes.len().next_multiple_of(BLOCK), 0);
        }
        assert_eq!(names(&bytes).unwrap(), [("pax.jpeg".to_string(), 5)]);
    }

    #[test]
    fn a_false_size_allocates_no_memory() {
        for size in [1 << 40, u64::MAX / 2, u64::MAX] {
            let mut header = Header::new_gnu();
            header.set_path("a.jpg").unwrap();
            header.set_size(size);
            header.set_cksum();
            let error = names(header.as_bytes()).unwrap_err();
            assert!(error.to_string().contains("truncated"), "{size}: {error}");
            let mut unread = TarReader::new(&header.as_bytes()[..]);
            unread.next().unwrap();
            assert!(unread.read(u64::MAX).is_err());
        }
    }

    #[test]
    fn reports_a_wrong_checksum_and_a_truncated_header() {
        let mut bytes = archive(&[("a.jpg", 10), ("b.jpg", 10)]);
        assert!(
            names(&bytes[..1024 + 100])
                .unwrap_err()
                .to_string()
                .contains("truncated")
        );
        assert_eq!(names(&bytes[..1024]).unwrap().len(), 1);
        bytes[1024] ^= 1;
        assert!(names(&bytes).unwrap_err().to_string().contains("checksum"));
    }
}
