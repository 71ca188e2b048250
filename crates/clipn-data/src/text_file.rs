use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use crate::error::DatasetError;

/// Reads a text file of at most `limit` bytes and strips a byte order mark.
pub(crate) fn read_limited(path: &Path, limit: u64) -> Result<Vec<u8>, DatasetError> {
    let unreadable = |source| DatasetError::io(path, source);
    let metadata = std::fs::metadata(path).map_err(unreadable)?;
    if !metadata.is_file() {
        let source = std::io::Error::other("not a regular file");
        return Err(DatasetError::Io {
            path: path.to_path_buf(),
            source,
        });
    }
    if metadata.len() > limit {
        return Err(DatasetError::TooLarge {
            path: path.to_path_buf(),
            size: metadata.len(),
            limit,
        });
    }
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(limit).read_to_end(&mut bytes))
        .map_err(unreadable)?;
    if bytes.starts_with(b"\xef\xbb\xbf") {
        bytes.drain(..3);
    }
    Ok(bytes)
}

/// Converts the bytes of a line to a path; outside of Unix, they must be UTF-8.
#[cfg(unix)]
pub(crate) fn path_from_bytes(bytes: &[u8]) -> Result<PathBuf, String> {
    use std::os::unix::ffi::OsStrExt;
    Ok(PathBuf::from(std::ffi::OsStr::from_bytes(bytes)))
}

#[cfg(not(unix))]
pub(crate) fn path_from_bytes(bytes: &[u8]) -> Result<PathBuf, String> {
    let text = std::str::from_utf8(bytes).map_err(|_| "the path is not UTF-8".to_string())?;
    Ok(PathBuf::from(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rejects_large_files_and_directories() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("list.txt");
        std::fs::write(&file, b"\xef\xbb\xbfabc").unwrap();
        assert_eq!(read_limited(&file, 6).unwrap(), b"abc");
        assert!(matches!(
            read_limited(&file, 5),
            Err(DatasetError::TooLarge {
                size: 6,
                limit: 5,
                ..
            })
        ));
        assert!(matches!(
            read_limited(directory.path(), 5),
            Err(DatasetError::Io { .. })
        ));
    }
}
