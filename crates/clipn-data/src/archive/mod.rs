//! Tar archives as tar programs write them, plain or compressed with gzip or zstd, read as streams.
//! Sizes in headers are not trusted.
//!
//! [`TarReader`](tar_reader) reads one member after the other, sparse files of all forms among them;
//! [`ArchiveReader`] adds what needs a second look: the targets of hard and symbolic links.

mod check;
mod compression;
mod header;
mod member;
mod pax;
mod reader;
mod sparse;
mod tar_reader;
#[cfg(test)]
mod tests;

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};

pub(crate) use check::{EndsCheck, check_ends};
pub(crate) use reader::ArchiveReader;
pub(crate) use tar_reader::Content;

/// Extensions of archives.
pub(crate) const ARCHIVE_EXTENSIONS: [&str; 5] = [".tar", ".tar.gz", ".tgz", ".tar.zst", ".tzst"];

/// Returns whether a name has the extension of a tar archive: `.tar`, `.tar.gz`, `.tgz`, `.tar.zst`
/// or `.tzst`.
pub fn is_archive_name(name: &str) -> bool {
    let name = name.to_lowercase();
    ARCHIVE_EXTENSIONS
        .iter()
        .any(|extension| name.ends_with(extension))
}

/// Calls `read` and turns a panic into an error. Decompressors are third-party code that reads
/// untrusted bytes: a bug triggered by one shard must not end a run.
pub(crate) fn catch_panic<T>(
    read: impl FnOnce() -> Option<io::Result<T>>,
) -> Option<io::Result<T>> {
    catch_unwind(AssertUnwindSafe(read))
        .unwrap_or_else(|_| Some(Err(io::Error::other("internal error of the decompressor"))))
}

#[cfg(test)]
mod name_tests {
    use super::*;

    #[test]
    fn recognizes_archives_by_extension() {
        for name in [
            "a.tar",
            "b/A.TAR.GZ",
            "c.tgz",
            "https://h/x.tar.zst",
            "d.tzst",
        ] {
            assert!(is_archive_name(name), "{name}");
        }
        for name in ["a.jpg", "tar", "a.tar.jpg", "a.gz"] {
            assert!(!is_archive_name(name), "{name}");
        }
    }
}
