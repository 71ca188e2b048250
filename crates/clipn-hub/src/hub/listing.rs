use std::collections::BTreeSet;

use serde::Deserialize;
use ureq::http::Method;

use super::{address, encoded};
use crate::http::{Client, HttpResponse, RedirectPolicy};
use crate::name::{is_commit, is_inside};
use crate::{DownloadError, HubName};
use clipn_base::progress::Progress;

/// Maximum size of a listing in bytes; the largest repositories have about ten thousand files.
const MAX_BYTES: u64 = 32 << 20;

/// Maximum number of attempts to reach the hub, because the cache is a fallback.
const MAX_TRIES: u32 = 3;

/// Files of a repository at a revision.
#[derive(Debug)]
pub(super) struct Listing {
    /// Current commit of the revision.
    pub(super) commit: String,
    /// Paths of the files. Paths that leave the repository's directory are dropped.
    pub(super) files: BTreeSet<String>,
}

/// Response of `/api/models/OWNER/NAME/revision/REVISION`, as far as it is used.
#[derive(Deserialize)]
struct ModelInfo {
    sha: String,
    siblings: Vec<Sibling>,
}

#[derive(Deserialize)]
struct Sibling {
    rfilename: String,
}

/// Requests the listing of a repository.
pub(super) fn ask(
    client: &Client<'_>,
    name: &HubName,
    progress: &dyn Progress,
) -> Result<Listing, DownloadError> {
    let uri = address(
        client,
        &format!(
            "api/models/{}/revision/{}",
            name.repository(),
            encoded(&name.revision, '.')
        ),
    )?;
    let what = name.short();
    let retry_policy = &client.network().retry_policy;
    let retry_policy = crate::RetryPolicy {
        tries: retry_policy.tries.min(MAX_TRIES),
        ..*retry_policy
    };
    let (host, json) = retry_policy.again(&what, progress, || {
        let answer = client.ask(&Method::GET, &uri, &[], RedirectPolicy::Anywhere)?;
        match answer.status() {
            200 => Ok((answer.host(), answer.whole(&what, MAX_BYTES)?)),
            _ => Err(refusal(&answer, client, name)),
        }
    })?;
    Listing::read(&json, name).map_err(|problem| DownloadError::NotAHub { host, problem })
}

impl Listing {
    /// Parses a response of the hub.
    ///
    /// # Errors
    /// A description of the problem if the JSON or the commit is invalid.
    pub(super) fn read(json: &[u8], name: &HubName) -> Result<Self, String> {
        let info: ModelInfo = serde_json::from_slice(json)
            .map_err(|error| format!("invalid listing of {}: {error}", name.short()))?;
        if !is_commit(&info.sha) {
            return Err(format!("invalid commit for {name}"));
        }
        let files = info
            .siblings
            .into_iter()
            .map(|sibling| sibling.rfilename)
            .filter(|file| is_inside(file));
        Ok(Self {
            commit: info.sha,
            files: files.collect(),
        })
    }
}

/// Converts an error response of the hub, by its status and `X-Error-Code` header.
pub(super) fn refusal(answer: &HttpResponse, client: &Client<'_>, name: &HubName) -> DownloadError {
    let network = client.network();
    let repository = name.repository();
    let url = format!("{}/{repository}", network.endpoint);
    let status = answer.status();
    let code = answer.header("x-error-code").unwrap_or_default();
    let no_access = |hint| DownloadError::NoAccess {
        what: name.short(),
        status,
        hint,
    };
    let get_token = match network.token {
        None => "set HF_TOKEN to an access token, or log in with `hf auth login`",
        Some(_) => "check that the token has read access",
    };
    match (status, code) {
        (401 | 403, "GatedRepo") => no_access(format!(
            "the repository is gated; accept the conditions at {url}, and {get_token}"
        )),
        (_, "RevisionNotFound") => DownloadError::NotThere {
            what: format!("revision `{}` of {}", name.revision, name.short()),
            hint: format!("expected a branch, a tag or a commit, see {url}/commits/main"),
        },
        (_, "EntryNotFound") => DownloadError::NotThere {
            what: name.to_string(),
            hint: format!("see the repository's files at {url}/tree/main"),
        },
        (403, _) => no_access(match network.token {
            None => get_token.to_owned(),
            Some(_) => "the token needs read access to the repository".to_owned(),
        }),
        (401, _) if network.token.is_some() => no_access(
            "the token is invalid; check HF_TOKEN, or log in again with `hf auth login`".to_owned(),
        ),
        // Without a token, the hub does not distinguish private repositories from missing ones.
        (401, _) => no_access(format!(
            "no such repository, or it is private; check the name, or {get_token}"
        )),
        (404, _) => DownloadError::NotThere {
            what: name.short(),
            hint: format!(
                "no model of that name on {}; check the name, and for a private model {get_token}",
                answer.host()
            ),
        },
        _ => answer.refusal(&name.to_string()),
    }
}
