//! Parsing of shard specifications.
use std::collections::HashSet;
use std::path::{Path, PathBuf};

use crate::archive::is_archive_name;
use crate::error::{DatasetError, first_few};
use crate::patterns::{matched_paths, unmatched_names};
use crate::training::error::TrainingDataError;

/// Maximum number of shards in a specification.
const MAX_SHARDS: usize = 1_000_000;

/// Expands a shard specification, in the order written. It is a list of paths separated by commas
/// or `::`. Each path may have brace ranges and lists, also nested (`shard-{000..039}.tar`,
/// `{a,b}/x-{0..9}.tar`), and the wildcards `*`, `?` and `[…]`. A directory stands for all shards
/// in it. An existing path is taken literally, whatever characters it has.
///
/// # Errors
/// [`TrainingDataError::ShardSpec`] if braces are unbalanced, nothing is found, a shard is duplicate or
/// a shard is remote; [`TrainingDataError::File`] if a path is missing.
pub fn expand_shards(spec: &str) -> Result<Vec<PathBuf>, TrainingDataError> {
    expand_files(
        spec,
        FileSelection {
            accepts: is_archive_name,
            extensions: ".tar, .tar.gz, .tgz, .tar.zst or .tzst",
        },
    )
}

/// Files that a directory stands for.
#[derive(Clone, Copy)]
pub(crate) struct FileSelection {
    /// Whether a file of this name is one of them.
    pub(crate) accepts: fn(&str) -> bool,
    /// Their extensions, for messages.
    pub(crate) extensions: &'static str,
}

/// Expands a specification of files as [`expand_shards`] does.
pub(crate) fn expand_files(
    spec: &str,
    selection: FileSelection,
) -> Result<Vec<PathBuf>, TrainingDataError> {
    let refuse = |problem: String| TrainingDataError::ShardSpec {
        spec: spec.to_string(),
        problem,
    };
    let mut shards = Vec::new();
    if Path::new(spec).exists() {
        find(spec, selection, &mut shards)?;
    } else {
        for part in split(spec).map_err(refuse)? {
            for path in braces(&part).map_err(refuse)? {
                find(&path, selection, &mut shards)?;
                if shards.len() > MAX_SHARDS {
                    return Err(refuse(format!("more than {MAX_SHARDS} shards")));
                }
            }
        }
    }
    if shards.is_empty() {
        return Err(refuse(format!(
            "no shards; expected paths of {} files",
            selection.extensions
        )));
    }
    // One file may have several spellings and links.
    let file = |shard: &&PathBuf| shard.canonicalize().unwrap_or_else(|_| shard.to_path_buf());
    let mut seen = HashSet::new();
    match shards.iter().find(|shard| !seen.insert(file(shard))) {
        Some(duplicate) => Err(refuse(format!("duplicate shard {}", duplicate.display()))),
        None => Ok(shards),
    }
}

/// Expands the braces in `text` as a shell does: ranges (`{000..039}`) and lists (`{a,b}`), also
/// nested. Text without braces expands to itself. The file system is not accessed.
///
/// ```
/// let shards = clipn_data::expand_braces("{a,b}-{08..10}.tar")?;
/// assert_eq!(shards[..3], ["a-08.tar", "a-09.tar", "a-10.tar"]);
/// # Ok::<(), clipn_data::TrainingDataError>(())
/// ```
///
/// # Errors
/// [`TrainingDataError::ShardSpec`] if braces are unbalanced or expand to more than a million texts.
pub fn expand_braces(text: &str) -> Result<Vec<String>, TrainingDataError> {
    let refuse = |problem: String| TrainingDataError::ShardSpec {
        spec: text.to_string(),
        problem,
    };
    check_balanced(text)
        .and_then(|()| braces(text))
        .map_err(refuse)
}

