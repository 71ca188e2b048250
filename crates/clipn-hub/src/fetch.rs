use std::path::PathBuf;

use clipn_base::progress::{NoProgress, Progress};

use crate::cache::{CachedModel, find_cached, url_file_path};
use crate::error::DownloadError;
#[cfg(not(feature = "download"))]
use crate::error::OfflineReason;
use crate::hub_name::HubName;
use crate::name::WeightsName;
use crate::settings::{DownloadSettings, FetchPurpose};
use crate::tags::{PretrainedSource, PretrainedTag};

/// Local files of weights.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct FetchedWeights {
    /// Weights file, or directory with weights and configs, as accepted by
    /// [`PretrainedWeights::open`](clipn_model::PretrainedWeights::open).
    pub path: PathBuf,
    /// Architecture of a tag, for weights without a config. `None` for paths and repositories.
    pub model: Option<&'static str>,
    /// Warnings for the user, one sentence each.
    pub notes: Vec<String>,
}

impl WeightsName {
    /// Returns the files, from the cache or downloaded into it.
    ///
    /// Cached files of a commit are returned without a request. For a branch or tag, the hub is
    /// queried for its current commit. If the hub cannot be reached, cached files are returned with
    /// a note in [`FetchedWeights::notes`].
    ///
    /// # Errors
    /// - [`DownloadError::NotCached`], [`DownloadError::RevisionNotCached`] or
    ///   [`DownloadError::BrokenLinks`] if downloads are disabled and files are missing.
    /// - [`DownloadError::AccessDenied`], [`DownloadError::NotFound`] or
    ///   [`DownloadError::NoWeights`] if the repository does not provide the weights.
    /// - [`DownloadError::Model`] or [`DownloadError::Index`] if its config or index is invalid.
    /// - Any other [`DownloadError`] if a transfer or the cache fails.
    pub fn fetch(
        &self,
        settings: &DownloadSettings,
        purpose: FetchPurpose,
    ) -> Result<FetchedWeights, DownloadError> {
        self.fetch_with_progress(settings, purpose, &NoProgress)
    }

    /// Same as [`fetch`](Self::fetch), with reports to `progress`, which can also cancel.
    ///
    /// # Errors
    /// Those of [`fetch`](Self::fetch), and [`DownloadError::Cancelled`].
    pub fn fetch_with_progress(
        &self,
        settings: &DownloadSettings,
        purpose: FetchPurpose,
        progress: &dyn Progress,
    ) -> Result<FetchedWeights, DownloadError> {
        let (cached, model) = match self {
            Self::Path(path) => (path.clone().into(), None),
            Self::Hub(name) => (fetch_repository(name, settings, purpose, progress)?, None),
            Self::Tag(tag) => {
                let cached = match &tag.source {
                    PretrainedSource::Hub(name) => {
                        fetch_repository(name, settings, purpose, progress)?
                    }
                    PretrainedSource::Url { url, sha256 } => {
                        fetch_url_of_tag(tag, url, sha256, settings, progress)?.into()
                    }
                };
                (cached, Some(tag.model))
            }
        };
        Ok(FetchedWeights {
            path: cached.path,
            model,
            notes: cached.notes,
        })
    }
}

impl PretrainedTag {
    /// Path of the weights, a directory or a file, if all of them are in the cache.
    pub fn cached(&self, settings: &DownloadSettings) -> Option<PathBuf> {
        match &self.source {
            PretrainedSource::Hub(name) => {
                find_cached(name, settings).ok().map(|cached| cached.path)
            }
            PretrainedSource::Url { url, sha256 } => {
                Some(url_file_path(url, sha256, settings)).filter(|path| path.is_file())
            }
        }
    }
}

#[cfg_attr(not(feature = "download"), expect(unused_variables))]
fn fetch_repository(
    name: &HubName,
    settings: &DownloadSettings,
    purpose: FetchPurpose,
    progress: &dyn Progress,
) -> Result<CachedModel, DownloadError> {
    let from_cache = |reason| {
        find_cached(name, settings).map_err(|miss| miss.into_error(name, settings, reason))
    };
    match settings.offline {
        Some(reason) => from_cache(reason),
        #[cfg(feature = "download")]
        None => crate::hub::fetch(name, settings, purpose, progress),
        #[cfg(not(feature = "download"))]
        None => from_cache(OfflineReason::NotBuilt),
    }
}

#[cfg_attr(not(feature = "download"), expect(unused_variables))]
fn fetch_url_of_tag(
    tag: &PretrainedTag,
    url: &str,
    sha256: &str,
    settings: &DownloadSettings,
    progress: &dyn Progress,
) -> Result<PathBuf, DownloadError> {
    let path = url_file_path(url, sha256, settings);
    if path.is_file() {
        return Ok(path);
    }
    let not_cached = |reason| DownloadError::NotCached {
        what: format!("the weights of {} {} ({url})", tag.model, tag.tag),
        cache: settings.assets.clone(),
        reason,
    };
    match settings.offline {
        Some(reason) => Err(not_cached(reason)),
        #[cfg(feature = "download")]
        None => crate::url::fetch_url_with_progress(url, sha256, settings, progress),
        #[cfg(not(feature = "download"))]
        None => Err(not_cached(OfflineReason::NotBuilt)),
    }
}
