use std::collections::BTreeSet;

use serde::Deserialize;
use ureq::http::Method;

use super::{address, encoded};
use crate::http::{Answer, Client, Follow};
use crate::name::{is_commit, is_inside};
use crate::{DownloadError, HubName};
use clipn_base::progress::Progress;

/// The most that is read of a repository's description; the largest have some ten thousand files.
const LARGEST: u64 = 32 << 20;

/// Tries to reach the hub, whose answer may be in the cache.
const TRIES: u32 = 3;

/// A repository at a revision.
#[derive(Debug)]
pub(super) struct Listing {
    /// The commit that the revision is now.
    pub(super) commit: String,
    /// Paths of its files. Those that would lead out of a folder are left out.
    pub(super) files: BTreeSet<String>,
}

/// The answer of `/api/models/OWNER/NAME/revision/REVISION`, as far as it is read.
#[derive(Deserialize)]
struct Described {
    sha: String,
    siblings: Vec<Sibling>,
}

#[derive(Deserialize)]
struct Sibling {
    rfilename: String,
}

/// Asks the hub what a repository holds.
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
    let patience = &client.network().patience;
    let patience = crate::Patience {
        tries: patience.tries.min(TRIES),
        ..*patience
    };
    let (host, json) = patience.again(&what, progress, || {
        let answer = client.ask(&Method::GET, &uri, &[], Follow::Anywhere)?;
        match answer.status() {
            200 => Ok((answer.host(), answer.whole(&what, LARGEST)?)),
            _ => Err(refusal(&answer, client, name)),
        }
    })?;
    Listing::read(&json, name).map_err(|problem| DownloadError::NotAHub { host, problem })
}

impl Listing {
    /// Reads the hub's answer, or says what is wrong with it.
    pub(super) fn read(json: &[u8], name: &HubName) -> Result<Self, String> {
        let described: Described = serde_json::from_slice(json).map_err(|error| {
            format!(
                "what it says of {} is not understood ({error})",
                name.short()
            )
        })?;
        if !is_commit(&described.sha) {
            return Err(format!("the commit that it names for {name} is none"));
        }
        let files = described
            .siblings
            .into_iter()
            .map(|sibling| sibling.rfilename)
            .filter(|file| is_inside(file));
        Ok(Self {
            commit: described.sha,
            files: files.collect(),
        })
    }
}

/// Why the hub does not give something of a repository, by its status and its `X-Error-Code`.
pub(super) fn refusal(answer: &Answer, client: &Client<'_>, name: &HubName) -> DownloadError {
    let network = client.network();
    let repository = name.repository();
    let page = format!("{}/{repository}", network.endpoint);
    let status = answer.status();
    let code = answer.header("x-error-code").unwrap_or_default();
    let no_access = |hint| DownloadError::NoAccess {
        what: name.short(),
        status,
        hint,
    };
    let get_token = match network.token {
        None => "set HF_TOKEN to a token of your account (or log in with `hf auth login`)",
        Some(_) => "and check that your token may read it",
    };
    match (status, code) {
        (401 | 403, "GatedRepo") => no_access(format!(
            "its owner asks for consent; accept the conditions at {page}, and {get_token}"
        )),
        (_, "RevisionNotFound") => DownloadError::NotThere {
            what: format!("the revision `{}` of {}", name.revision, name.short()),
            hint: format!("give a branch, a tag or a commit of {page}/commits/main after the @"),
        },
        (_, "EntryNotFound") => DownloadError::NotThere {
            what: name.to_string(),
            hint: format!("{page}/tree/main tells the repository's files"),
        },
        (403, _) => no_access(match network.token {
            None => get_token.to_owned(),
            Some(_) => {
                "the token does not allow it; it needs read access to the repository".to_owned()
            }
        }),
        (401, _) if network.token.is_some() => no_access(
            "the token is not accepted; check HF_TOKEN, or log in anew with `hf auth login`"
                .to_owned(),
        ),
        // The hub tells those without a token no more of private repositories than of none.
        (401, _) => no_access(format!(
            "there is no such repository, or it is private; check the name, or {get_token}"
        )),
        (404, _) => DownloadError::NotThere {
            what: name.short(),
            hint: format!(
                "{} knows no model of that name; check it, and for a private one {get_token}",
                answer.host()
            ),
        },
        _ => answer.refusal(&name.to_string()),
    }
}
