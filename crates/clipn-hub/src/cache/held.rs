//! What lies in the cache: a look at folders that anybody may have written to, which changes nothing.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::Repository;
use crate::name::{is_commit, is_inside};
use crate::table::{self, Origin, Row};
use crate::{DownloadError, HubName, Settings};

/// Folders within one another that are looked into; the hub's paths are not as deep.
const DEEPEST: usize = 32;

/// Files of one revision, and revisions of one repository, that are looked at.
const MOST: usize = 100_000;

/// What the cache holds.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Held {
    /// Revisions of repositories, and files from elsewhere, by name.
    pub weights: Vec<HeldWeights>,
    /// Files that were not fetched to their end.
    pub unfinished: Unfinished,
    /// Folders of repositories and of files that cannot be read.
    pub unreadable: Vec<PathBuf>,
}

/// One revision of a repository, or a file that has an address of its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct HeldWeights {
    /// `OWNER/NAME` of a repository; of a file its name.
    pub name: String,
    /// The commit of a repository, the SHA-256 of a file.
    pub revision: String,
    /// Branches and tags that were this commit when they were last asked for.
    pub refs: Vec<String>,
    /// Number of its files.
    pub files: usize,
    /// Bytes of its files; files that revisions share count for each.
    pub bytes: u64,
    /// Whether weights that clipn reads are among them, all parts of them.
    pub is_whole: bool,
    /// open_clip's tags for it, as `ViT-B-16 laion2b_s34b_b88k`.
    pub tags: Vec<String>,
    /// The folder of the revision, or the file.
    pub path: PathBuf,
}

/// Files that were not fetched to their end.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Unfinished {
    /// Their number.
    pub files: usize,
    /// Their bytes.
    pub bytes: u64,
}

impl Held {
    /// Looks through the cache. What is not of its layout is passed over, and a cache that is not there is empty.
    ///
    /// # Errors
    /// [`DownloadError::Io`]: the cache itself cannot be read.
    pub fn look(settings: &Settings) -> Result<Self, DownloadError> {
        let mut held = Self::default();
        for folder in entries(&settings.cache)? {
            let name = folder
                .file_name()
                .and_then(|name| name.to_str())
                .and_then(repository);
            if let Some(name) = name {
                held.look_at_repository(&name, settings);
            }
        }
        for folder in entries(&settings.own_files())? {
            held.look_at_file(&folder);
        }
        held.weights
            .sort_by(|a, b| (&a.name, &a.revision, &a.path).cmp(&(&b.name, &b.revision, &b.path)));
        Ok(held)
    }

    fn look_at_repository(&mut self, name: &HubName, settings: &Settings) {
        let repository = Repository::of(name, settings);
        let mut refs = BTreeMap::<String, Vec<String>>::new();
        for name in files_in(&repository.root.join("refs")).filter_map(|(name, _)| name) {
            if let Some(commit) = Some(&name)
                .filter(|name| is_inside(name))
                .and_then(|n| repository.commit_of(n))
            {
                refs.entry(commit).or_default().push(name);
            }
        }
        for (_, blob) in files_in(&repository.root.join("blobs")) {
            self.count_unfinished(&blob);
        }
        for path in self.entries_of(&repository.root.join("snapshots")) {
            let Some(commit) = path
                .file_name()
                .and_then(|n| n.to_str())
                .filter(|n| is_commit(n))
            else {
                continue;
            };
            let (mut files, mut bytes) = (0, 0u64);
            for size in files_in(&path).filter_map(|(_, file)| size(&file)) {
                (files, bytes) = (files + 1, bytes.saturating_add(size));
            }
            let mut refs = refs.remove(commit).unwrap_or_default();
            refs.sort_unstable();
            let is_of = |row: &&Row| {
                matches!(&row.origin, Origin::Hub(of) if of.owner == name.owner && of.name == name.name
                    && (of.revision == commit || refs.contains(&of.revision)))
            };
            self.weights.push(HeldWeights {
                name: name.repository(),
                revision: commit.to_owned(),
                files,
                bytes,
                is_whole: repository.weights(commit, None).is_some(),
                tags: tags(is_of),
                refs,
                path,
            });
        }
    }

