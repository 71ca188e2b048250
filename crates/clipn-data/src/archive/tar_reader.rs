//! Streaming reader of tar archives, without seeking.
//!
//! Headers are not trusted: no memory is allocated for a declared size, which only limits how far
//! to read. The holes of a sparse file are allocated when it is read, up to the limit of any file.
use std::io::{self, Read};

use tar::{GnuExtSparseHeader, GnuSparseHeader, Header};

use super::compression::CountingReader;
use super::header::{BLOCK, damaged, not_an_archive, stored_size, truncated, valid_header};
use super::member::{Member, MemberKind, SpecialKind};
use super::pax::PaxRecords;
use super::sparse::{LeadingMap, MAX_PARTS, SparseMap};

/// Maximum size in bytes of a long name, a pax header or the map of a sparse file.
const MAX_NAME: u64 = 1 << 20;

/// Maximum bytes read after the end of the archive, so that the decompressor verifies its checksum.
const MAX_TRAILER: u64 = 1 << 20;

/// Contents of a member.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Content {
    /// The bytes.
    Bytes(Vec<u8>),
    /// The size, which exceeds the limit.
    TooLarge(u64),
    /// What is in place of bytes, as a noun phrase: `named pipe`.
    Unavailable(String),
}

/// Reader of the members of an archive, in order. Directories are left out.
pub(super) struct TarReader<R> {
    source: CountingReader<R>,
    /// Position of the first byte of `source` in the archive.
    base: u64,
    /// Unread bytes of the current member.
    left: u64,
    padding: u64,
    /// Map of the current member, if it is sparse and has not been read.
    sparse: Option<SparseMap>,
    finished: bool,
    /// Whether no header has been read yet.
    at_start: bool,
    /// Volume labels before the current member.
    labels: Vec<String>,
}

/// What precedes the header of a member and belongs to it.
#[derive(Default)]
struct Extensions {
    name: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    pax: PaxRecords,
    /// Position of the first header.
    start: Option<u64>,
}

impl<R: Read> TarReader<R> {
    pub(super) fn new(source: R) -> Self {
        Self::starting_at(source, 0)
    }

    /// Creates a reader for the rest of an archive from a header at position `base`.
    pub(super) fn starting_at(source: R, base: u64) -> Self {
        Self {
            source: CountingReader { source, count: 0 },
            base,
            left: 0,
            padding: 0,
            sparse: None,
            finished: false,
            at_start: base == 0,
            labels: Vec::new(),
        }
    }

    /// Number of bytes of the archive before the next byte.
    pub(super) fn position(&self) -> u64 {
        self.base + self.source.count
    }

    /// Skips to the header at `position`, which must not be before the current one.
    pub(super) fn skip_to(&mut self, position: u64) -> io::Result<()> {
        let distance = position.saturating_sub(self.position());
        (self.left, self.padding, self.sparse) = (0, 0, None);
        self.at_start = false;
        if io::copy(&mut (&mut self.source).take(distance), &mut io::sink())? < distance {
            return Err(truncated());
        }
        Ok(())
    }

    /// Returns the volume labels that were passed since the last call.
    pub(super) fn take_labels(&mut self) -> Vec<String> {
        std::mem::take(&mut self.labels)
    }

    /// Advances to the next member that is no directory; the rest of the current one is skipped.
    pub(super) fn next(&mut self) -> io::Result<Option<Member>> {
        let mut extensions = Extensions::default();
        let mut volume_continues = false;
        while !self.finished {
            self.finish_entry()?;
            let position = self.position();
            let Some(header) = self.header()? else {
                self.finished = true;
                return Ok(None);
            };
            extensions.start.get_or_insert(position);
            let size = stored_size(&header)?;
            match header.entry_type().as_byte() {
                b'L' => extensions.name = Some(self.long_name(size)?),
                b'K' => extensions.link = Some(self.long_name(size)?),
                // The second is that of Solaris.
                b'x' | b'X' => extensions.pax = self.pax_records(size)?,
                b'g' => volume_continues |= self.pax_records(size)?.is_continuation,
                b'V' => {
                    self.enter(size);
                    let label = String::from_utf8_lossy(&header.path_bytes()).into_owned();
                    self.labels.push(label);
                    extensions = Extensions::default();
                }
                _ => {
                    let mut found = std::mem::take(&mut extensions);
                    found.pax.is_continuation |= std::mem::take(&mut volume_continues);
                    if let Some(member) = self.member(&header, size, found)? {
                        return Ok(Some(member));
                    }
                }
            }
        }
        Ok(None)
    }