/// Adds the shards of a path or pattern.
fn find(
    path: &str,
    selection: FileSelection,
    shards: &mut Vec<PathBuf>,
) -> Result<(), TrainingDataError> {
    let refuse = |problem: String| TrainingDataError::ShardSpec {
        spec: path.to_string(),
        problem,
    };
    if path.starts_with("pipe:") || path.contains("://") {
        return Err(refuse(
            "remote shards are not supported; expected local files".to_string(),
        ));
    }
    let plain = Path::new(path);
    if plain.is_dir() {
        let found = files_in_directory(plain, selection)?;
        if found.is_empty() {
            return Err(refuse(format!(
                "no {} files in the directory",
                selection.extensions
            )));
        }
        shards.extend(found);
    } else if plain.exists() {
        shards.push(plain.to_path_buf());
    } else if path.contains(['*', '?', '[']) {
        let matches =
            matched_paths(path).map_err(|error| refuse(format!("invalid pattern: {error}")))?;
        let before = shards.len();
        for found in matches.take(MAX_SHARDS + 1) {
            let found = found.map_err(|(path, error)| DatasetError::io(&path, error))?;
            if found.is_file() {
                shards.push(found);
            }
        }
        if let Some(first) = unmatched_names(path).first() {
            return Err(refuse(format!(
                "names that are not UTF-8 match no pattern, such as {}; name the directory",
                first.display()
            )));
        }
        if shards.len() == before {
            return Err(refuse("no file matches the pattern".to_string()));
        }
    } else {
        return Err(DatasetError::Missing {
            path: plain.to_path_buf(),
        }
        .into());
    }
    Ok(())
}

/// Returns the shards in a directory, sorted by name.
pub(super) fn shards_in_directory(directory: &Path) -> Result<Vec<PathBuf>, DatasetError> {
    let selection = FileSelection {
        accepts: is_archive_name,
        extensions: "",
    };
    files_in_directory(directory, selection)
}

fn files_in_directory(
    directory: &Path,
    selection: FileSelection,
) -> Result<Vec<PathBuf>, DatasetError> {
    let unreadable = |source| DatasetError::io(directory, source);
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if !name.starts_with('.') && (selection.accepts)(&name) && path.is_file() {
            found.push(path);
        }
    }
    found.sort_unstable();
    Ok(found)
}

/// Splits at commas and `::` outside braces.
fn split(spec: &str) -> Result<Vec<String>, String> {
    let mut parts = vec![String::new()];
    let mut depth = 0usize;
    let mut rest = spec.chars().peekable();
    while let Some(c) = rest.next() {
        match c {
            '{' => depth += 1,
            '}' => depth = depth.checked_sub(1).ok_or("unbalanced `}`")?,
            _ => {}
        }
        if depth == 0 && c == ',' {
            parts.push(String::new());
        } else if depth == 0 && c == ':' && rest.peek() == Some(&':') {
            rest.next();
            parts.push(String::new());
        } else if let Some(part) = parts.last_mut() {
            part.push(c);
        }
    }
    if depth > 0 {
        return Err("unbalanced `{`".to_string());
    }
    Ok(parts
        .iter()
        .map(|part| part.trim().to_string())
        .filter(|part| !part.is_empty())
        .collect())
}

/// Checks that braces are balanced.
fn check_balanced(text: &str) -> Result<(), String> {
    let mut depth = 0usize;
    for c in text.chars() {
        match c {
            '{' => depth += 1,
            '}' => depth = depth.checked_sub(1).ok_or("unbalanced `}`")?,
            _ => {}
        }
    }
    if depth > 0 {
        Err("unbalanced `{`".to_string())
    } else {
        Ok(())
    }
}

/// Expands the braces in `text`; the last brace varies fastest, as in a shell.
fn braces(text: &str) -> Result<Vec<String>, String> {
    let Some((before, inside, after)) = first_brace(text) else {
        return Ok(vec![text.to_string()]);
    };
    let choices = match range(inside)? {
        Some(numbers) => numbers,
        None => {
            let alternatives = alternatives(inside);
            if let [only] = alternatives.as_slice() {
                // As in a shell, braces around a single item are literal.
                braces(only)?
                    .into_iter()
                    .map(|choice| format!("{{{choice}}}"))
                    .collect()
            } else {
                let mut choices = Vec::new();
                for alternative in alternatives {
                    choices.extend(braces(&alternative)?);
                }
                choices
            }
        }
    };
    let tails = braces(after)?;
    if choices.len().saturating_mul(tails.len()) > MAX_SHARDS {
        return Err(format!("the braces expand to more than {MAX_SHARDS} paths"));
    }
    Ok(choices
        .iter()
        .flat_map(|choice| {
            tails
                .iter()
                .map(move |tail| format!("{before}{choice}{tail}"))
        })
        .collect())
}

