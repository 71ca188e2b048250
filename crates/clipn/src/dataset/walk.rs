use std::collections::HashSet;
use std::ffi::OsString;
use std::fs::{self, FileType};
use std::path::{Path, PathBuf};

use super::DatasetError;
use super::set::{is_hidden, is_image_name};

/// What one folder holds, hidden entries left out, each kind sorted by the bytes of the names.
#[derive(Debug, Default)]
pub(super) struct Listing {
    pub(super) folders: Vec<PathBuf>,
    pub(super) images: Vec<PathBuf>,
    /// Files that are no images by their names.
    pub(super) other_files: usize,
}

/// Every image below a folder.
#[derive(Debug, Default)]
pub(super) struct Walked {
    pub(super) images: Vec<PathBuf>,
    pub(super) other_files: usize,
}

enum Kind {
    Folder,
    File,
    /// A pipe, a socket or a device; opening one could wait for ever.
    Special,
}

/// Reads one folder; links count as what they point to.
pub(super) fn list(folder: &Path) -> Result<Listing, DatasetError> {
    let told = |source| DatasetError::io(folder, source);
    let mut entries: Vec<(OsString, FileType)> = Vec::new();
    for entry in fs::read_dir(folder).map_err(told)? {
        let entry = entry.map_err(told)?;
        if !is_hidden(&entry.file_name()) {
            entries.push((entry.file_name(), entry.file_type().map_err(told)?));
        }
    }
    entries.sort_unstable_by(|a, b| a.0.cmp(&b.0));
    let mut listing = Listing::default();
    for (name, file_type) in entries {
        let path = folder.join(&name);
        match kind(&path, file_type) {
            Kind::Folder => listing.folders.push(path),
            Kind::File if is_image_name(&name) => listing.images.push(path),
            Kind::File => listing.other_files += 1,
            Kind::Special => {}
        }
    }
    Ok(listing)
}

/// What an entry is, links followed. A link that leads nowhere counts as a file, so that an image which is gone is
/// told as one that cannot be read, not silently missed.
fn kind(path: &Path, file_type: FileType) -> Kind {
    let file_type = if file_type.is_symlink() {
        match fs::metadata(path) {
            Ok(metadata) => metadata.file_type(),
            Err(_) => return Kind::File,
        }
    } else {
        file_type
    };
    match (file_type.is_dir(), file_type.is_file()) {
        (true, _) => Kind::Folder,
        (_, true) => Kind::File,
        _ => Kind::Special,
    }
}

/// Every image below `folder` in any depth, in torchvision's order: folders by their whole path, then files by name.
/// Links are followed, but each real folder is entered once, and never those in `above`: a loop of links ends there.
pub(super) fn walk(folder: &Path, above: &HashSet<PathBuf>) -> Result<Walked, DatasetError> {
    let mut entered = above.clone();
    let mut found: Vec<(PathBuf, Listing)> = Vec::new();
    let mut waiting = vec![folder.to_path_buf()];
    while let Some(next) = waiting.pop() {
        if !entered.insert(real(&next)?) {
            continue;
        }
        let mut listing = list(&next)?;
        // The stack gives the last first; reversed, folders are entered in sorted order.
        waiting.extend(listing.folders.drain(..).rev());
        found.push((next, listing));
    }
    found.sort_unstable_by(|a, b| a.0.as_os_str().cmp(b.0.as_os_str()));
    let mut walked = Walked::default();
    for (_, listing) in found {
        walked.images.extend(listing.images);
        walked.other_files += listing.other_files;
    }
    Ok(walked)
}

/// The path of a folder with every link resolved.
pub(super) fn real(folder: &Path) -> Result<PathBuf, DatasetError> {
    fs::canonicalize(folder).map_err(|source| DatasetError::io(folder, source))
}