    /// Enters the member of a header; `None` if it is a directory.
    fn member(
        &mut self,
        header: &Header,
        size: u64,
        extensions: Extensions,
    ) -> io::Result<Option<Member>> {
        let Extensions {
            name,
            link,
            pax,
            start,
        } = extensions;
        let name = pax
            .path
            .or(name)
            .unwrap_or_else(|| header.path_bytes().into_owned());
        let link = || {
            let own = || header.link_name_bytes().unwrap_or_default().into_owned();
            pax.link_path.or(link).unwrap_or_else(own)
        };
        let size = pax.size.unwrap_or(size);
        let kind = match header.entry_type().as_byte() {
            // The size of a link is that of its target, and a directory may declare what it needs.
            b'1' => MemberKind::HardLink(link()),
            b'2' => MemberKind::SymbolicLink(link()),
            b'5' => return Ok(None),
            b'D' => {
                self.enter(size);
                return Ok(None);
            }
            b'3' | b'4' => MemberKind::Special(SpecialKind::Device),
            b'6' => MemberKind::Special(SpecialKind::NamedPipe),
            b'M' => {
                self.enter(size);
                MemberKind::Special(SpecialKind::VolumePiece)
            }
            b'S' => self.old_sparse(header, size)?,
            b'0' | b'7' | 0 => {
                self.enter(size);
                if name.ends_with(b"/") {
                    return Ok(None);
                }
                if pax.is_continuation {
                    MemberKind::Special(SpecialKind::VolumePiece)
                } else if pax.sparse.is_present() {
                    self.pax_sparse(&pax.sparse)?
                } else {
                    MemberKind::File
                }
            }
            other => {
                self.enter(size);
                MemberKind::Special(SpecialKind::Unknown(other))
            }
        };
        Ok(Some(Member {
            name,
            kind,
            start: start.unwrap_or_default(),
        }))
    }

