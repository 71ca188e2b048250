//! Read-only inventory of the cache. The directories are untrusted: other programs write to them.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::cache::Repository;
use crate::cache::lookup::broken_target;
use crate::error::DownloadError;
use crate::hub_name::{HubName, is_commit, is_safe_path};
use crate::settings::DownloadSettings;
use crate::tags::{PretrainedSource, PretrainedTag, pretrained_tags};

/// Maximum nesting of directories that are read; the hub's paths are less deep.
const MAX_DEPTH: usize = 32;

/// Maximum number of files per revision, and of revisions per repository.
const MAX_ENTRIES: usize = 100_000;

/// Inventory of the cache.
///
/// ```no_run
/// use clipn_hub::{CacheInventory, DownloadSettings};
///
/// for weights in CacheInventory::scan(&DownloadSettings::from_env()?)?.weights {
///     println!("{} {} {} bytes", weights.name, weights.revision, weights.bytes);
/// }
/// # Ok::<(), clipn_hub::DownloadError>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct CacheInventory {
    /// Cached revisions of repositories, and files with URLs, sorted by name.
    pub weights: Vec<CachedWeights>,
    /// Incomplete downloads.
    #[serde(rename = "unfinished")]
    pub incomplete: IncompleteDownloads,
    /// Directories that cannot be read.
    pub unreadable: Vec<PathBuf>,
}

/// Cached revision of a repository, or cached file with a URL.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct CachedWeights {
    /// `OWNER/NAME` of a repository, or the name of a file.
    pub name: String,
    /// Commit of a repository, or SHA-256 of a file.
    pub revision: String,
    /// Branches and tags that pointed to this commit when they were last queried.
    pub refs: Vec<String>,
    /// Number of files.
    pub files: usize,
    /// Total size in bytes. Files that several revisions share count for each of them.
    pub bytes: u64,
    /// Whether it contains complete weights in a supported format, with all shards: those that can
    /// be used without downloads, by the revision if it has no [`refs`](Self::refs).
    #[serde(rename = "is_whole")]
    pub is_complete: bool,
    /// Number of files that are links to files that do not exist.
    pub broken_links: usize,
    /// Architectures and tags of open_clip, for example `ViT-B-16 laion2b_s34b_b88k`.
    pub tags: Vec<String>,
    /// Directory of the revision, or the file.
    pub path: PathBuf,
}

/// Incomplete downloads in the cache.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct IncompleteDownloads {
    /// Number of files.
    pub files: usize,
    /// Total size in bytes.
    pub bytes: u64,
}

impl CacheInventory {
    /// Scans the cache. Files outside its layout are ignored. A missing cache is empty.
    ///
    /// # Errors
    /// [`DownloadError::Io`] if the cache directory cannot be read.
    pub fn scan(settings: &DownloadSettings) -> Result<Self, DownloadError> {
        let mut inventory = Self::default();
        for directory in entries(&settings.cache)? {
            let name = directory
                .file_name()
                .and_then(|name| name.to_str())
                .and_then(repository);
            if let Some(name) = name {
                inventory.add_repository(&name, settings);
            }
        }
        for directory in entries(&settings.url_files_dir())? {
            inventory.add_file(&directory);
        }
        inventory
            .weights
            .sort_by(|a, b| (&a.name, &a.revision, &a.path).cmp(&(&b.name, &b.revision, &b.path)));
        Ok(inventory)
    }

    fn add_repository(&mut self, name: &HubName, settings: &DownloadSettings) {
        let repository = Repository::new(name, settings);
        let mut refs = BTreeMap::<String, Vec<String>>::new();
        for name in files_in(&repository.root.join("refs")).filter_map(|(name, _)| name) {
            if let Some(commit) = Some(&name)
                .filter(|name| is_safe_path(name))
                .and_then(|n| repository.cached_commit(n))
            {
                refs.entry(commit).or_default().push(name);
            }
        }
        for (_, blob) in files_in(&repository.root.join("blobs")) {
            self.count_incomplete(&blob);
        }
        for path in self.entries_of(&repository.root.join("snapshots")) {
            let Some(commit) = path
                .file_name()
                .and_then(|n| n.to_str())
                .filter(|n| is_commit(n))
            else {
                continue;
            };
            let (mut files, mut bytes, mut broken_links) = (0, 0u64, 0);
            for (_, file) in files_in(&path) {
                if let Some(size) = size(&file) {
                    (files, bytes) = (files + 1, bytes.saturating_add(size));
                } else if broken_target(&file).is_some() {
                    broken_links += 1;
                }
            }
            let mut refs = refs.remove(commit).unwrap_or_default();
            refs.sort_unstable();
            let is_of = |row: &&PretrainedTag| {
                matches!(&row.source, PretrainedSource::Hub(of) if of.owner == name.owner && of.name == name.name
                    && (of.revision == commit || refs.contains(&of.revision)))
            };
            self.weights.push(CachedWeights {
                name: name.repo_id(),
                revision: commit.to_owned(),
                files,
                bytes,
                is_complete: repository.weights(commit, None).is_ok(),
                broken_links,
                tags: tags(is_of),
                refs,
                path,
            });
        }
    }

