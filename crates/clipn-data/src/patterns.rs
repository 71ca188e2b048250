//! Glob patterns: what they match, and what they cannot, names that are not UTF-8.

use std::io;
use std::path::{Component, Path, PathBuf};

use glob::{MatchOptions, Pattern, PatternError};
use walkdir::{DirEntry, WalkDir};

use crate::image_name::is_ignored_name;

/// Paths that a pattern matches, in the order of their names. A directory that cannot be read is an item with its error.
pub type MatchedPaths = Box<dyn Iterator<Item = Result<PathBuf, (PathBuf, io::Error)>> + Send>;

/// Returns the paths that `pattern` matches, lazily. As for a shell, `*` and `?` match no dot at the start of a name, and
/// `**` enters no hidden directory; links are followed, but not back to a directory that they are in. What systems
/// leave behind in directories, such as `__MACOSX`, is not matched either.
///
/// # Errors
/// [`PatternError`] if the pattern is not valid.
///
/// ```
/// assert_eq!(clipn_data::matched_paths("no-such-folder/**/*.jpg")?.count(), 0);
/// # Ok::<(), glob::PatternError>(())
/// ```
pub fn matched_paths(pattern: &str) -> Result<MatchedPaths, PatternError> {
    const OPTIONS: MatchOptions = MatchOptions {
        case_sensitive: true,
        require_literal_separator: true,
        require_literal_leading_dot: true,
    };
    let (fixed, names) = fixed_part(pattern);
    let root = fixed.clone();
    // Names that the pattern spells out are meant.
    let is_meant = move |path: &Path| {
        let rest = path.strip_prefix(&fixed).unwrap_or(path);
        rest.components()
            .filter(|part| *part != Component::CurDir)
            .map(Component::as_os_str)
            .all(|name| !is_ignored_name(name) || names.iter().any(|n| **n == *name))
    };
    if !pattern.contains("**") {
        // Version 0.3.4 panics at a name that is not UTF-8 if leading dots are required.
        let found = glob::glob(pattern)?;
        return Ok(Box::new(found.filter_map(move |path| match path {
            Ok(path) => is_meant(&path).then_some(Ok(path)),
            Err(error) => Some(Err((error.path().to_owned(), error.into()))),
        })));
    }
    // The library for patterns follows links in circles.
    let matcher = Pattern::new(plain(pattern))?;
    let start = match root.as_os_str().is_empty() {
        true => PathBuf::from("."),
        false => root,
    };
    // The walk itself leaves out links to directories that it is in, not to those above.
    let above = start.canonicalize().ok();
    let is_circle = move |entry: &DirEntry| {
        let target = || entry.path().canonicalize().ok();
        entry.path_is_symlink()
            && entry.file_type().is_dir()
            && matches!((&above, target()), (Some(above), Some(target)) if above.starts_with(&target))
    };
    let entries = WalkDir::new(start)
        .follow_links(true)
        .sort_by_file_name()
        .into_iter()
        .filter_entry(move |entry| {
            entry.depth() == 0 || is_meant(entry.path()) && !is_circle(entry)
        });
    let matched = move |path: &Path| {
        let text = plain(path.to_str()?);
        let is_match = matcher.matches_with(text, OPTIONS);
        is_match.then(|| PathBuf::from(text))
    };
    Ok(Box::new(entries.filter_map(move |entry| match entry {
        Ok(entry) => matched(entry.path()).map(Ok),
        Err(error) if error.loop_ancestor().is_some() => None,
        Err(error) => {
            let (depth, path) = (error.depth(), error.path().unwrap_or(Path::new("")));
            let path = path.to_owned();
            let source = error.into_io_error()?;
            match (source.kind(), depth) {
                // A start that does not exist matches nothing; a link to nothing is a name like others.
                (io::ErrorKind::NotFound, 0) => None,
                (io::ErrorKind::NotFound, _) => matched(&path).map(Ok),
                _ => Some(Err((path, source))),
            }
        }
    })))
}

/// The directory before the first part of a pattern with a wildcard, and the names that the other parts spell out.
fn fixed_part(pattern: &str) -> (PathBuf, Vec<std::ffi::OsString>) {
    let is_pattern = |text: &std::ffi::OsStr| text.to_string_lossy().contains(['*', '?', '[']);
    let components: Vec<_> = Path::new(pattern).components().collect();
    let fixed = components
        .iter()
        .take_while(|part| !is_pattern(part.as_os_str()));
    let root: PathBuf = fixed.collect();
    let names = components
        .iter()
        .map(|part| part.as_os_str().to_owned())
        .filter(|name| !is_pattern(name));
    (root, names.collect())
}

