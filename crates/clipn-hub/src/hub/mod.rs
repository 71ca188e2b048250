//! Repositories of the hub: what is in them, which of it a model is, and getting it into the cache.

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
use super::{DownloadError, Fetched, HubName, Purpose, Settings};
use clipn_model::Pretrained;
use clipn_base::progress::Progress;
use file::Files;
use plan::Plan;

/// The largest config, and the largest index, which are read whole.
const LARGEST_CONFIG: u64 = 4 << 20;
const LARGEST_INDEX: u64 = 16 << 20;

/// The largest file of weights; only a server that lies has one.
const LARGEST_WEIGHTS: u64 = 1 << 42;

/// Gets a repository's model into the cache. Where the hub cannot be reached, what the cache has of it is given, with a
/// note.
pub(super) fn fetch(
    name: &HubName,
    settings: &Settings,
    purpose: Purpose,
    progress: &dyn Progress,
) -> Result<Fetched, DownloadError> {
    // A commit never changes.
    if is_commit(&name.revision)
        && let Some(fetched) = cached(name, settings).filter(|fetched| fetched.notes.is_empty())
    {
        return Ok(fetched);
    }
    let client = Client::new(&settings.network)?;
    let listing = match listing::ask(&client, name, progress) {
        Ok(listing) => listing,
        Err(error) if error.may_pass() => return from_cache_after(error, name, settings),
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
        files.fetch(config, LARGEST_CONFIG)?;
    }
    for config in &plan.absent {
        repository.remember_absent(&listing.commit, config);
    }
    let snapshot = repository.snapshot(&listing.commit);
    if purpose == Purpose::Compute && plan.is_agreed {
        Pretrained::check_configs(&snapshot, clipn_checkpoint::is_open_clip_name(&plan.weights))?;
    }
    if plan.is_index() {
        files.fetch(&plan.weights, LARGEST_INDEX)?;
        for part in clipn_checkpoint::parts_of(&snapshot.join(&plan.weights))? {
            files.fetch(&plan.beside(&part), LARGEST_WEIGHTS)?;
        }
    } else {
        files.fetch(&plan.weights, LARGEST_WEIGHTS)?;
    }
    repository.remember(&name.revision, &listing.commit);
    let path = if plan.is_agreed {
        snapshot
    } else {
        snapshot.join(&plan.weights)
    };
    Ok(Fetched {
        path,
        model: None,
        notes: Vec::new(),
    })
}

/// What the cache has, because the hub cannot be reached.
fn from_cache_after(
    error: DownloadError,
    name: &HubName,
    settings: &Settings,
) -> Result<Fetched, DownloadError> {
    let Some(mut fetched) = cached(name, settings) else {
        return Err(error);
    };
    fetched.notes.insert(
        0,
        format!("{name} is taken from the cache, and there may be a newer one: {error}"),
    );
    Ok(fetched)
}

/// An address on the hub, from parts that are put into it as they are and parts that are encoded.
fn address(client: &Client<'_>, path: &str) -> Result<Uri, DownloadError> {
    let endpoint = &client.network().endpoint;
    format!("{endpoint}/{path}")
        .parse()
        .map_err(|_| DownloadError::NotAHub {
            host: endpoint.clone(),
            problem: "its address is none".to_owned(),
        })
}

/// Percent-encodes what is not unreserved (RFC 3986, 2.3), and leaves `kept` too.
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
    fn names_are_encoded() {
        assert_eq!(encoded("refs/pr/1", '.'), "refs%2Fpr%2F1");
        assert_eq!(encoded("a b/é?#%.pt", '/'), "a%20b/%C3%A9%3F%23%25.pt");
    }
}
