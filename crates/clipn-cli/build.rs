//! Sets `CLIPN_COMMIT`: the variable of that name, else the Git commit of a checkout or of a packaged crate, or
//! `unknown`.

use std::path::{Path, PathBuf};
use std::process::Command;

fn main() {
    let directory = PathBuf::from(std::env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default());
    let root = directory.join("../..");
    // Anywhere else this crate is a dependency, and the repository around it is not its own.
    let is_checkout = root.join(".git").exists() && root.join("crates/clipn-cli").exists();
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-env-changed=CLIPN_COMMIT");
    let given = std::env::var("CLIPN_COMMIT").ok();
    let commit = if is_checkout {
        rerun_if_head_changes(&root);
        git(&root, &["rev-parse", "--short=12", "HEAD"])
    } else {
        let packaged = std::fs::read_to_string(directory.join(".cargo_vcs_info.json")).ok();
        packaged.as_deref().and_then(packaged_commit)
    };
    let given = given.filter(|commit| !commit.is_empty());
    let commit = given.or(commit);
    let commit = commit.as_deref().unwrap_or("unknown");
    println!("cargo:rustc-env=CLIPN_COMMIT={commit}");
}

/// Reruns this script after a checkout or a commit. Cargo would rerun it in every build for a file
/// that does not exist.
fn rerun_if_head_changes(root: &Path) {
    for name in ["HEAD", "logs/HEAD"] {
        let path = git(root, &["rev-parse", "--git-path", name]).map(|path| root.join(path));
        if let Some(path) = path.filter(|path| path.exists()) {
            println!("cargo:rerun-if-changed={}", path.display());
        }
    }
}

/// The output of a Git command without its line end; `None` if it fails or there is no Git.
fn git(directory: &Path, arguments: &[&str]) -> Option<String> {
    let output = Command::new("git")
        .current_dir(directory)
        .args(arguments)
        .output()
        .ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}

/// The commit in the `.cargo_vcs_info.json` of a package: the value of its key `sha1`.
fn packaged_commit(text: &str) -> Option<String> {
    let (_, value) = text.split_once("\"sha1\"")?;
    let commit = value.split('"').nth(1)?;
    commit.get(..12).map(str::to_owned)
}