/// Returns the paths that `pattern` matches but for bytes that are not UTF-8 in their names, sorted.
///
/// ```
/// assert!(clipn_data::unmatched_names("no-such-folder/*.jpg").is_empty());
/// ```
pub fn unmatched_names(pattern: &str) -> Vec<PathBuf> {
    let Ok(matcher) = Pattern::new(plain(pattern)) else {
        return Vec::new();
    };
    let options = MatchOptions {
        require_literal_separator: true,
        ..MatchOptions::default()
    };
    let components: Vec<_> = Path::new(pattern).components().collect();
    let (root, _) = fixed_part(pattern);
    let rest = &components[root.components().count()..];
    let depth = match pattern.contains("**") {
        true => usize::MAX,
        false => rest.len(),
    };
    let start = match root.as_os_str().is_empty() {
        true => Path::new("."),
        false => &root,
    };
    // Only directories that the pattern enters: others may be large or remote.
    let parts: Vec<Option<Pattern>> = rest
        .iter()
        .take_while(|part| part.as_os_str() != "**")
        .map(|part| Pattern::new(&part.as_os_str().to_string_lossy()).ok())
        .collect();
    let is_entered = |entry: &DirEntry| {
        let part = entry.depth().checked_sub(1).and_then(|at| parts.get(at));
        let Some(Some(part)) = part else {
            return true;
        };
        part.matches(&entry.file_name().to_string_lossy())
    };
    let entries = WalkDir::new(start).max_depth(depth).follow_links(true);
    let paths = entries
        .into_iter()
        .filter_entry(is_entered)
        .filter_map(Result::ok)
        .map(DirEntry::into_path);
    let mut found: Vec<PathBuf> = paths
        .filter(|path| path.to_str().is_none())
        .filter(|path| matcher.matches_with(plain(&path.to_string_lossy()), options))
        .collect();
    found.sort();
    found
}

/// A path without `./` at its start.
fn plain(path: &str) -> &str {
    path.strip_prefix("./").unwrap_or(path)
}

#[cfg(all(test, unix))]
mod tests {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;

    use super::*;

    #[test]
    fn hidden_names_and_circles_are_not_matched() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        for name in [
            "x/y/0.png",
            "x/.h.png",
            ".s/1.png",
            "__MACOSX/2.png",
            "3.png",
        ] {
            let path = root.join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "").unwrap();
        }
        std::os::unix::fs::symlink(".", root.join("x/self")).unwrap();
        std::os::unix::fs::symlink("../..", root.join("x/y/up")).unwrap();
        std::os::unix::fs::symlink("gone", root.join("x/y/9.png")).unwrap();
        let found = |pattern: &str| -> Vec<String> {
            let pattern = format!("{}/{pattern}", root.display());
            let paths = matched_paths(&pattern).unwrap().map(Result::unwrap);
            let names = paths.map(|path| path.strip_prefix(root).unwrap().display().to_string());
            names.collect()
        };
        // A link to nothing is an image that cannot be read.
        assert_eq!(found("**/*.png"), ["3.png", "x/y/0.png", "x/y/9.png"]);
        assert_eq!(found("*/*.png"), [""; 0]);
        assert_eq!(found("x/*/*.png"), ["x/y/0.png", "x/y/9.png"]);
        assert_eq!(found("x/.*.png"), [""; 0], "left out of every search");
        assert_eq!(found(".s/*.png"), [".s/1.png"]);
        assert_eq!(found("__MACOSX/*.png"), ["__MACOSX/2.png"]);
        assert_eq!(found("*"), ["3.png", "x"]);
        assert_eq!(found("none/**/*.png"), [""; 0]);
        // The start is below what the link means.
        assert_eq!(found("x/**/*.png"), ["x/y/0.png", "x/y/9.png"]);
        assert!(matched_paths("a/***").is_err());
    }

    #[test]
    fn patterns_without_a_directory_begin_in_the_current_one() {
        // Tests run in the directory of the crate.
        for pattern in ["**/patterns.rs", "./**/patterns.rs", "**/src/*terns.rs"] {
            let paths = matched_paths(pattern).unwrap().map(Result::unwrap);
            let paths: Vec<PathBuf> = paths.collect();
            assert_eq!(paths, [Path::new("src/patterns.rs")], "{pattern}");
        }
    }

    #[test]
    fn names_that_are_not_utf8_are_found() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        let odd = root.join("a").join(OsStr::from_bytes(b"caf\xe9.jpg"));
        std::fs::create_dir_all(root.join("a/deep")).unwrap();
        if std::fs::write(&odd, "").is_err() {
            println!("skipped: this file system takes only names in UTF-8");
            return;
        }
        std::fs::write(root.join("a/plain.jpg"), "").unwrap();
        std::fs::write(root.join("a/deep").join(odd.file_name().unwrap()), "").unwrap();
        let found = |pattern: &str| unmatched_names(&format!("{}/{pattern}", root.display()));
        assert_eq!(found("a/*.jpg"), std::slice::from_ref(&odd));
        assert_eq!(found("*/*.j?g"), [odd]);
        assert_eq!(found("**/*.jpg").len(), 2);
        assert!(found("a/*.png").is_empty() && found("*.jpg").is_empty());
    }
}