    /// A file that was fetched from an address: in a folder that is called by its SHA-256.
    fn look_at_file(&mut self, folder: &Path) {
        let Some(sha256) = folder
            .file_name()
            .and_then(|n| n.to_str())
            .filter(|n| n.len() == 64 && is_commit(n))
        else {
            return;
        };
        for path in self.entries_of(folder) {
            let Some(size) = size(&path) else { continue };
            if self.count_unfinished(&path) {
                continue;
            }
            let name = path
                .file_name()
                .and_then(|name| name.to_str())
                .filter(|name| is_inside(name));
            let Some(name) = name.map(str::to_owned) else {
                continue;
            };
            let is_of =
                |row: &&Row| matches!(row.origin, Origin::Url { sha256: of, .. } if of == sha256);
            let (revision, tags) = (sha256.to_owned(), tags(is_of));
            let (refs, files) = (Vec::new(), 1);
            self.weights.push(HeldWeights {
                name,
                revision,
                refs,
                files,
                bytes: size,
                is_whole: true,
                tags,
                path,
            });
        }
    }

    /// What lies in a folder; nothing where it cannot be read, which is told.
    fn entries_of(&mut self, folder: &Path) -> Vec<PathBuf> {
        entries(folder).unwrap_or_else(|_| {
            self.unreadable.push(folder.to_owned());
            Vec::new()
        })
    }

    fn count_unfinished(&mut self, path: &Path) -> bool {
        let is_unfinished = path
            .extension()
            .is_some_and(|extension| extension == "incomplete");
        if let Some(size) = size(path).filter(|_| is_unfinished) {
            self.unfinished.files += 1;
            self.unfinished.bytes = self.unfinished.bytes.saturating_add(size);
        }
        is_unfinished
    }
}

/// The repository of a folder `models--OWNER--NAME`.
fn repository(folder: &str) -> Option<HubName> {
    let (owner, name) = folder.strip_prefix("models--")?.split_once("--")?;
    HubName::parse(&format!("{}{owner}/{name}", HubName::PREFIX)).ok()
}

fn tags(is_of: impl Fn(&&Row) -> bool) -> Vec<String> {
    table::rows()
        .iter()
        .filter(is_of)
        .map(|row| format!("{} {}", row.model, row.tag))
        .collect()
}

/// Bytes of a file, or of the file that a link leads to; none for anything else.
fn size(path: &Path) -> Option<u64> {
    fs::metadata(path)
        .ok()
        .filter(fs::Metadata::is_file)
        .map(|metadata| metadata.len())
}

/// What lies in a folder, sorted; nothing where it is not there or no folder.
fn entries(folder: &Path) -> Result<Vec<PathBuf>, DownloadError> {
    use std::io::ErrorKind::{NotADirectory, NotFound};

    let failed = |source| DownloadError::Io {
        action: "read the folder",
        path: folder.to_owned(),
        source,
    };
    let listed = match fs::read_dir(folder) {
        Err(error) if matches!(error.kind(), NotFound | NotADirectory) => return Ok(Vec::new()),
        listed => listed.map_err(failed)?,
    };
    let paths = listed
        .take(MOST)
        .map(|entry| entry.map(|entry| entry.path()));
    let mut paths = paths.collect::<Result<Vec<_>, _>>().map_err(failed)?;
    paths.sort_unstable();
    Ok(paths)
}

/// Whatever is no folder below this one: its path with `/` between the parts, where it is UTF-8, and where it lies. Links
/// to folders are not followed, so that none leads round in a circle.
fn files_in(root: &Path) -> impl Iterator<Item = (Option<String>, PathBuf)> {
    let mut folders = vec![(root.to_owned(), 0)];
    let mut found = Vec::new();
    while let Some((folder, depth)) = folders.pop() {
        let listed = fs::read_dir(&folder).into_iter().flatten().flatten();
        for entry in listed.take(MOST - found.len().min(MOST)) {
            match entry.file_type() {
                Ok(kind) if kind.is_dir() && depth < DEEPEST => {
                    folders.push((entry.path(), depth + 1))
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
