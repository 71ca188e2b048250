use std::path::{Path, PathBuf};

use super::cache::Repository;
use super::{DownloadError, HubName, Name, Origin, Row, Settings};
use clipn_base::progress::Progress;

/// What the weights are used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// Inference or training. An unsupported config is an error before the weights are fetched.
    Compute,
    /// Inspection of the files. Unsupported configs are accepted.
    Look,
}

/// Local files of weights.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FetchedWeights {
    /// Weights file, or directory with weights and configs, as accepted by
    /// [`Pretrained::open`](clipn_model::Pretrained::open).
    pub path: PathBuf,
    /// Architecture of a tag, for weights without a config. `None` for paths and repositories.
    pub model: Option<&'static str>,
    /// Warnings for the user, one sentence each.
    pub notes: Vec<String>,
}

impl Name {
    /// Returns the files, from the cache or downloaded into it.
    ///
    /// Cached files of a commit are returned without a request. For a branch or tag, the hub is
    /// queried for its current commit. If the hub cannot be reached, cached files are returned with
    /// a note in [`FetchedWeights::notes`].
    ///
    /// # Errors
    /// - [`DownloadError::NotCached`] if downloads are disabled and files are missing.
    /// - [`DownloadError::NoAccess`], [`DownloadError::NotThere`] or [`DownloadError::NoWeights`]
    ///   if the repository does not provide the weights.
    /// - [`DownloadError::Model`] or [`DownloadError::Index`] if its config or index is invalid.
    /// - Any other [`DownloadError`] if a transfer or the cache fails.
    pub fn fetch(
        &self,
        settings: &Settings,
        purpose: Purpose,
        progress: &dyn Progress,
    ) -> Result<FetchedWeights, DownloadError> {
        match self {
            Self::Path(path) => Ok(FetchedWeights {
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
                Ok(FetchedWeights {
                    model: Some(row.model),
                    ..fetched
                })
            }
        }
    }
}

impl Row {
    /// Path of the weights, a directory or a file, if all of them are in the cache.
    pub fn cached(&self, settings: &Settings) -> Option<PathBuf> {
        match &self.origin {
            Origin::Hub(name) => cached(name, settings).map(|fetched| fetched.path),
            Origin::Url { url, sha256 } => {
                Some(kept(url, sha256, settings)).filter(|path| path.is_file())
            }
        }
    }
}

/// Cached files of a repository while downloads are disabled.
fn offline(
    name: &HubName,
    settings: &Settings,
    why: super::OfflineReason,
) -> Result<FetchedWeights, DownloadError> {
    cached(name, settings).ok_or_else(|| DownloadError::NotCached {
        what: name.to_string(),
        cache: settings.cache.clone(),
        offline: why,
    })
}

/// Complete weights of a repository in the cache.
pub(super) fn cached(name: &HubName, settings: &Settings) -> Option<FetchedWeights> {
    let repository = Repository::of(name, settings);
    let commit = repository.cached_commit(&name.revision)?;
    let found = repository.weights(&commit, name.file.as_deref())?;
    Some(FetchedWeights {
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
) -> Result<FetchedWeights, DownloadError> {
    if let Some(why) = settings.offline {
        return offline(name, settings, why);
    }
    #[cfg(feature = "download")]
    return super::hub::fetch(name, settings, purpose, progress);
    #[cfg(not(feature = "download"))]
    {
        let _ = (purpose, progress);
        offline(name, settings, super::OfflineReason::NotBuilt)
    }
}

/// Path in the cache of a file that is identified by its URL: `SHA256/NAME`.
pub(super) fn kept(url: &str, sha256: &str, settings: &Settings) -> PathBuf {
    let name = url.rsplit('/').next().unwrap_or_default();
    settings.url_files_dir().join(sha256).join(Path::new(name))
}

fn from_url(
    row: &Row,
    url: &str,
    sha256: &str,
    settings: &Settings,
    progress: &dyn Progress,
) -> Result<FetchedWeights, DownloadError> {
    let path = kept(url, sha256, settings);
    if !path.is_file() {
        let why = settings
            .offline
            .or((!cfg!(feature = "download")).then_some(super::OfflineReason::NotBuilt));
        if let Some(offline) = why {
            let what = format!("the weights of {} {} ({url})", row.model, row.tag);
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
    Ok(FetchedWeights {
        path,
        model: None,
        notes: Vec::new(),
    })
}
