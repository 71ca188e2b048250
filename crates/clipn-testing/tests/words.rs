//! No file uses a word of `.ci/words.toml` except where that list allows it.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use regex::{Regex, RegexBuilder};

/// Files with text that people read or search.
const EXTENSIONS: [&str; 10] = [
    "rs", "md", "toml", "py", "sh", "html", "css", "js", "yml", "yaml",
];

/// Directories with generated files, files of others, or data.
const SKIPPED: [&str; 6] = ["target", ".git", "fixtures", "assets", "seeds", "corpus"];

/// The list of banned words itself, and texts of others.
const SKIPPED_FILES: [&str; 4] = ["words.toml", "LICENSE-APACHE", "LICENSE-MIT", "Cargo.lock"];

struct Banned {
    pattern: Regex,
    source: String,
    instead: String,
}

/// A place where a banned word may stand.
struct Exception {
    /// Path relative to the repository, or its beginning if it ends with `/`.
    path: String,
    /// The words that are allowed there.
    words: Vec<String>,
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .canonicalize()
        .unwrap()
}

fn text(table: &toml::Table, key: &str) -> String {
    table
        .get(key)
        .and_then(toml::Value::as_str)
        .unwrap_or_else(|| panic!("an entry of words.toml has no {key}: {table:?}"))
        .to_owned()
}

fn entries<'a>(list: &'a toml::Table, key: &str) -> impl Iterator<Item = &'a toml::Table> {
    list.get(key)
        .and_then(toml::Value::as_array)
        .into_iter()
        .flatten()
        .map(|entry| entry.as_table().unwrap())
}

fn files(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() {
            if !SKIPPED.contains(&name.as_str()) {
                files(&path, found);
            }
        } else if !SKIPPED_FILES.contains(&name.as_str())
            && path
                .extension()
                .is_some_and(|extension| EXTENSIONS.contains(&extension.to_string_lossy().as_ref()))
        {
            found.push(path);
        }
    }
}

#[test]
fn banned_words_do_not_occur() {
    let root = root();
    let list: toml::Table = std::fs::read_to_string(root.join(".ci/words.toml"))
        .unwrap()
        .parse()
        .unwrap();
    let banned: Vec<Banned> = entries(&list, "banned")
        .map(|entry| {
            let source = text(entry, "pattern");
            Banned {
                // An identifier such as `told_twice` counts too: `_` separates words.
                pattern: RegexBuilder::new(&format!(r"(?:\b|_)(?:{source})(?:\b|_)"))
                    .case_insensitive(true)
                    .build()
                    .unwrap(),
                source,
                instead: text(entry, "instead"),
            }
        })
        .collect();
    let exceptions: Vec<Exception> = entries(&list, "exception")
        .map(|entry| {
            assert!(!text(entry, "reason").is_empty());
            Exception {
                path: text(entry, "path"),
                words: entry["words"]
                    .as_array()
                    .unwrap()
                    .iter()
                    .map(|word| word.as_str().unwrap().to_lowercase())
                    .collect(),
            }
        })
        .collect();
    let mut all = Vec::new();
    files(&root, &mut all);
    assert!(all.len() > 300, "only {} files were found", all.len());
    let mut problems = Vec::new();
    let mut counts = BTreeMap::<&str, usize>::new();
    let mut used = vec![false; exceptions.len()];
    for path in &all {
        let Ok(content) = std::fs::read_to_string(path) else {
            continue;
        };
        let relative = path
            .strip_prefix(&root)
            .unwrap()
            .to_string_lossy()
            .into_owned();
        for (number, line) in content.lines().enumerate() {
            for word in &banned {
                for hit in word.pattern.find_iter(line) {
                    let found = hit.as_str().trim_matches('_').to_lowercase();
                    let allowed = exceptions.iter().position(|exception| {
                        let path_matches = if exception.path.ends_with('/') {
                            relative.starts_with(&exception.path)
                        } else {
                            relative == exception.path
                        };
                        path_matches && exception.words.contains(&found)
                    });
                    match allowed {
                        Some(index) => used[index] = true,
                        None => {
                            *counts.entry(&word.source).or_default() += 1;
                            problems.push(format!(
                                "{relative}:{}: `{found}` (use: {})",
                                number + 1,
                                word.instead
                            ));
                        }
                    }
                }
            }
        }
    }
    for (exception, used) in exceptions.iter().zip(used) {
        assert!(used, "the exception for {} is not needed", exception.path);
    }
    let shown = problems.len().min(200);
    assert!(
        problems.is_empty(),
        "{} banned words ({counts:?}):\n{}",
        problems.len(),
        problems[..shown].join("\n")
    );
}
