//! What glob patterns do not match: names that are not UTF-8, which the library for patterns leaves out.

use std::path::{Path, PathBuf};

use glob::{MatchOptions, Pattern};
use walkdir::WalkDir;

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
    let is_pattern = |text: &str| text.contains(['*', '?', '[']);
    let fixed = components
        .iter()
        .take_while(|part| !is_pattern(&part.as_os_str().to_string_lossy()));
    let root: PathBuf = fixed.collect();
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
    let is_entered = |entry: &walkdir::DirEntry| {
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
        .map(walkdir::DirEntry::into_path);
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
