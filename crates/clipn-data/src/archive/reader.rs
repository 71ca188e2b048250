//! Reader of the files of an archive, with links resolved inside of it.

use std::collections::hash_map::RandomState;
use std::collections::{HashMap, VecDeque};
use std::fs::File;
use std::hash::BuildHasher;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use super::compression::{Decompressed, decompress, open_archive};
use super::member::{Member, MemberKind, SpecialKind, directory, normalized, shown};
use super::tar_reader::{Content, TarReader};

type Source = Box<dyn Read + Send>;

/// Maximum number of links from a member to its contents.
const MAX_HOPS: usize = 8;

/// Maximum number of members whose positions are kept; later ones are no targets of links.
const MAX_INDEXED: usize = 4 << 20;

/// Maximum number of times that a compressed archive is decompressed again for its links. Those in
/// the order of their targets need one.
const MAX_RESTARTS: u32 = 64;

/// Maximum size in bytes of the contents that are kept for links, of a stream or of targets.
const MAX_KEPT: usize = 32 << 20;

/// Size of the buffer of a second reader in bytes.
const BUFFER: usize = 64 << 10;

/// A file of an archive, or what stands for one.
#[derive(Debug)]
pub(crate) struct Entry {
    /// Path in the archive, as bytes.
    pub(crate) name: Vec<u8>,
    /// What it is, if it is neither a file nor a link.
    pub(crate) special: Option<SpecialKind>,
}

/// Where the bytes of an archive come from.
enum Origin {
    Plain(PathBuf),
    Compressed(PathBuf),
    /// A stream, which cannot be read again.
    Stream,
}

/// Reader of the files of an archive. Links have the contents of their targets, wherever these are
/// in an archive on disk, and before the link and not too far from it in a stream.
pub(crate) struct ArchiveReader {
    tar: TarReader<Source>,
    origin: Origin,
    current: Option<Member>,
    /// Contents that were read to return their first bytes.
    loaded: Option<(Content, usize)>,
    index: MemberIndex,
    /// Positions of the members after a link, once the archive was searched to its end.
    ahead: Option<MemberIndex>,
    second: Option<TarReader<Source>>,
    restarts: u32,
    kept: KeptContents,
}

