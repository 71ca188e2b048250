use std::collections::BTreeSet;

use clipn_base::progress::Progress;
use serde::Deserialize;
use ureq::http::Method;

use crate::error::DownloadError;
use crate::http::{HttpResponse, HubClient, RedirectPolicy, RetryPolicy};
use crate::hub::url::{hub_url, percent_encode};
use crate::hub_name::{HubName, is_commit, is_safe_path};

/// Maximum size of a listing in bytes; the largest repositories have about ten thousand files.
const MAX_BYTES: u64 = 32 << 20;

/// Maximum number of attempts to reach the hub, because the cache is a fallback.
const MAX_ATTEMPTS: u32 = 3;

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
pub(super) fn fetch_listing(
    client: &HubClient<'_>,
    name: &HubName,
    progress: &dyn Progress,
) -> Result<Listing, DownloadError> {
    let uri = hub_url(
        client,
        &format!(
            "api/models/{}/revision/{}",
            name.repo_id(),
            percent_encode(&name.revision, '.')
        ),
    )?;
    let what = name.without_revision();
    let configured = &client.network().retry_policy;
    let retry_policy = RetryPolicy {
        max_attempts: configured.max_attempts.min(MAX_ATTEMPTS),
        ..*configured
    };
    let (host, json) = retry_policy.retry(&what, progress, || {
        let response = client.send(&Method::GET, &uri, &[], RedirectPolicy::All)?;
        match response.status() {
            200 => Ok((response.host(), response.read_to_end(&what, MAX_BYTES)?)),
            _ => Err(error_response(&response, client, name)),
        }
    })?;
    Listing::parse(&json, name).map_err(|problem| DownloadError::NotAHub { host, problem })
}

impl Listing {
    /// Parses a response of the hub.
    ///
    /// # Errors
    /// A description of the problem if the JSON or the commit is invalid.
    pub(super) fn parse(json: &[u8], name: &HubName) -> Result<Self, String> {
        let info: ModelInfo = serde_json::from_slice(json)
            .map_err(|error| format!("invalid listing of {}: {error}", name.without_revision()))?;
        if !is_commit(&info.sha) {
            return Err(format!("invalid commit for {name}"));
        }
        let files = info
            .siblings
            .into_iter()
            .map(|sibling| sibling.rfilename)
            .filter(|file| is_safe_path(file));
        Ok(Self {
            commit: info.sha,
            files: files.collect(),
        })
    }
}

/// Converts an error response of the hub, by its status and `X-Error-Code` header.
pub(super) fn error_response(
    response: &HttpResponse,
    client: &HubClient<'_>,
    name: &HubName,
) -> DownloadError {
    let network = client.network();
    let repository = name.repo_id();
    let url = format!("{}/{repository}", network.endpoint);
    let status = response.status();
    let code = response.header("x-error-code").unwrap_or_default();
    let denied = |reason, hint| DownloadError::AccessDenied {
        what: name.without_revision(),
        status,
        reason,
        hint,
    };
    let get_token = match network.token {
        None => "set HF_TOKEN to an access token, or log in with `hf auth login`",
        Some(_) => "check that the token has read access",
    };
    match (status, code) {
        (401 | 403, "GatedRepo") => denied(
            "the repository is gated",
            format!("accept the conditions at {url}, and {get_token}"),
        ),
        (_, "RevisionNotFound") => DownloadError::NotFound {
            what: format!(
                "revision `{}` of {}",
                name.revision,
                name.without_revision()
            ),
            hint: format!("give a branch, a tag or a commit, see {url}/commits/main"),
        },
        (_, "EntryNotFound") => DownloadError::NotFound {
            what: name.to_string(),
            hint: format!("see the repository's files at {url}/tree/main"),
        },
        (403, _) => match network.token {
            None => denied("no token was sent", get_token.to_owned()),
            Some(_) => denied(
                "the token has no read access to the repository",
                get_token.to_owned(),
            ),
        },
        (401, _) if network.token.is_some() => denied(
            "the token is invalid",
            "check HF_TOKEN, or log in again with `hf auth login`".to_owned(),
        ),
        // Without a token, the hub does not distinguish private repositories from missing ones.
        (401, _) => denied(
            "no such repository, or it is private",
            format!("check the name, or {get_token}"),
        ),
        (404, _) => DownloadError::NotFound {
            what: name.without_revision(),
            hint: format!(
                "check the name of the model on {}, and for a private model {get_token}",
                response.host()
            ),
        },
        _ => response.status_error(&name.to_string()),
    }
}
