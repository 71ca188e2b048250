use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use clipn_base::content::ContentKind;

use crate::error::DatasetError;
use crate::eval_sets::{ImageSet, LabeledImage};
use crate::image_name::is_image_name;
use crate::text_file::{path_from_bytes, read_limited};

/// Number of bytes at the beginning that are checked to be text.
const MAX_PROBED: usize = 8 << 10;

/// Problem of a line without a label.
const NO_LABEL: &str = "missing label; expected `path label`, with label -1 for none";

/// Maximum size of an image list in bytes, about five million lines.
const MAX_BYTES: u64 = 512 << 20;

/// Reads an image list in OpenOOD's format, with `path label` on each line. The label follows the
/// last space, so paths may contain spaces. Paths are relative to `root`, label -1 means none, and
/// blank lines are skipped. A missing image is detected only when it is decoded.
///
/// `classes` is the number of class names, if known; labels must be smaller.
///
/// # Errors
/// [`DatasetError::ListLine`] for a malformed line, [`DatasetError::EmptyList`] if there are no
/// images, or an I/O error.
pub fn read_image_list(
    name: &str,
    list: impl AsRef<Path>,
    root: impl AsRef<Path>,
    classes: Option<usize>,
) -> Result<ImageSet, DatasetError> {
    read_list(name, list.as_ref(), root.as_ref(), |line| {
        parse_line(line, classes)
    })
}

/// Reads an image list whose labels are not used: each line is a path, or `path label` as in
/// [`read_image_list`]. A trailing integer is a label if it follows the name of an image, or unless
/// the whole line is the path of a file.
///
/// # Errors
/// Same as [`read_image_list`].
pub fn read_path_list(
    name: &str,
    list: impl AsRef<Path>,
    root: impl AsRef<Path>,
) -> Result<ImageSet, DatasetError> {
    let root = root.as_ref();
    read_list(name, list.as_ref(), root, |line| {
        Ok((parse_path(line, root)?, None))
    })
}

fn read_list(
    name: &str,
    list: &Path,
    root: &Path,
    parse: impl Fn(&[u8]) -> Result<(PathBuf, Option<usize>), String>,
) -> Result<ImageSet, DatasetError> {
    let bytes = read_limited(list, MAX_BYTES)?;
    let other = ContentKind::other_than(&bytes, &[ContentKind::Text, ContentKind::Empty]);
    let has_zeros = || bytes.iter().take(MAX_PROBED).any(|&byte| byte == 0);
    if let Some(kind) = other.or_else(|| has_zeros().then_some(ContentKind::Unknown)) {
        return Err(DatasetError::ListLine {
            path: list.to_path_buf(),
            line: 1,
            problem: format!("expected a list of images, got {kind}"),
        });
    }
    let mut samples = Vec::new();
    for (index, line) in bytes.split(|&byte| byte == b'\n').enumerate() {
        let line = line.trim_ascii();
        if line.is_empty() {
            continue;
        }
        let (path, label) = parse(line).map_err(|problem| DatasetError::ListLine {
            path: list.to_path_buf(),
            line: index + 1,
            problem,
        })?;
        samples.push(LabeledImage {
            path: root.join(path),
            label,
        });
    }
    if samples.is_empty() {
        return Err(DatasetError::EmptyList {
            path: list.to_path_buf(),
        });
    }
    Ok(ImageSet {
        name: name.to_string(),
        root: root.to_path_buf(),
        samples,
        ..ImageSet::default()
    })
}

/// Returns the path of a line whose label, if there is one, is not used.
fn parse_path(line: &[u8], root: &Path) -> Result<PathBuf, String> {
    let whole = path_from_bytes(line)?;
    let Some(space) = line.iter().rposition(|byte| matches!(byte, b' ' | b'\t')) else {
        return Ok(whole);
    };
    let is_integer =
        str::from_utf8(&line[space + 1..]).is_ok_and(|field| field.parse::<i64>().is_ok());
    if !is_integer {
        return Ok(whole);
    }
    let path = path_from_bytes(line[..space].trim_ascii_end())?;
    let is_image = path.file_name().is_some_and(is_image_name);
    if is_image || !root.join(&whole).is_file() {
        return Ok(path);
    }
    Ok(whole)
}

/// Parses a line without surrounding whitespace.
fn parse_line(line: &[u8], classes: Option<usize>) -> Result<(PathBuf, Option<usize>), String> {
    let Some(space) = line.iter().rposition(|byte| matches!(byte, b' ' | b'\t')) else {
        return Err(NO_LABEL.to_string());
    };
    let path = path_from_bytes(line[..space].trim_ascii_end())?;
    let field = String::from_utf8_lossy(&line[space + 1..]);
    let label: i64 = field.parse().map_err(|_| {
        // The end of a path with spaces.
        if is_image_name(OsStr::new(&*field)) {
            return NO_LABEL.to_string();
        }
        format!("label `{field}` is not an integer; expected `path label`, with label -1 for none")
    })?;
    if label == -1 {
        return Ok((path, None));
    }
    let label = usize::try_from(label)
        .map_err(|_| format!("negative label {label}; expected 0 or more, or -1 for none"))?;
    match classes {
        Some(classes) if label >= classes => Err(format!(
            "label {label} is out of range for {classes} class names"
        )),
        _ => Ok((path, Some(label))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_field_is_the_label() {
        let parsed = |line: &str| parse_line(line.as_bytes(), Some(10));
        assert_eq!(
            parsed("a b/c d.jpg 3"),
            Ok((PathBuf::from("a b/c d.jpg"), Some(3)))
        );
        assert_eq!(parsed("a.jpg\t-1"), Ok((PathBuf::from("a.jpg"), None)));
        assert!(parsed("a.jpg").unwrap_err().contains("missing label"));
        assert!(parsed("a b.jpg").unwrap_err().contains("missing label"));
        assert!(
            parsed("a.jpg x")
                .unwrap_err()
                .contains("`x` is not an integer")
        );
        assert!(parsed("a.jpg -2").unwrap_err().contains("negative"));
        assert!(parsed("a.jpg 10").unwrap_err().contains("10 class names"));
        assert!(parsed("a.jpg 99999999999999999999").is_err());
    }
}