impl ArchiveReader {
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let Decompressed { source, is_plain } = open_archive(path)?;
        let path = path.to_path_buf();
        Ok(Self::new(
            source,
            if is_plain {
                Origin::Plain(path)
            } else {
                Origin::Compressed(path)
            },
        ))
    }

    /// Creates a reader of a stream, compressed or not.
    pub(crate) fn from_stream(source: impl Read + Send + 'static) -> io::Result<Self> {
        Ok(Self::new(decompress(source)?.source, Origin::Stream))
    }

    fn new(source: Source, origin: Origin) -> Self {
        Self {
            tar: TarReader::new(source),
            origin,
            current: None,
            loaded: None,
            index: MemberIndex::default(),
            ahead: None,
            second: None,
            restarts: 0,
            kept: KeptContents::default(),
        }
    }

    /// Advances to the next file; the rest of the current one is skipped.
    pub(crate) fn next(&mut self) -> io::Result<Option<Entry>> {
        // A member becomes a target after itself: a link may have the name of its target.
        if let Some(member) = self.current.take() {
            self.index.add(&member);
        }
        self.loaded = None;
        let Some(member) = self.tar.next()? else {
            return Ok(None);
        };
        let special = match member.kind {
            MemberKind::Special(kind) => Some(kind),
            _ => None,
        };
        let name = member.name.clone();
        self.current = Some(member);
        Ok(Some(Entry { name, special }))
    }

    /// Returns the volume labels that were passed since the last call.
    pub(crate) fn take_labels(&mut self) -> Vec<String> {
        self.tar.take_labels()
    }

    /// Reads the contents of the current file; reads nothing if they exceed `limit` bytes.
    pub(crate) fn read(&mut self, limit: u64) -> io::Result<Content> {
        if let Some((content, start)) = self.loaded.take() {
            return Ok(match content {
                Content::Bytes(bytes) if bytes.len() as u64 > limit => {
                    Content::TooLarge(bytes.len() as u64)
                }
                Content::Bytes(mut bytes) => Content::Bytes(bytes.split_off(start)),
                other => other,
            });
        }
        let Some(member) = &self.current else {
            return Ok(Content::Unavailable("no member".to_owned()));
        };
        match member.kind {
            MemberKind::File | MemberKind::SparseFile => {
                let content = self.tar.read(limit)?;
                if let (Origin::Stream, Content::Bytes(bytes)) = (&self.origin, &content) {
                    self.kept.add(member.start, bytes);
                }
                Ok(content)
            }
            MemberKind::Special(kind) => Ok(Content::Unavailable(kind.to_string())),
            MemberKind::HardLink(_) | MemberKind::SymbolicLink(_) => Ok(self.read_link(limit)),
        }
    }

    /// Reads at most the first `length` bytes of the current file; [`read`](Self::read) returns the
    /// rest. Returns nothing if the contents cannot be read or exceed `limit`.
    pub(crate) fn read_start(&mut self, length: usize, limit: u64) -> io::Result<Vec<u8>> {
        if let Some(Member {
            kind: MemberKind::File,
            ..
        }) = self.current
            && !matches!(self.origin, Origin::Stream)
        {
            return self.tar.read_start(length);
        }
        let content = self.read(limit)?;
        let start = match &content {
            Content::Bytes(bytes) => bytes[..length.min(bytes.len())].to_vec(),
            _ => Vec::new(),
        };
        self.loaded = Some((content, start.len()));
        Ok(start)
    }

    /// Reads the contents of the target of the current link.
    fn read_link(&mut self, limit: u64) -> Content {
        let Some(link) = self.current.take() else {
            return Content::Unavailable("no member".to_owned());
        };
        let (what, target) = match &link.kind {
            MemberKind::SymbolicLink(target) => ("symbolic link", target),
            MemberKind::HardLink(target) => ("hard link", target),
            _ => ("link", &link.name),
        };
        let problem = |problem: &str| {
            Content::Unavailable(format!("{what} to `{}`, which {problem}", shown(target)))
        };
        let content = match self.follow(&link, limit) {
            Ok(content) => {
                // Further links may lead over this one.
                if let (Origin::Stream, Content::Bytes(bytes)) = (&self.origin, &content) {
                    self.kept.add(link.start, bytes);
                }
                content
            }
            Err(LinkError::Outside) => problem("leads out of the archive"),
            Err(LinkError::Missing) => problem("is no file in the archive"),
            Err(LinkError::Circular) => problem("leads over too many links"),
            Err(LinkError::Special(kind)) => problem(&format!("is a {kind}")),
            Err(LinkError::NotKept) => problem(
                "is not at hand: the archive is a stream, and only the last files before a link are kept",
            ),
            Err(LinkError::TooManyRestarts) => problem(
                "was not read: the links need the compressed archive to be read too many times",
            ),
            Err(LinkError::Io(error)) => problem(&format!("cannot be read ({error})")),
        };
        self.current = Some(link);
        content
    }

    fn follow(&mut self, link: &Member, limit: u64) -> Result<Content, LinkError> {
        let (mut name, mut kind) = (link.name.clone(), link.kind.clone());
        for _ in 0..MAX_HOPS {
            let path = match &kind {
                MemberKind::HardLink(target) => normalized(b"", target),
                MemberKind::SymbolicLink(target) if target.starts_with(b"/") => None,
                MemberKind::SymbolicLink(target) => normalized(directory(&name), target),
                _ => None,
            };
            let path = path.ok_or(LinkError::Outside)?;
            let position = self.position(&path, link.start)?;
            if let Some(bytes) = self.kept.get(position) {
                return Ok(if bytes.len() as u64 > limit {
                    Content::TooLarge(bytes.len() as u64)
                } else {
                    Content::Bytes(bytes.to_vec())
                });
            }
            let mut reader = self.reader_at(position)?;
            let member = reader.next().map_err(LinkError::Io)?;
            let member = member.filter(|member| member.start == position);
            let member = member.ok_or(LinkError::Missing)?;
            if normalized(b"", &member.name).as_deref() != Some(&path) {
                return Err(LinkError::Missing);
            }
            match &member.kind {
                MemberKind::Special(kind) => return Err(LinkError::Special(*kind)),
                MemberKind::HardLink(_) | MemberKind::SymbolicLink(_) => {}
                MemberKind::File | MemberKind::SparseFile => {
                    let content = reader.read(limit).map_err(LinkError::Io)?;
                    if let (Origin::Compressed(_), Content::Bytes(bytes)) = (&self.origin, &content)
                    {
                        self.kept.add(position, bytes);
                    }
                    self.second = Some(reader);
                    return Ok(content);
                }
            }
            self.second = Some(reader);
            (name, kind) = (member.name, member.kind);
        }
        Err(LinkError::Circular)
    }

    /// Returns the position of the member with a normalized path: the last one before the link, or
    /// else one after it.
    fn position(&mut self, path: &[u8], link: u64) -> Result<u64, LinkError> {
        if let Some(position) = self.index.get(path) {
            return Ok(position);
        }
        if matches!(self.origin, Origin::Stream) {
            return Err(LinkError::NotKept);
        }
        if self.ahead.is_none() {
            let mut index = MemberIndex::default();
            let mut reader = self.reader_at(link)?;
            // Damage ends the search; it is reported when the archive is read up to it.
            while let Ok(Some(member)) = reader.next() {
                index.add(&member);
            }
            self.ahead = Some(index);
        }
        let position = self.ahead.as_ref().and_then(|index| index.get(path));
        position.ok_or(LinkError::Missing)
    }

    /// Opens the archive again at a position.
    fn reader_at(&mut self, position: u64) -> Result<TarReader<Source>, LinkError> {
        match &self.origin {
            Origin::Stream => Err(LinkError::NotKept),
            Origin::Plain(path) => {
                let mut file = File::open(path).map_err(LinkError::Io)?;
                file.seek(SeekFrom::Start(position))
                    .map_err(LinkError::Io)?;
                let source = Box::new(BufReader::with_capacity(BUFFER, file));
                Ok(TarReader::starting_at(source, position))
            }
            Origin::Compressed(path) => {
                let reader = self.second.take();
                let mut reader = match reader.filter(|reader| reader.position() <= position) {
                    Some(reader) => reader,
                    None if self.restarts >= MAX_RESTARTS => {
                        return Err(LinkError::TooManyRestarts);
                    }
                    None => {
                        self.restarts += 1;
                        TarReader::new(open_archive(path).map_err(LinkError::Io)?.source)
                    }
                };
                reader.skip_to(position).map_err(LinkError::Io)?;
                Ok(reader)
            }
        }
    }
}

