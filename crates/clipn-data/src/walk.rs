use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
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

/// Names and kinds of what is in a folder, hidden entries left out, in no order.
fn scan(folder: &Path, mut seen: impl FnMut(OsString, Kind)) -> Result<(), DatasetError> {
    let told = |source| DatasetError::io(folder, source);
    for entry in fs::read_dir(folder).map_err(told)? {
        let entry = entry.map_err(told)?;
        let name = entry.file_name();
        if !is_hidden(&name) {
            let kind = kind(&folder.join(&name), entry.file_type().map_err(told)?);
            seen(name, kind);
        }
    }
    Ok(())
}

/// Reads one folder; links count as what they point to.
pub(super) fn list(folder: &Path) -> Result<Listing, DatasetError> {
    let mut entries: Vec<(OsString, Kind)> = Vec::new();
    scan(folder, |name, kind| entries.push((name, kind)))?;
    entries.sort_unstable_by(|a, b| a.0.cmp(&b.0));
    let mut listing = Listing::default();
    for (name, kind) in entries {
        match kind {
            Kind::Folder => listing.folders.push(folder.join(&name)),
            Kind::File if is_image_name(&name) => listing.images.push(folder.join(&name)),
            Kind::File => listing.other_files += 1,
            Kind::Special => {}
        }
    }
    Ok(listing)
}

/// What one folder holds, counted.
#[derive(Debug, Default)]
pub(super) struct Counted {
    /// The folders in it, sorted.
    pub(super) folders: Vec<PathBuf>,
    pub(super) images: usize,
    pub(super) other_files: usize,
}

/// Counts what is in a folder, so that a large one takes no memory.
pub(super) fn count(folder: &Path) -> Result<Counted, DatasetError> {
    let mut counted = Counted::default();
    scan(folder, |name, kind| match kind {
        Kind::Folder => counted.folders.push(folder.join(name)),
        Kind::File if is_image_name(&name) => counted.images += 1,
        Kind::File => counted.other_files += 1,
        Kind::Special => {}
    })?;
    counted
        .folders
        .sort_unstable_by(|a, b| a.file_name().cmp(&b.file_name()));
    Ok(counted)
}

/// The names of the images in a folder, sorted by their bytes.
pub(super) fn image_names(folder: &Path) -> Result<Vec<Box<OsStr>>, DatasetError> {
    let mut names = Vec::new();
    scan(folder, |name, kind| {
        if matches!(kind, Kind::File) && is_image_name(&name) {
            names.push(name.into_boxed_os_str());
        }
    })?;
    names.sort_unstable();
    Ok(names)
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

/// `folder` and every one below it, counted, in the order of [`walk`].
pub(super) fn folders(
    folder: &Path,
    above: &HashSet<PathBuf>,
) -> Result<Vec<(PathBuf, Counted)>, DatasetError> {
    visit(folder, above, |next| {
        let mut counted = count(next)?;
        Ok((std::mem::take(&mut counted.folders), counted))
    })
}

/// Every image below `folder` in any depth, in torchvision's order: folders by their whole path, then files by name.
pub(super) fn walk(folder: &Path, above: &HashSet<PathBuf>) -> Result<Walked, DatasetError> {
    let found = visit(folder, above, |next| {
        let mut listing = list(next)?;
        Ok((std::mem::take(&mut listing.folders), listing))
    })?;
    let mut walked = Walked::default();
    for (_, listing) in found {
        walked.images.extend(listing.images);
        walked.other_files += listing.other_files;
    }
    Ok(walked)
}

/// What `read` makes of `folder` and of every one below it, sorted by their whole paths; it also tells the folders in
/// one. Links are followed, but each real folder is entered once, and never those in `above`: a loop of links ends there.
fn visit<T>(
    folder: &Path,
    above: &HashSet<PathBuf>,
    read: impl Fn(&Path) -> Result<(Vec<PathBuf>, T), DatasetError>,
) -> Result<Vec<(PathBuf, T)>, DatasetError> {
    let mut entered = above.clone();
    let mut found = Vec::new();
    let mut waiting = vec![folder.to_path_buf()];
    while let Some(next) = waiting.pop() {
        if !entered.insert(real(&next)?) {
            continue;
        }
        let (folders, made) = read(&next)?;
        // The stack gives the last first; reversed, folders are entered in sorted order.
        waiting.extend(folders.into_iter().rev());
        found.push((next, made));
    }
    found.sort_unstable_by(|a, b| a.0.as_os_str().cmp(b.0.as_os_str()));
    Ok(found)
}

/// The path of a folder with every link resolved.
pub(super) fn real(folder: &Path) -> Result<PathBuf, DatasetError> {
    fs::canonicalize(folder).map_err(|source| DatasetError::io(folder, source))
}