    /// Reads the parts of a sparse file of the old form, which may go on in further blocks.
    fn old_sparse(&mut self, header: &Header, size: u64) -> io::Result<MemberKind> {
        let damaged_map = || damaged("invalid map of a sparse file");
        let gnu = header.as_gnu().ok_or_else(damaged_map)?;
        let mut parts = Vec::new();
        let mut add = |headers: &[GnuSparseHeader]| {
            for header in headers.iter().filter(|header| !header.is_empty()) {
                let part = header
                    .offset()
                    .and_then(|offset| Ok((offset, header.length()?)));
                parts.push(part.map_err(|_| damaged_map())?);
            }
            if parts.len() > MAX_PARTS {
                return Err(damaged_map());
            }
            Ok(())
        };
        add(&gnu.sparse)?;
        let mut is_extended = gnu.is_extended();
        while is_extended {
            let mut block = GnuExtSparseHeader::new();
            match self.source.read_exact(block.as_mut_bytes()) {
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                    return Err(truncated());
                }
                read => read?,
            }
            add(&block.sparse)?;
            is_extended = block.is_extended();
        }
        self.enter(size);
        let real_size = gnu.real_size().map_err(|_| damaged_map())?;
        Ok(self.sparse_file(SparseMap::new(real_size, parts, size)))
    }

    /// Reads the map of a sparse file that is described by pax records.
    fn pax_sparse(&mut self, records: &super::pax::PaxSparse) -> io::Result<MemberKind> {
        if records.major.is_none_or(|major| major == 0) {
            let map = SparseMap::from_pax(records, self.left);
            return Ok(self.sparse_file(map));
        }
        let (mut bytes, mut lines) = (Vec::new(), 0);
        loop {
            let block = self.read_start(BLOCK)?;
            lines += block.iter().filter(|&&byte| byte == b'\n').count() as u64;
            let is_end = block.is_empty() || bytes.len() as u64 >= MAX_NAME;
            bytes.extend(block);
            // Parsed once, so that the time is linear.
            if is_end || LeadingMap::lines(&bytes).is_some_and(|needed| lines >= needed) {
                break;
            }
        }
        let map = match (LeadingMap::parse(&bytes), records.real_size) {
            (LeadingMap::Parts(parts), Some(size))
                if records.major == Some(1) && !records.is_damaged =>
            {
                SparseMap::new(size, parts, self.left)
            }
            _ => None,
        };
        Ok(self.sparse_file(map))
    }

    fn sparse_file(&mut self, map: Option<SparseMap>) -> MemberKind {
        self.sparse = map;
        match self.sparse {
            Some(_) => MemberKind::SparseFile,
            None => MemberKind::Special(SpecialKind::DamagedSparse),
        }
    }

    fn long_name(&mut self, size: u64) -> io::Result<Vec<u8>> {
        let mut name = self.extension(size, "too long a name")?;
        name.truncate(
            name.iter()
                .position(|&byte| byte == 0)
                .unwrap_or(name.len()),
        );
        Ok(name)
    }

    fn pax_records(&mut self, size: u64) -> io::Result<PaxRecords> {
        Ok(PaxRecords::parse(
            &self.extension(size, "too long a pax header")?,
        ))
    }

    /// Reads the contents of a header that belongs to the next member.
    fn extension(&mut self, size: u64, problem: &str) -> io::Result<Vec<u8>> {
        self.enter(size);
        if size > MAX_NAME {
            return Err(damaged(problem));
        }
        self.stored()
    }

    /// Reads the contents of the current file, or nothing if they exceed `limit` bytes.
    pub(super) fn read(&mut self, limit: u64) -> io::Result<Content> {
        let size = self.sparse.as_ref().map_or(self.left, |map| map.real_size);
        if size > limit {
            return Ok(Content::TooLarge(size));
        }
        let map = self.sparse.take();
        let bytes = self.stored()?;
        let whole = match map {
            Some(map) => map
                .expand(&bytes)
                .ok_or_else(|| damaged("invalid map of a sparse file"))?,
            None => bytes,
        };
        Ok(Content::Bytes(whole))
    }

    /// Reads the stored bytes of the current member.
    fn stored(&mut self) -> io::Result<Vec<u8>> {
        let size = self.left;
        let mut bytes = Vec::with_capacity(size.min(1 << 20) as usize);
        (&mut self.source).take(size).read_to_end(&mut bytes)?;
        self.left -= bytes.len() as u64;
        if self.left > 0 {
            return Err(truncated());
        }
        Ok(bytes)
    }

    /// Reads at most the first `length` stored bytes of the current member; [`read`](Self::read)
    /// returns the rest.
    pub(super) fn read_start(&mut self, length: usize) -> io::Result<Vec<u8>> {
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

    /// Skips the rest of the current member.
    fn finish_entry(&mut self) -> io::Result<()> {
        let rest = self.left.saturating_add(self.padding);
        let read = io::copy(&mut (&mut self.source).take(rest), &mut io::sink())?;
        // Some writers omit the padding of the last entry, but none writes a part of it.
        if read < rest && read != self.left {
            return Err(truncated());
        }
        (self.left, self.padding, self.sparse) = (0, 0, None);
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

#[cfg(test)]
mod tests {
    use tar::EntryType;

    use super::*;

    fn names(bytes: &[u8]) -> io::Result<Vec<(String, usize)>> {
        let mut archive = TarReader::new(bytes);
        let mut names = Vec::new();
        while let Some(entry) = archive.next()? {
            let contents = match archive.read(1 << 16)? {
                Content::Bytes(bytes) => bytes.len(),
                _ => usize::MAX,
            };
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
