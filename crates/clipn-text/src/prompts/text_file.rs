//! Reads the text files that contain lists of templates or names.
use std::borrow::Cow;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use clipn_base::content::ContentKind;

use super::PromptError;

/// Maximum file size in bytes, enough for a million class names.
const MAX_FILE_SIZE: u64 = 64 << 20;

/// Reads a UTF-8 file without its byte order mark, with `\n` as the end of each line.
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
    let kind = foreign_kind(&bytes);
    let checked = if bytes.len() as u64 > MAX_FILE_SIZE {
        Err(PromptError::TooLarge {
            path: path.to_owned(),
            limit: MAX_FILE_SIZE,
        })
    } else {
        String::from_utf8(bytes).map_err(|e| PromptError::NotUtf8 {
            path: path.to_owned(),
            offset: e.utf8_error().valid_up_to(),
        })
    };
    let text = match (checked, kind) {
        // Text may begin like another format, as `P6 sedan` like a PNM image, but has no zeros.
        (Ok(text), None) => text,
        (Ok(text), Some(_)) if !text.contains('\0') => text,
        (_, Some(kind)) => {
            return Err(PromptError::NotText {
                path: path.to_owned(),
                kind,
            });
        }
        (Err(error), None) => return Err(error),
    };
    let without_mark = text.strip_prefix('\u{FEFF}').unwrap_or(&text);
    Ok(unix_line_ends(without_mark).into_owned())
}

/// Kind of data that is no UTF-8 text by its first bytes, if it is known.
fn foreign_kind(bytes: &[u8]) -> Option<ContentKind> {
    let text = [
        ContentKind::Text,
        ContentKind::Json,
        ContentKind::Html,
        ContentKind::Xml,
        ContentKind::Svg,
        ContentKind::GitLfsPointer,
        ContentKind::Empty,
    ];
    ContentKind::other_than(bytes, &text)
}

/// Replaces the line ends `\r\n` and `\r`, as of old Macs, with `\n`.
pub(super) fn unix_line_ends(text: &str) -> Cow<'_, str> {
    if !text.contains('\r') {
        return text.into();
    }
    let mut unix = String::with_capacity(text.len());
    for line in text.split_inclusive('\n') {
        match line.strip_suffix('\n') {
            // `\r\r\n` is one end, as of a file that was converted twice.
            Some(line) => {
                unix.push_str(&line.trim_end_matches('\r').replace('\r', "\n"));
                unix.push('\n');
            }
            None => unix.push_str(&line.replace('\r', "\n")),
        }
    }
    unix.into()
}

/// Whether the path has the extension, ignoring ASCII case.
pub(super) fn has_extension(path: &Path, extension: &str) -> bool {
    path.extension()
        .is_some_and(|actual| actual.eq_ignore_ascii_case(extension))
}
