use std::fs::File;
use std::io::Read;
use std::path::Path;

use super::DatasetError;

/// Reads a text file of at most `limit` bytes and strips a byte order mark.
pub(super) fn read_limited(path: &Path, limit: u64) -> Result<Vec<u8>, DatasetError> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rejects_large_files_and_directories() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("list.txt");
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
            read_limited(folder.path(), 5),
            Err(DatasetError::Io { .. })
        ));
    }
}
