use std::path::{Path, PathBuf};

use super::cache::Repository;
use super::{DownloadError, HubName, Name, Origin, Row, Settings};
use clipn_base::progress::Progress;

/// What weights are wanted for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// To compute with: a config that clipn does not compute is told before the weights are fetched.
    Compute,
    /// To look at.
    Look,
}

/// Weights on this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetched {
    /// The file, or the folder where configs lie beside it: what [`Pretrained::open`](clipn_model::Pretrained::open)
    /// takes.
    pub path: PathBuf,
    /// The architecture of a tag's weights, for those that come without their config.
    pub model: Option<&'static str>,
    /// What the user should know, a sentence each.
    pub notes: Vec<String>,
}

impl Name {
    /// Gives the files: those of the cache, or fetched into it. Already there and of a fixed commit, they are given
    /// without asking the net; a branch is asked for its newest commit.
    ///
    /// # Errors
    /// See [`DownloadError`].
    pub fn fetch(
        &self,
        settings: &Settings,
        purpose: Purpose,
        progress: &dyn Progress,
    ) -> Result<Fetched, DownloadError> {
        match self {
            Self::Path(path) => Ok(Fetched {
                path: path.clone(),
                model: None,
                notes: Vec::new(),
            }),
            Self::Hub(name) => hub(name, settings, purpose, progress),
            Self::Tag(row) => {
                let fetched = match &row.origin {
                    Origin::Hub(name) => hub(name, settings, purpose, progress)?,
                    Origin::Url { url, sha256 } => from_url(row, url, sha256, settings, progress)?,
                };
                Ok(Fetched {
                    model: Some(row.model),
                    ..fetched
                })
            }
        }
    }
}

impl Row {
    /// Where its weights lie, when they are all in the cache: a folder or a file.
    pub fn cached(&self, settings: &Settings) -> Option<PathBuf> {
        match &self.origin {
            Origin::Hub(name) => cached(name, settings).map(|fetched| fetched.path),
            Origin::Url { url, sha256 } => {
                Some(kept(url, sha256, settings)).filter(|path| path.is_file())
            }
        }
    }
}

/// What a repository gives while nothing may be asked of the net.
fn offline(
    name: &HubName,
    settings: &Settings,
    why: super::Offline,
) -> Result<Fetched, DownloadError> {
    cached(name, settings).ok_or_else(|| DownloadError::NotCached {
        what: name.to_string(),
        cache: settings.cache.clone(),
        offline: why,
    })
}

/// What a repository has in the cache.
pub(super) fn cached(name: &HubName, settings: &Settings) -> Option<Fetched> {
    let repository = Repository::of(name, settings);
    let commit = repository.commit_of(&name.revision)?;
    let found = repository.weights(&commit, name.file.as_deref())?;
    Some(Fetched {
        path: found.path,
        model: None,
        notes: found.notes,
    })
}

fn hub(
    name: &HubName,
    settings: &Settings,
    purpose: Purpose,
    progress: &dyn Progress,
) -> Result<Fetched, DownloadError> {
    if let Some(why) = settings.offline {
        return offline(name, settings, why);
    }
    #[cfg(feature = "download")]
    return super::hub::fetch(name, settings, purpose, progress);
    #[cfg(not(feature = "download"))]
    {
        let _ = (purpose, progress);
        offline(name, settings, super::Offline::NotBuilt)
    }
}

/// Where a file from elsewhere is kept: by its checksum, under its own name.
pub(super) fn kept(url: &str, sha256: &str, settings: &Settings) -> PathBuf {
    let name = url.rsplit('/').next().unwrap_or_default();
    settings.own_files().join(sha256).join(Path::new(name))
}

fn from_url(
    row: &Row,
    url: &str,
    sha256: &str,
    settings: &Settings,
    progress: &dyn Progress,
) -> Result<Fetched, DownloadError> {
    let path = kept(url, sha256, settings);
    if !path.is_file() {
        let why = settings
            .offline
            .or((!cfg!(feature = "download")).then_some(super::Offline::NotBuilt));
        if let Some(offline) = why {
            let what = format!("the file of {} {} ({url})", row.model, row.tag);
            return Err(DownloadError::NotCached {
                what,
                cache: settings.assets.clone(),
                offline,
            });
        }
        #[cfg(feature = "download")]
        super::fetch_url(url, sha256, settings, progress)?;
        #[cfg(not(feature = "download"))]
        let _ = progress;
    }
    Ok(Fetched {
        path,
        model: None,
        notes: Vec::new(),
    })
}
