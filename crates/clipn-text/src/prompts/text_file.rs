//! Reads the text files that contain lists of templates or names.
use std::fs::File;
use std::io::Read;
use std::path::Path;

use super::PromptError;

/// Maximum file size in bytes, enough for a million class names.
const MAX_FILE_SIZE: u64 = 64 << 20;

/// Reads a UTF-8 file without its byte order mark.
pub(super) fn read_text(path: &Path) -> Result<String, PromptError> {
    let read_error = |source| PromptError::Read {
        path: path.to_owned(),
        source,
    };
    let file = File::open(path).map_err(read_error)?;
    let mut bytes = Vec::new();
    file.take(MAX_FILE_SIZE + 1)
        .read_to_end(&mut bytes)
        .map_err(read_error)?;
    if bytes.len() as u64 > MAX_FILE_SIZE {
        return Err(PromptError::TooLarge {
            path: path.to_owned(),
            limit: MAX_FILE_SIZE,
        });
    }
    let mut text = String::from_utf8(bytes).map_err(|e| PromptError::NotUtf8 {
        path: path.to_owned(),
        offset: e.utf8_error().valid_up_to(),
    })?;
    if text.starts_with('\u{FEFF}') {
        text.drain(..'\u{FEFF}'.len_utf8());
    }
    Ok(text)
}

/// Whether the path has the extension, ignoring ASCII case.
pub(super) fn has_extension(path: &Path, extension: &str) -> bool {
    path.extension()
        .is_some_and(|actual| actual.eq_ignore_ascii_case(extension))
}
