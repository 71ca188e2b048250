//! Members of tar archives that are no directories.

use std::fmt;

/// Maximum number of characters of a name in a message.
const MAX_SHOWN: usize = 120;

/// A member of an archive.
#[derive(Debug)]
pub(super) struct Member {
    /// Path in the archive, as bytes.
    pub(super) name: Vec<u8>,
    pub(super) kind: MemberKind,
    /// Position of its first header in the archive.
    pub(super) start: u64,
}

/// Kind of a member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum MemberKind {
    /// A regular file.
    File,
    /// A regular file that is stored without its holes.
    SparseFile,
    /// Another name of the member with this path.
    HardLink(Vec<u8>),
    /// A link to this path, relative to the directory of the link.
    SymbolicLink(Vec<u8>),
    /// Anything without contents of its own.
    Special(SpecialKind),
}

/// Kind of a member without contents that can be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SpecialKind {
    NamedPipe,
    Device,
    /// The continuation of a file in another volume of a multi-volume archive.
    VolumePiece,
    /// A sparse file whose map is malformed.
    DamagedSparse,
    /// A type that neither POSIX nor GNU tar defines.
    Unknown(u8),
}

/// A noun phrase: `named pipe`.
impl fmt::Display for SpecialKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NamedPipe => f.write_str("named pipe"),
            Self::Device => f.write_str("device"),
            Self::VolumePiece => f.write_str("piece of a file that begins in another volume"),
            Self::DamagedSparse => f.write_str("sparse file with an invalid map"),
            Self::Unknown(kind) => write!(f, "member of unknown type `{}`", kind.escape_ascii()),
        }
    }
}

/// A path for a message, shortened.
pub(super) fn shown(path: &[u8]) -> String {
    let text = String::from_utf8_lossy(path);
    match text.char_indices().nth(MAX_SHOWN) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.into_owned(),
    }
}

/// Returns the path without `.`, `..` and empty parts, and without a slash at the start, as tar
/// programs unpack it; `None` if it leads out of the archive. `directory` is that of a link.
pub(super) fn normalized(directory: &[u8], path: &[u8]) -> Option<Vec<u8>> {
    let mut parts: Vec<&[u8]> = Vec::new();
    let both = directory.split(is_slash).chain(path.split(is_slash));
    for part in both {
        match part {
            b"" | b"." => {}
            b".." => {
                parts.pop()?;
            }
            part => parts.push(part),
        }
    }
    Some(parts.join(&b'/'))
}

fn is_slash(byte: &u8) -> bool {
    *byte == b'/'
}

/// Directory of a path; empty for a name without one.
pub(super) fn directory(path: &[u8]) -> &[u8] {
    let end = path.iter().rposition(is_slash).unwrap_or(0);
    &path[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_resolved_inside_the_archive() {
        for (directory, path, expected) in [
            ("", "./a//b.jpg", Some("a/b.jpg")),
            ("", "/a.jpg", Some("a.jpg")),
            ("d/e", "../b.jpg", Some("d/b.jpg")),
            ("./d", "e/./b.jpg", Some("d/e/b.jpg")),
            ("d", "../../b.jpg", None),
            ("", "..", None),
        ] {
            let found = normalized(directory.as_bytes(), path.as_bytes());
            assert_eq!(
                found.as_deref(),
                expected.map(str::as_bytes),
                "{directory} {path}"
            );
        }
        assert_eq!(directory(b"a/b/c.jpg"), b"a/b");
        assert_eq!(directory(b"c.jpg"), b"");
    }
}
