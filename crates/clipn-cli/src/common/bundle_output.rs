//! The file that a bundle is written to.

use std::path::Path;

use crate::common::error::CliError;

/// Rejects a directory, a file in a directory that does not exist, and an existing file without `--force`.
pub(crate) fn check_bundle_output(path: &Path, force: bool) -> Result<(), CliError> {
    if path.is_dir() {
        return Err(CliError::usage_with_hint(
            format!("{} is a directory", path.display()),
            "name a file, such as shop.clipn",
        ));
    }
    let directory = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty());
    if let Some(directory) = directory.filter(|directory| !directory.is_dir()) {
        return Err(CliError::usage_with_hint(
            format!(
                "no directory {} for {}",
                directory.display(),
                path.display()
            ),
            "create the directory, or give another name",
        ));
    }
    if path.exists() && !force {
        return Err(CliError::usage_with_hint(
            format!("{} already exists", path.display()),
            "replace it with --force, or give another name",
        ));
    }
    Ok(())
}
