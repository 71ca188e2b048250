//! Directories of images, read with links followed and hidden entries ignored.

use std::collections::{BTreeMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use walkdir::{DirEntry, WalkDir};

use crate::error::DatasetError;
use crate::image_name::{NameKind, has_image_start, is_ignored_name};
use crate::skipped_files::SkippedFiles;

/// Contents of a directory, each kind sorted by the bytes of the names.
#[derive(Debug, Default)]
pub(crate) struct DirectoryListing {
    pub(crate) directories: Vec<PathBuf>,
    pub(crate) images: Vec<PathBuf>,
    /// Files that are no images.
    pub(crate) skipped: SkippedFiles,
}

/// Images below a directory, by the whole path of their directory, as torchvision sorts them.
#[derive(Debug, Default)]
pub(crate) struct ImageTree<T> {
    pub(crate) directories: BTreeMap<OsString, T>,
    /// Files that are no images.
    pub(crate) skipped: SkippedFiles,
}

/// Kind of a directory entry; a link counts as its target.
enum EntryKind {
    Directory,
    Image,
    OtherFile,
    /// A pipe, socket or device, which could block forever when opened.
    SpecialFile,
}

/// Lists a directory.
pub(crate) fn list_directory(directory: &Path) -> Result<DirectoryListing, DatasetError> {
    let metadata = fs::metadata(directory).map_err(|error| DatasetError::io(directory, error))?;
    if !metadata.is_dir() {
        return Err(DatasetError::NotADirectory {
            path: directory.to_path_buf(),
        });
    }
    let mut listing = DirectoryListing::default();
    for entry in walk(directory).min_depth(1).max_depth(1) {
        match classify(entry)? {
            Some((path, EntryKind::Directory)) => listing.directories.push(path),
            Some((path, EntryKind::Image)) => listing.images.push(path),
            Some((path, EntryKind::OtherFile)) => listing.skipped.add(file_name(&path)),
            Some((_, EntryKind::SpecialFile)) => listing.skipped.add_special_file(),
            None => {}
        }
    }
    Ok(listing)
}

/// Finds all images below `directory` at any depth; `add` receives their paths, sorted by name in
/// each directory. Each real directory is entered once, and those in `above` never, so that cycles
/// of links end.
pub(crate) fn walk_images<T: Default>(
    directory: &Path,
    above: &HashSet<PathBuf>,
    mut add: impl FnMut(&mut T, PathBuf),
) -> Result<ImageTree<T>, DatasetError> {
    let mut entered = above.clone();
    let mut enter = |entry: &DirEntry| {
        let path = entry.path();
        // A directory that cannot be resolved fails when it is read.
        !entry.file_type().is_dir()
            || entered.insert(fs::canonicalize(path).unwrap_or_else(|_| path.to_path_buf()))
    };
    let entries = walk(directory)
        .into_iter()
        .filter_entry(|entry| !is_ignored_entry(entry) && enter(entry));
    let mut tree = ImageTree::default();
    for entry in entries {
        match classify(entry)? {
            Some((path, EntryKind::Image)) => {
                let parent = path.parent().unwrap_or(directory).as_os_str();
                match tree.directories.get_mut(parent) {
                    Some(images) => add(images, path),
                    None => {
                        let parent = parent.to_os_string();
                        add(tree.directories.entry(parent).or_default(), path);
                    }
                }
            }
            Some((path, EntryKind::OtherFile)) => tree.skipped.add(file_name(&path)),
            Some((_, EntryKind::SpecialFile)) => tree.skipped.add_special_file(),
            Some((_, EntryKind::Directory)) | None => {}
        }
    }
    Ok(tree)
}

/// Returns the path of a directory with all links resolved.
pub(crate) fn canonicalize(directory: &Path) -> Result<PathBuf, DatasetError> {
    fs::canonicalize(directory).map_err(|error| DatasetError::io(directory, error))
}

fn walk(directory: &Path) -> WalkDir {
    WalkDir::new(directory)
        .follow_links(true)
        .sort_by_file_name()
}

fn is_ignored_entry(entry: &DirEntry) -> bool {
    entry.depth() > 0 && is_ignored_name(entry.file_name())
}

fn file_name(path: &Path) -> &OsStr {
    path.file_name().unwrap_or_default()
}

/// Returns the path and kind of an entry; `None` if it is ignored by its name.
fn classify(
    entry: walkdir::Result<DirEntry>,
) -> Result<Option<(PathBuf, EntryKind)>, DatasetError> {
    let file_kind = |path: &Path| match NameKind::from_name(file_name(path)) {
        NameKind::Image => EntryKind::Image,
        NameKind::NoExtension if has_image_start(path) => EntryKind::Image,
        _ => EntryKind::OtherFile,
    };
    match entry {
        Ok(entry) if is_ignored_entry(&entry) => Ok(None),
        Ok(entry) => {
            let kind = match entry.file_type() {
                kind if kind.is_dir() => EntryKind::Directory,
                kind if kind.is_file() => file_kind(entry.path()),
                _ => EntryKind::SpecialFile,
            };
            Ok(Some((entry.into_path(), kind)))
        }
        Err(error) => {
            let path = error.path().unwrap_or(Path::new("")).to_path_buf();
            if error.depth() > 0 && path.file_name().is_some_and(is_ignored_name) {
                Ok(None)
            } else if error.loop_ancestor().is_some() {
                Ok(Some((path, EntryKind::Directory)))
            } else if path.is_symlink() && fs::metadata(&path).is_err() {
                // A dangling link counts as a file, so that a missing image is reported as
                // unreadable rather than silently skipped.
                let kind = file_kind(&path);
                Ok(Some((path, kind)))
            } else {
                let source = error.into_io_error();
                let source = source.unwrap_or_else(|| io::Error::other("unknown error"));
                Err(DatasetError::io(&path, source))
            }
        }
    }
}