    /// Adds the files of a directory `SHA256/`, which were downloaded from a URL.
    fn add_file(&mut self, directory: &Path) {
        let Some(sha256) = directory
            .file_name()
            .and_then(|n| n.to_str())
            .filter(|n| n.len() == 64 && is_commit(n))
        else {
            return;
        };
        for path in self.entries_of(directory) {
            let Some(size) = size(&path) else { continue };
            if self.count_incomplete(&path) {
                continue;
            }
            let name = path
                .file_name()
                .and_then(|name| name.to_str())
                // A file of locks is left where a download failed.
                .filter(|name| is_safe_path(name) && !name.starts_with('.'));
            let Some(name) = name.map(str::to_owned) else {
                continue;
            };
            let is_of = |row: &&PretrainedTag| matches!(row.source, PretrainedSource::Url { sha256: of, .. } if of == sha256);
            let (revision, tags) = (sha256.to_owned(), tags(is_of));
            let (refs, files) = (Vec::new(), 1);
            self.weights.push(CachedWeights {
                name,
                revision,
                refs,
                files,
                bytes: size,
                is_complete: true,
                broken_links: 0,
                tags,
                path,
            });
        }
    }

    /// Entries of a directory. If it cannot be read, records it as unreadable and returns none.
    fn entries_of(&mut self, directory: &Path) -> Vec<PathBuf> {
        entries(directory).unwrap_or_else(|_| {
            self.unreadable.push(directory.to_owned());
            Vec::new()
        })
    }

    /// Counts `path` if it is an incomplete download, and returns whether it is one.
    fn count_incomplete(&mut self, path: &Path) -> bool {
        let is_incomplete = path
            .extension()
            .is_some_and(|extension| extension == "incomplete");
        if let Some(size) = size(path).filter(|_| is_incomplete) {
            self.incomplete.files += 1;
            self.incomplete.bytes = self.incomplete.bytes.saturating_add(size);
        }
        is_incomplete
    }
}

/// Repository of a directory `models--OWNER--NAME`.
fn repository(directory: &str) -> Option<HubName> {
    let (owner, name) = directory.strip_prefix("models--")?.split_once("--")?;
    HubName::parse(&format!("{}{owner}/{name}", HubName::PREFIX)).ok()
}

fn tags(is_of: impl Fn(&&PretrainedTag) -> bool) -> Vec<String> {
    pretrained_tags()
        .iter()
        .filter(is_of)
        .map(|row| format!("{} {}", row.model, row.tag))
        .collect()
}

/// Size of a file in bytes, following symbolic links; `None` for anything else.
fn size(path: &Path) -> Option<u64> {
    fs::metadata(path)
        .ok()
        .filter(fs::Metadata::is_file)
        .map(|metadata| metadata.len())
}

/// Sorted entries of a directory; empty if it does not exist or is not a directory.
fn entries(directory: &Path) -> Result<Vec<PathBuf>, DownloadError> {
    use std::io::ErrorKind::{NotADirectory, NotFound};

    let failed = |source| DownloadError::Io {
        action: "read directory",
        path: directory.to_owned(),
        source,
    };
    let read = match fs::read_dir(directory) {
        Err(error) if matches!(error.kind(), NotFound | NotADirectory) => return Ok(Vec::new()),
        read => read.map_err(failed)?,
    };
    let paths = read
        .take(MAX_ENTRIES)
        .map(|entry| entry.map(|entry| entry.path()));
    let mut paths = paths.collect::<Result<Vec<_>, _>>().map_err(failed)?;
    paths.sort_unstable();
    Ok(paths)
}

/// All files below a directory: the relative path with `/` as separator, if it is UTF-8, and the
/// full path. Symbolic links to directories are not followed, which excludes cycles.
fn files_in(root: &Path) -> impl Iterator<Item = (Option<String>, PathBuf)> {
    let mut directories = vec![(root.to_owned(), 0)];
    let mut found = Vec::new();
    while let Some((directory, depth)) = directories.pop() {
        let read = fs::read_dir(&directory).into_iter().flatten().flatten();
        for entry in read.take(MAX_ENTRIES - found.len().min(MAX_ENTRIES)) {
            match entry.file_type() {
                Ok(kind) if kind.is_dir() && depth < MAX_DEPTH => {
                    directories.push((entry.path(), depth + 1));
                }
                Ok(kind) if !kind.is_dir() => found.push(entry.path()),
                _ => {}
            }
        }
    }
    let root = root.to_owned();
    found.into_iter().map(move |path| {
        let relative = path.strip_prefix(&root).unwrap_or(&path);
        let parts: Option<Vec<&str>> = relative.iter().map(|part| part.to_str()).collect();
        (parts.map(|parts| parts.join("/")), path)
    })
}