/// Splits `text` into the parts before, in and after the first pair of matching braces.
fn first_brace(text: &str) -> Option<(&str, &str, &str)> {
    let open = text.find('{')?;
    let mut depth = 0usize;
    for (index, c) in text[open..].char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            let close = open + index;
            return Some((&text[..open], &text[open + 1..close], &text[close + 1..]));
        }
    }
    None
}

/// Splits the content of braces at its top-level commas.
fn alternatives(inside: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut depth = 0i32;
    for c in inside.chars() {
        depth += i32::from(c == '{') - i32::from(c == '}');
        if depth == 0 && c == ',' {
            parts.push(String::new());
        } else if let Some(part) = parts.last_mut() {
            part.push(c);
        }
    }
    parts
}

/// Expands `first..last` or `first..last..step`, zero-padded if either end is.
fn range(inside: &str) -> Result<Option<Vec<String>>, String> {
    let ends: Vec<&str> = inside.split("..").collect();
    let (first, last, step) = match ends.as_slice() {
        [first, last] => (*first, *last, "1"),
        [first, last, step] => (*first, *last, *step),
        _ => return Ok(None),
    };
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if ![first, last, step].into_iter().all(digits) {
        return Ok(None);
    }
    let parse = |text: &str| {
        text.parse::<u64>()
            .map_err(|_| format!("number {text} is too large"))
    };
    let (from, to, step) = (parse(first)?, parse(last)?, parse(step)?);
    if step == 0 {
        return Err(format!(
            "expected a step of at least 1 in `{{{inside}}}`, got 0"
        ));
    }
    if from.abs_diff(to) / step >= MAX_SHARDS as u64 {
        return Err(format!(
            "`{{{inside}}}` expands to more than {MAX_SHARDS} shards"
        ));
    }
    let padded = [first, last]
        .iter()
        .any(|end| end.len() > 1 && end.starts_with('0'));
    let width = if padded {
        first.len().max(last.len())
    } else {
        0
    };
    let numbers = (0..=from.abs_diff(to) / step).map(|index| {
        let number = if from <= to {
            from + index * step
        } else {
            from - index * step
        };
        format!("{number:0width$}")
    });
    Ok(Some(numbers.collect()))
}

/// Lists the first few shards, for messages.
pub(super) fn names(shards: &[PathBuf]) -> String {
    first_few(shards.iter().map(|shard| shard.display())).join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expanded(text: &str) -> Vec<String> {
        split(text)
            .unwrap()
            .iter()
            .flat_map(|part| braces(part).unwrap())
            .collect()
    }

    #[test]
    fn expands_ranges_and_keeps_leading_zeros() {
        assert_eq!(
            expanded("s-{008..011}.tar"),
            ["s-008.tar", "s-009.tar", "s-010.tar", "s-011.tar"]
        );
        assert_eq!(expanded("{8..10}"), ["8", "9", "10"]);
        assert_eq!(expanded("{3..1}"), ["3", "2", "1"]);
        assert_eq!(expanded("{0..10..5}"), ["0", "5", "10"]);
        assert_eq!(expanded("{00..1}"), ["00", "01"]);
        assert_eq!(expanded("s-{000..331}.tar").len(), 332);
    }

    #[test]
    fn expands_nested_and_multiple_lists() {
        assert_eq!(expanded("{a,b}-{0..1}"), ["a-0", "a-1", "b-0", "b-1"]);
        assert_eq!(
            expanded("{a,b{1..2},{c,d}}.x"),
            ["a.x", "b1.x", "b2.x", "c.x", "d.x"]
        );
        assert_eq!(expanded("a,b::c , {d,e}"), ["a", "b", "c", "d", "e"]);
        assert_eq!(expanded("{a}{,b}"), ["{a}", "{a}b"]);
        assert_eq!(expanded("{{1..2}}"), ["{1}", "{2}"]);
        assert_eq!(expanded("é{a,ü}"), ["éa", "éü"]);
    }

    #[test]
    fn rejects_invalid_braces() {
        assert!(split("a}").unwrap_err().contains("unbalanced `}`"));
        assert!(split("{a").unwrap_err().contains("unbalanced `{`"));
        assert!(braces("{0..9999999}").unwrap_err().contains("more than"));
        assert!(braces("{0..18446744073709551615}").is_err());
        assert!(
            braces("{0..99999999999999999999}")
                .unwrap_err()
                .contains("too large")
        );
        assert!(braces("{0..9..0}").unwrap_err().contains("step"));
        assert!(braces("{1..999}{1..999}{1..999}").is_err());
    }
}
