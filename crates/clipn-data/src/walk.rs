use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::fs::{self, FileType};
use std::path::{Path, PathBuf};

use super::DatasetError;
use super::set::{is_hidden, is_image_name};

/// Contents of a directory without hidden entries, each kind sorted by the bytes of the names.
#[derive(Debug, Default)]
pub(super) struct Listing {
    pub(super) folders: Vec<PathBuf>,
    pub(super) images: Vec<PathBuf>,
    /// Number of files without an image extension.
    pub(super) other_files: usize,
}

/// All images below a directory.
#[derive(Debug, Default)]
pub(super) struct ImageFiles {
    pub(super) images: Vec<PathBuf>,
    pub(super) other_files: usize,
}

enum Kind {
    Folder,
    File,
    /// A pipe, socket or device, which could block forever when opened.
    Special,
}

/// Calls `seen` for each entry of a directory that is not hidden, in no particular order.
fn scan(folder: &Path, mut seen: impl FnMut(OsString, Kind)) -> Result<(), DatasetError> {
    let unreadable = |source| DatasetError::io(folder, source);
    for entry in fs::read_dir(folder).map_err(unreadable)? {
        let entry = entry.map_err(unreadable)?;
        let name = entry.file_name();
        if !is_hidden(&name) {
            let kind = kind(&folder.join(&name), entry.file_type().map_err(unreadable)?);
            seen(name, kind);
        }
    }
    Ok(())
}

/// Lists a directory; links count as their targets.
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

/// Counts of the contents of a directory.
#[derive(Debug, Default)]
pub(super) struct Counted {
    /// Subdirectories, sorted.
    pub(super) folders: Vec<PathBuf>,
    pub(super) images: usize,
    pub(super) other_files: usize,
}

/// Counts the contents of a directory without storing the names of its files.
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

/// Returns the names of the images in a directory, sorted by their bytes.
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

/// Returns the kind of an entry, following links. A dangling link counts as a file, so that a
/// missing image is reported as unreadable rather than silently skipped.
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

/// Counts the contents of `folder` and of every directory below it, in the order of [`walk`].
pub(super) fn folders(
    folder: &Path,
    above: &HashSet<PathBuf>,
) -> Result<Vec<(PathBuf, Counted)>, DatasetError> {
    visit(folder, above, |next| {
        let mut counted = count(next)?;
        Ok((std::mem::take(&mut counted.folders), counted))
    })
}

/// Returns all images below `folder` at any depth in torchvision's order: directories by their
/// whole path, then files by name.
pub(super) fn walk(folder: &Path, above: &HashSet<PathBuf>) -> Result<ImageFiles, DatasetError> {
    let found = visit(folder, above, |next| {
        let mut listing = list(next)?;
        Ok((std::mem::take(&mut listing.folders), listing))
    })?;
    let mut walked = ImageFiles::default();
    for (_, listing) in found {
        walked.images.extend(listing.images);
        walked.other_files += listing.other_files;
    }
    Ok(walked)
}

/// Applies `read` to `folder` and every directory below it and sorts the results by whole path.
/// `read` also returns the subdirectories. Links are followed, but each real directory is entered
/// once, and those in `above` never, so cycles of links end.
fn visit<T>(
    folder: &Path,
    above: &HashSet<PathBuf>,
    read: impl Fn(&Path) -> Result<(Vec<PathBuf>, T), DatasetError>,
) -> Result<Vec<(PathBuf, T)>, DatasetError> {
    let mut entered = above.clone();
    let mut found = Vec::new();
    let mut stack = vec![folder.to_path_buf()];
    while let Some(next) = stack.pop() {
        if !entered.insert(real(&next)?) {
            continue;
        }
        let (folders, value) = read(&next)?;
        // The stack pops the last entry first; reversed, directories are entered in sorted order.
        stack.extend(folders.into_iter().rev());
        found.push((next, value));
    }
    found.sort_unstable_by(|a, b| a.0.as_os_str().cmp(b.0.as_os_str()));
    Ok(found)
}

/// Returns the path of a directory with all links resolved.
pub(super) fn real(folder: &Path) -> Result<PathBuf, DatasetError> {
    fs::canonicalize(folder).map_err(|source| DatasetError::io(folder, source))
}
