//! Repositories of the hub: list files, choose those of a model, and download them into the cache.

mod file;
#[cfg(fuzzing)]
pub mod fuzzing;
mod listing;
mod plan;
mod url;

use clipn_base::progress::Progress;
use clipn_model::PretrainedWeights;

use crate::cache::{CachedModel, Repository, find_cached};
use crate::error::DownloadError;
use crate::http::HubClient;
use crate::hub_name::{HubName, is_commit};
use crate::settings::{DownloadSettings, FetchPurpose};
use file::FileDownloader;
use plan::DownloadPlan;

/// Maximum size of a config in bytes, which is read into memory.
const MAX_CONFIG_BYTES: u64 = 4 << 20;

/// Maximum size of an index in bytes, which is read into memory.
const MAX_INDEX_BYTES: u64 = 16 << 20;

/// Maximum size of a weights file in bytes, beyond any real one.
const MAX_WEIGHTS_BYTES: u64 = 1 << 42;

/// Downloads the model of a repository into the cache. If the hub cannot be reached, the cached
/// files are returned with a note.
pub(crate) fn fetch(
    name: &HubName,
    settings: &DownloadSettings,
    purpose: FetchPurpose,
    progress: &dyn Progress,
) -> Result<CachedModel, DownloadError> {
    // Commits are immutable: no request is needed if the cache has all files.
    if is_commit(&name.revision)
        && let Ok(cached) = find_cached(name, settings)
        && cached.notes.is_empty()
    {
        return Ok(cached);
    }
    let client = HubClient::new(&settings.network)?;
    let listing = match listing::fetch_listing(&client, name, progress) {
        Ok(listing) => listing,
        Err(error) if error.is_transient() => return from_cache_after(error, name, settings),
        Err(error) => return Err(error),
    };
    let plan = DownloadPlan::new(
        name,
        |file| listing.files.contains(file),
        listing.files.iter().map(String::as_str),
    )?;
    let repository = Repository::new(name, settings);
    let files = FileDownloader {
        client: &client,
        repository: &repository,
        name,
        commit: &listing.commit,
        progress,
    };

    for config in &plan.configs {
        files.fetch(config, MAX_CONFIG_BYTES)?;
    }
    for config in &plan.absent {
        repository.mark_absent(&listing.commit, config);
    }
    let snapshot = repository.snapshot(&listing.commit);
    if purpose == FetchPurpose::Compute && plan.has_standard_name {
        PretrainedWeights::check_supported_configs(
            &snapshot,
            clipn_checkpoint::is_open_clip_file_name(&plan.weights),
        )?;
    }
    if plan.is_index() {
        files.fetch(&plan.weights, MAX_INDEX_BYTES)?;
        for part in clipn_checkpoint::shard_names(snapshot.join(&plan.weights))? {
            files.fetch(&plan.shard_path(&part), MAX_WEIGHTS_BYTES)?;
        }
    } else {
        files.fetch(&plan.weights, MAX_WEIGHTS_BYTES)?;
    }
    repository.write_ref(&name.revision, &listing.commit);
    let path = if plan.has_standard_name {
        snapshot
    } else {
        snapshot.join(&plan.weights)
    };
    Ok(path.into())
}

/// Falls back to the cache after a transient error. Returns the error if the cache is incomplete.
fn from_cache_after(
    error: DownloadError,
    name: &HubName,
    settings: &DownloadSettings,
) -> Result<CachedModel, DownloadError> {
    let Ok(mut cached) = find_cached(name, settings) else {
        return Err(error);
    };
    cached.notes.insert(
        0,
        format!("{name}: using the cached copy, which may be outdated: {error}"),
    );
    Ok(cached)
}
