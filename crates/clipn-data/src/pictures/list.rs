use std::io::{self, BufRead, Read};
use std::path::PathBuf;

use crate::list::path_of;

/// The most bytes of one path in a list.
const MAX_PATH: u64 = 64 << 10;

/// What stands between the paths of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ListSeparator {
    /// The end of a line; blank lines are skipped, and a carriage return before it is left away.
    Line,
    /// A zero byte, as `find -print0` writes them.
    Nul,
}

/// The paths of a list, one after the other.
#[derive(Debug)]
pub struct PathList<R> {
    source: R,
    separator: ListSeparator,
    place: u64,
    failed: bool,
}

impl<R: BufRead> PathList<R> {
    /// Reads paths from `source`.
    pub fn new(source: R, separator: ListSeparator) -> Self {
        Self {
            source,
            separator,
            place: 0,
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
            self.place += 1;
            if bytes.last() == Some(&end) {
                bytes.pop();
            } else if bytes.len() as u64 > MAX_PATH {
                return Err(self.wrong(&format!(
                    "it is longer than {MAX_PATH} bytes: is this a list of paths"
                )));
            }
            if self.separator == ListSeparator::Line {
                if bytes.last() == Some(&b'\r') {
                    bytes.pop();
                }
                if self.place == 1 && bytes.starts_with(b"\xef\xbb\xbf") {
                    bytes.drain(..3);
                }
                if bytes.contains(&0) {
                    return Err(
                        self.wrong("it holds a zero byte: say so if zero bytes end the paths")
                    );
                }
            }
            if !bytes.is_empty() {
                return path_of(&bytes)
                    .map(Some)
                    .map_err(|problem| self.wrong(&problem));
            }
        }
    }

    fn wrong(&self, problem: &str) -> io::Error {
        io::Error::new(
            io::ErrorKind::InvalidData,
            format!("path number {}: {problem}", self.place),
        )
    }
}

impl<R: BufRead> Iterator for PathList<R> {
    type Item = io::Result<PathBuf>;

    /// The next path; after an error there is nothing more.
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
    fn lines_and_zero_bytes_end_paths() {
        assert_eq!(
            paths(b"\xef\xbb\xbfa b.jpg\r\n\n c\nd", ListSeparator::Line),
            ["a b.jpg", " c", "d"]
        );
        assert_eq!(paths(b"a\nb\0c\0", ListSeparator::Nul), ["a\nb", "c"]);
        assert!(paths(b"", ListSeparator::Line).is_empty());
    }

    #[test]
    fn what_is_no_list_ends_it() {
        let long = vec![b'x'; 1 << 20];
        assert!(paths(&long, ListSeparator::Line)[0].contains("path number 1: it is longer"));
        assert_eq!(paths(b"a\nb\0c\nd\n", ListSeparator::Line).len(), 2);
    }

    proptest! {
        #[test]
        fn what_was_joined_comes_apart(names in proptest::collection::vec("[^\0\r\n\u{feff}]{1,20}", 0..20)) {
            let lines: String = names.iter().map(|name| format!("{name}\n")).collect();
            prop_assert_eq!(&paths(lines.as_bytes(), ListSeparator::Line), &names);
            let joined = names.join("\0");
            prop_assert_eq!(&paths(joined.as_bytes(), ListSeparator::Nul), &names);
        }

        #[test]
        fn no_bytes_make_it_run_on(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            prop_assert!(paths(&bytes, ListSeparator::Line).len() <= bytes.len());
            prop_assert!(paths(&bytes, ListSeparator::Nul).len() <= bytes.len());
        }
    }
}
