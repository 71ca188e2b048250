use std::io::{self, BufRead, Read};
use std::path::PathBuf;

use crate::text_file::path_from_bytes;

/// Maximum length of a path in bytes.
const MAX_PATH: u64 = 64 << 10;

/// Separator of the paths in a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ListSeparator {
    /// A line feed; a carriage return before it is stripped, and blank lines are skipped.
    Line,
    /// A zero byte, as written by `find -print0`.
    Nul,
}

/// Iterator over the paths of a list.
///
/// ```
/// use clipn_data::{ListSeparator, PathList};
///
/// let paths = PathList::new(&b"a.jpg\nb c.jpg\n"[..], ListSeparator::Line);
/// assert_eq!(paths.collect::<Result<Vec<_>, _>>()?.len(), 2);
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct PathList<R> {
    source: R,
    separator: ListSeparator,
    index: u64,
    failed: bool,
}

impl<R: BufRead> PathList<R> {
    /// Creates an iterator over the paths in `source`.
    pub fn new(source: R, separator: ListSeparator) -> Self {
        Self {
            source,
            separator,
            index: 0,
            failed: false,
        }
    }

    fn read(&mut self) -> io::Result<Option<PathBuf>> {
        let end = match self.separator {
            ListSeparator::Line => b'\n',
            ListSeparator::Nul => 0,
        };
        loop {
            let mut bytes = Vec::new();
            (&mut self.source)
                .take(MAX_PATH + 1)
                .read_until(end, &mut bytes)?;
            if bytes.is_empty() {
                return Ok(None);
            }
            self.index += 1;
            if bytes.last() == Some(&end) {
                bytes.pop();
            } else if bytes.len() as u64 > MAX_PATH {
                return Err(self.invalid(&format!("longer than {MAX_PATH} bytes")));
            }
            if self.separator == ListSeparator::Line {
                if bytes.last() == Some(&b'\r') {
                    bytes.pop();
                }
                if self.index == 1 && bytes.starts_with(b"\xef\xbb\xbf") {
                    bytes.drain(..3);
                }
                if bytes.contains(&0) {
                    return Err(
                        self.invalid("contains a zero byte, but line feeds separate the paths")
                    );
                }
            }
            if !bytes.is_empty() {
                return path_from_bytes(&bytes)
                    .map(Some)
                    .map_err(|problem| self.invalid(&problem));
            }
        }
    }

    fn invalid(&self, problem: &str) -> io::Error {
        io::Error::new(
            io::ErrorKind::InvalidData,
            format!("path {}: {problem}", self.index),
        )
    }
}

impl<R: BufRead> Iterator for PathList<R> {
    type Item = io::Result<PathBuf>;

    /// Returns the next path; an error ends the iteration.
    fn next(&mut self) -> Option<io::Result<PathBuf>> {
        if self.failed {
            return None;
        }
        let next = self.read().transpose();
        self.failed = matches!(next, Some(Err(_)));
        next
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn paths(bytes: &[u8], separator: ListSeparator) -> Vec<String> {
        PathList::new(bytes, separator)
            .map(|path| {
                path.map_or_else(|e| format!("error: {e}"), |path| path.display().to_string())
            })
            .collect()
    }

    #[test]
    fn paths_end_at_line_feeds_or_zero_bytes() {
        assert_eq!(
            paths(b"\xef\xbb\xbfa b.jpg\r\n\n c\nd", ListSeparator::Line),
            ["a b.jpg", " c", "d"]
        );
        assert_eq!(paths(b"a\nb\0c\0", ListSeparator::Nul), ["a\nb", "c"]);
        assert!(paths(b"", ListSeparator::Line).is_empty());
    }

    #[test]
    fn a_malformed_path_ends_the_list() {
        let long = vec![b'x'; 1 << 20];
        assert!(paths(&long, ListSeparator::Line)[0].contains("path 1: longer"));
        assert_eq!(paths(b"a\nb\0c\nd\n", ListSeparator::Line).len(), 2);
    }

    proptest! {
        #[test]
        fn splits_joined_paths(names in proptest::collection::vec("[^\0\r\n\u{feff}]{1,20}", 0..20)) {
            let lines: String = names.iter().map(|name| format!("{name}\n")).collect();
            prop_assert_eq!(&paths(lines.as_bytes(), ListSeparator::Line), &names);
            let joined = names.join("\0");
            prop_assert_eq!(&paths(joined.as_bytes(), ListSeparator::Nul), &names);
        }

        #[test]
        fn iteration_ends_for_any_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            prop_assert!(paths(&bytes, ListSeparator::Line).len() <= bytes.len());
            prop_assert!(paths(&bytes, ListSeparator::Nul).len() <= bytes.len());
        }
    }
}
