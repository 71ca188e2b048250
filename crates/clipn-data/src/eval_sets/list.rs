use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use clipn_base::content::ContentKind;

use crate::error::DatasetError;
use crate::eval_sets::archive::LabelUse;
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

/// Reads an image list in OpenOOD's form: the path is what precedes the first space, so that it cannot contain
/// spaces, and after it is an integer or a dictionary. Labels that are ignored may be missing.
///
/// # Errors
/// Same as [`read_image_list`], and [`DatasetError::ListLine`] for an absolute path, as in OpenOOD.
pub(super) fn read_openood_list(
    name: &str,
    list: &Path,
    root: &Path,
    labels: LabelUse,
) -> Result<ImageSet, DatasetError> {
    read_list(name, list, root, |line| {
        let space = line.iter().position(|&byte| byte == b' ');
        let (path, rest) = line.split_at(space.unwrap_or(line.len()));
        if path.starts_with(b"/") {
            return Err(
                "absolute path; expected a path relative to the directory of images".to_string(),
            );
        }
        let label = match labels {
            LabelUse::Ignored => None,
            LabelUse::Required { classes } => {
                if space.is_none() {
                    return Err(NO_LABEL.to_string());
                }
                openood_label(&String::from_utf8_lossy(rest.trim_ascii()), classes)?
            }
        };
        Ok((path_from_bytes(path)?, label))
    })
}

/// Parses what follows the path: an integer, or a dictionary with the key `label`.
fn openood_label(text: &str, classes: Option<usize>) -> Result<Option<usize>, String> {
    if !text.starts_with('{') {
        return checked_label(text, classes);
    }
    match label_in_dictionary(text) {
        Some(label) => checked_label(label, classes),
        None => Err(format!("no `label` in the dictionary {text}")),
    }
}

/// Returns the value under `'label'` of a dictionary in Python's notation, outside of nested values and
/// strings.
fn label_in_dictionary(text: &str) -> Option<&str> {
    let inner = text.strip_prefix('{')?.strip_suffix('}')?;
    let (mut depth, mut quote, mut is_escaped, mut start) = (0_usize, None, false, 0);
    let mut items = Vec::new();
    for (index, c) in inner.char_indices() {
        match (quote, c) {
            (Some(_), _) if is_escaped => is_escaped = false,
            (Some(_), '\\') => is_escaped = true,
            (Some(open), c) if c == open => quote = None,
            (Some(_), _) => {}
            (None, '\'' | '"') => quote = Some(c),
            (None, '{' | '[' | '(') => depth += 1,
            (None, '}' | ']' | ')') => depth = depth.checked_sub(1)?,
            (None, ',') if depth == 0 => {
                items.push(&inner[start..index]);
                start = index + 1;
            }
            (None, _) => {}
        }
    }
    items.push(&inner[start..]);
    items.into_iter().find_map(|item| {
        let (key, value) = item.split_once(':')?;
        let key = key.trim();
        (key == "'label'" || key == "\"label\"").then(|| value.trim())
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
    Ok((path, checked_label(&field, classes)?))
}

/// Parses a label; -1 means none.
fn checked_label(field: &str, classes: Option<usize>) -> Result<Option<usize>, String> {
    let label: i64 = field.parse().map_err(|_| {
        // The end of a path with spaces.
        if is_image_name(OsStr::new(field)) {
            return NO_LABEL.to_string();
        }
        format!("label `{field}` is not an integer; expected `path label`, with label -1 for none")
    })?;
    if label == -1 {
        return Ok(None);
    }
    let label = usize::try_from(label)
        .map_err(|_| format!("negative label {label}; expected 0 or more, or -1 for none"))?;
    match classes {
        Some(classes) if label >= classes => Err(format!(
            "label {label} is out of range for {classes} class names"
        )),
        _ => Ok(Some(label)),
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

    #[test]
    fn a_label_may_be_in_a_dictionary_after_the_first_space() {
        let label = |text: &str| openood_label(text, Some(10));
        assert_eq!(label("3"), Ok(Some(3)));
        assert_eq!(label("-1"), Ok(None));
        assert_eq!(label("{'label': 3, 'scale': [1, 2]}"), Ok(Some(3)));
        assert_eq!(
            label(r#"{"a": "x, 'label': 1", "b": {'label': 2}, "label": -1}"#),
            Ok(None)
        );
        assert_eq!(label(r"{'it\'s': 'a', 'label':4}"), Ok(Some(4)));
        assert!(label("{'scale': 1}").unwrap_err().contains("no `label`"));
        assert!(
            label("{'label': 10}")
                .unwrap_err()
                .contains("10 class names")
        );
        assert!(
            label("3 4")
                .unwrap_err()
                .contains("`3 4` is not an integer")
        );
        assert!(label("{'label': 3").unwrap_err().contains("no `label`"));
    }
}
