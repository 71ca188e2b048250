//! Reading the small text files that lists are kept in.
use std::fs::File;
use std::io::Read;
use std::path::Path;

use super::PromptError;

/// The most that is read of a file; a million class names fit.
const LARGEST: u64 = 64 << 20;

/// The text of a file, which must be UTF-8; a byte order mark is left out.
pub(super) fn read_text(path: &Path) -> Result<String, PromptError> {
    let unreadable = |source| PromptError::Unreadable {
        path: path.to_owned(),
        source,
    };
    let file = File::open(path).map_err(unreadable)?;
    let mut bytes = Vec::new();
    file.take(LARGEST + 1)
        .read_to_end(&mut bytes)
        .map_err(unreadable)?;
    if bytes.len() as u64 > LARGEST {
        return Err(PromptError::TooLarge {
            path: path.to_owned(),
            limit: LARGEST,
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

/// Whether the path's extension is this one, in any case.
pub(super) fn has_extension(path: &Path, extension: &str) -> bool {
    path.extension()
        .is_some_and(|found| found.eq_ignore_ascii_case(extension))
}