/// Why a link has no contents.
enum LinkError {
    Outside,
    Missing,
    Circular,
    Special(SpecialKind),
    NotKept,
    TooManyRestarts,
    Io(io::Error),
}

/// Positions of members by the hash of their normalized paths. A reader compares the path itself.
#[derive(Default)]
struct MemberIndex {
    positions: HashMap<u64, u64>,
    hasher: RandomState,
}

impl MemberIndex {
    /// Adds a member; one of the same path replaces an earlier one, as when it is unpacked.
    fn add(&mut self, member: &Member) {
        if self.positions.len() < MAX_INDEXED
            && let Some(path) = normalized(b"", &member.name)
        {
            self.positions
                .insert(self.hasher.hash_one(path), member.start);
        }
    }

    fn get(&self, path: &[u8]) -> Option<u64> {
        self.positions.get(&self.hasher.hash_one(path)).copied()
    }
}

/// The last contents that were read, by the positions of their members, up to [`MAX_KEPT`] bytes.
#[derive(Default)]
struct KeptContents {
    contents: HashMap<u64, Vec<u8>>,
    /// Positions, the oldest first.
    order: VecDeque<u64>,
    bytes: usize,
}

impl KeptContents {
    fn add(&mut self, position: u64, bytes: &[u8]) {
        if bytes.len() > MAX_KEPT || self.contents.contains_key(&position) {
            return;
        }
        while self.bytes + bytes.len() > MAX_KEPT
            && let Some(oldest) = self.order.pop_front()
        {
            self.bytes -= self.contents.remove(&oldest).map_or(0, |bytes| bytes.len());
        }
        self.bytes += bytes.len();
        self.order.push_back(position);
        self.contents.insert(position, bytes.to_vec());
    }

    fn get(&self, position: u64) -> Option<&[u8]> {
        self.contents.get(&position).map(Vec::as_slice)
    }
}
