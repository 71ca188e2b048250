//! Repositories of the hub: list files, choose those of a model, and download them into the cache.

mod file;
#[cfg(fuzzing)]
pub mod fuzzing;
mod listing;
mod plan;

use ureq::http::Uri;

use super::cache::Repository;
use super::fetch::cached;
use super::http::Client;
use super::name::is_commit;
use super::{DownloadError, FetchedWeights, HubName, Purpose, Settings};
use clipn_base::progress::Progress;
use clipn_model::Pretrained;
use file::Files;
use plan::Plan;

/// Maximum size of a config in bytes, which is read into memory.
const MAX_CONFIG_BYTES: u64 = 4 << 20;

/// Maximum size of an index in bytes, which is read into memory.
const MAX_INDEX_BYTES: u64 = 16 << 20;

/// Maximum size of a weights file in bytes, beyond any real one.
const MAX_WEIGHTS_BYTES: u64 = 1 << 42;

/// Downloads the model of a repository into the cache. If the hub cannot be reached, the cached
/// files are returned with a note.
pub(super) fn fetch(
    name: &HubName,
    settings: &Settings,
    purpose: Purpose,
    progress: &dyn Progress,
) -> Result<FetchedWeights, DownloadError> {
    // Commits are immutable: no request is needed if the cache has all files.
    if is_commit(&name.revision)
        && let Some(fetched) = cached(name, settings).filter(|fetched| fetched.notes.is_empty())
    {
        return Ok(fetched);
    }
    let client = Client::new(&settings.network)?;
    let listing = match listing::ask(&client, name, progress) {
        Ok(listing) => listing,
        Err(error) if error.is_transient() => return from_cache_after(error, name, settings),
        Err(error) => return Err(error),
    };
    let plan = Plan::of(
        name,
        |file| listing.files.contains(file),
        listing.files.iter().map(String::as_str),
    )?;
    let repository = Repository::of(name, settings);
    let files = Files {
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
    if purpose == Purpose::Compute && plan.has_standard_name {
        Pretrained::check_configs(
            &snapshot,
            clipn_checkpoint::is_open_clip_file_name(&plan.weights),
        )?;
    }
    if plan.is_index() {
        files.fetch(&plan.weights, MAX_INDEX_BYTES)?;
        for part in clipn_checkpoint::shard_names(&snapshot.join(&plan.weights))? {
            files.fetch(&plan.beside(&part), MAX_WEIGHTS_BYTES)?;
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
    Ok(FetchedWeights {
        path,
        model: None,
        notes: Vec::new(),
    })
}

/// Falls back to the cache after a transient error. Returns the error if the cache is incomplete.
fn from_cache_after(
    error: DownloadError,
    name: &HubName,
    settings: &Settings,
) -> Result<FetchedWeights, DownloadError> {
    let Some(mut fetched) = cached(name, settings) else {
        return Err(error);
    };
    fetched.notes.insert(
        0,
        format!("{name}: using the cached copy, which may be outdated: {error}"),
    );
    Ok(fetched)
}

/// URL on the hub from an encoded path.
fn address(client: &Client<'_>, path: &str) -> Result<Uri, DownloadError> {
    let endpoint = &client.network().endpoint;
    format!("{endpoint}/{path}")
        .parse()
        .map_err(|_| DownloadError::NotAHub {
            host: endpoint.clone(),
            problem: "invalid URL".to_owned(),
        })
}

/// Percent-encodes all but unreserved characters (RFC 3986, section 2.3) and `kept`.
fn encoded(text: &str, kept: char) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        let c = char::from(byte);
        if c.is_ascii_alphanumeric()
            || matches!(c, '-' | '.' | '_' | '~')
            || (c == kept && c.is_ascii())
        {
            out.push(c);
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percent_encodes_reserved_characters() {
        assert_eq!(encoded("refs/pr/1", '.'), "refs%2Fpr%2F1");
        assert_eq!(encoded("a b/é?#%.pt", '/'), "a%20b/%C3%A9%3F%23%25.pt");
    }
}
