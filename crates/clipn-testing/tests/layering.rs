//! The crates form layers, and imports run one way. Reads the manifests and the sources, and fails on a
//! dependency or an import that points upward.
#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// The layers, lowest first; crates of one layer do not know each other.
const LAYERS: [&[&str]; 8] = [
    &["clipn-base", "clipn-mini"],
    &["clipn-text", "clipn-ood", "clipn-image", "clipn-checkpoint"],
    &["clipn-model"],
    &["clipn-engine", "clipn-gpu", "clipn-data", "clipn-hub"],
    &["clipn-detect", "clipn-train"],
    &["clipn-eval"],
    &["clipn"],
    &["clipn-serve"],
];

/// The program, above all layers.
const PROGRAM: &str = "clipn-cli";

/// The Python package, which has the program in it.
const PYTHON: &str = "clipn-python";

/// Fixtures and helpers of tests: any crate may use it in its tests, none in its code.
const TESTING: &str = "clipn-testing";

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .canonicalize()
        .unwrap()
}

fn layer(name: &str) -> usize {
    if name == PROGRAM {
        return LAYERS.len();
    }
    if name == PYTHON {
        return LAYERS.len() + 1;
    }
    LAYERS
        .iter()
        .position(|names| names.contains(&name))
        .unwrap_or_else(|| panic!("{name} is in no layer: add it to LAYERS"))
}

/// The crates of the workspace that each crate depends on, outside its tests.
fn dependencies() -> BTreeMap<String, BTreeSet<String>> {
    let mut all = BTreeMap::new();
    for entry in std::fs::read_dir(root().join("crates")).unwrap() {
        let folder = entry.unwrap().path();
        let manifest = std::fs::read_to_string(folder.join("Cargo.toml")).unwrap();
        let manifest: toml::Table = manifest.parse().unwrap();
        let name = manifest["package"]["name"].as_str().unwrap().to_owned();
        let mut own = BTreeSet::new();
        for section in ["dependencies", "build-dependencies"] {
            if let Some(table) = manifest.get(section).and_then(toml::Value::as_table) {
                own.extend(
                    table
                        .keys()
                        .filter(|name| name.starts_with("clipn"))
                        .cloned(),
                );
            }
        }
        all.insert(name, own);
    }
    all
}

/// The Rust files under a directory.
fn rust_files(folder: &Path, files: &mut Vec<PathBuf>) {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return;
    };
    for entry in entries {
        let path = entry.unwrap().path();
        if path.is_dir() {
            rust_files(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

#[test]
fn manifests_depend_downward_only() {
    for (name, dependencies) in dependencies() {
        if name == TESTING {
            continue;
        }
        for dependency in dependencies {
            assert_ne!(
                dependency, TESTING,
                "{name} uses {TESTING} outside its tests"
            );
            assert!(
                layer(&dependency) < layer(&name),
                "{name} (layer {}) depends on {dependency} (layer {})",
                layer(&name),
                layer(&dependency)
            );
        }
    }
}

#[test]
fn every_layer_names_crates_that_exist() {
    let all = dependencies();
    for name in LAYERS.iter().flat_map(|names| names.iter()) {
        assert!(all.contains_key(*name), "{name} does not exist");
    }
}

#[test]
fn sources_import_downward_only() {
    let mut upward = Vec::new();
    for name in dependencies().keys().filter(|name| *name != TESTING) {
        let mut files = Vec::new();
        rust_files(&root().join("crates").join(name).join("src"), &mut files);
        // A file of this name is a module of unit tests.
        for file in files.iter().filter(|file| !file.ends_with("tests.rs")) {
            let text = std::fs::read_to_string(file).unwrap();
            // Unit tests may use the testing crate; what precedes them may not.
            let code = text.split("#[cfg(test)]").next().unwrap();
            for line in code
                .lines()
                .filter(|line| !line.trim_start().starts_with("//"))
            {
                for (start, _) in line.match_indices("clipn") {
                    // `crate::objective::clipn::` is a module of that name.
                    let before = line[..start].chars().next_back();
                    if before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == ':') {
                        continue;
                    }
                    let word: String = line[start..]
                        .chars()
                        .take_while(|c| c.is_alphanumeric() || *c == '_')
                        .collect();
                    if !line[start + word.len()..].starts_with("::") {
                        continue;
                    }
                    let other = word.replace('_', "-");
                    let known = other == TESTING
                        || LAYERS.iter().any(|names| names.contains(&other.as_str()));
                    if known && other != *name && (other == TESTING || layer(&other) >= layer(name))
                    {
                        upward.push(format!("{}: {}", file.display(), line.trim()));
                    }
                }
            }
        }
    }
    assert!(upward.is_empty(), "upward imports:\n{}", upward.join("\n"));
}

/// Files of a crate import each other without cycles, except where they are one concept cut in two.
#[test]
fn modules_do_not_import_each_other_in_circles() {
    let mut circles = Vec::new();
    for name in dependencies().keys().filter(|name| *name != TESTING) {
        let src = root().join("crates").join(name).join("src");
        let mut modules = BTreeMap::new();
        for entry in std::fs::read_dir(&src).unwrap() {
            let path = entry.unwrap().path();
            let module = path.file_stem().unwrap().to_string_lossy().into_owned();
            if module == "lib" || module == "main" {
                continue;
            }
            let mut files = Vec::new();
            if path.is_dir() {
                rust_files(&path, &mut files);
            } else {
                files.push(path);
            }
            let text: String = files
                .iter()
                .map(|file| {
                    let text = std::fs::read_to_string(file).unwrap();
                    text.split("#[cfg(test)]").next().unwrap().to_owned()
                })
                .collect();
            modules.insert(module, text);
        }
        let imports = |from: &str, to: &str| {
            modules[from]
                .lines()
                .filter(|line| !line.trim_start().starts_with("//"))
                .any(|line| line.contains(&format!("crate::{to}::")))
        };
        for a in modules.keys() {
            for b in modules.keys().filter(|b| *b > a) {
                if imports(a, b) && imports(b, a) {
                    circles.push(format!("{name}: {a} <-> {b}"));
                }
            }
        }
    }
    assert!(circles.is_empty(), "circles:\n{}", circles.join("\n"));
}

/// The crate table of CONTRIBUTING.md names the dependencies that the manifests have.
#[test]
fn the_crate_table_matches_the_manifests() {
    let text = std::fs::read_to_string(root().join("CONTRIBUTING.md")).unwrap();
    let dependencies = dependencies();
    for (name, own) in &dependencies {
        let row = text
            .lines()
            .find(|line| line.starts_with(&format!("| `{name}` |")))
            .unwrap_or_else(|| panic!("CONTRIBUTING.md has no row for {name}"));
        let cell = row.trim_end_matches('|').rsplit('|').next().unwrap().trim();
        if cell.starts_with("all of the above") {
            continue;
        }
        let listed: BTreeSet<String> = cell
            .split(',')
            .map(|word| word.trim().trim_matches('`'))
            .filter(|word| !word.is_empty())
            .map(|word| {
                if word.starts_with("clipn") {
                    word.to_owned()
                } else {
                    format!("clipn-{word}")
                }
            })
            .collect();
        assert_eq!(&listed, own, "row of {name} in CONTRIBUTING.md");
    }
}

/// The first command of the README is `cargo run` without a package.
#[test]
fn cargo_run_means_the_program() {
    let manifest = std::fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let manifest: toml::Table = manifest.parse().unwrap();
    let default = manifest["workspace"]["default-members"].as_array().unwrap();
    assert_eq!(default, &[toml::Value::from(format!("crates/{PROGRAM}"))]);
}
