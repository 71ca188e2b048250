use ureq::http::{Method, Uri};

use super::{address, encoded, listing};
use crate::cache::{Repository, create_folder};
use crate::http::{Client, Follow};
use crate::name::is_inside;
use crate::transfer::{Lock, Transfer};
use crate::{DownloadError, HubName};
use clipn_base::progress::Progress;

/// How often a file is described anew because it changed while it was fetched.
const MOST_CHANGES: u32 = 2;

/// The files of a repository at a commit.
pub(super) struct Files<'a> {
    pub(super) client: &'a Client<'a>,
    pub(super) repository: &'a Repository,
    pub(super) name: &'a HubName,
    pub(super) commit: &'a str,
    pub(super) progress: &'a dyn Progress,
}

/// What the hub says of a file before it gives it.
#[derive(Debug)]
struct Described {
    /// Its etag: the SHA-256 of large files, git's hash of others.
    etag: String,
    size: Option<u64>,
}

impl Described {
    fn sha256(&self) -> Option<&str> {
        let is_sha256 = self.etag.len() == 64
            && self
                .etag
                .bytes()
                .all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        is_sha256.then_some(self.etag.as_str())
    }
}

impl Files<'_> {
    /// Sees to it that the snapshot has the file, of at most `limit` bytes.
    pub(super) fn fetch(&self, file: &str, limit: u64) -> Result<(), DownloadError> {
        if !is_inside(file) {
            return Err(DownloadError::Name {
                given: self.name.to_string(),
                problem: "it has a file whose name leads out of its folder",
            });
        }
        if self.repository.pointer(self.commit, file).is_file() {
            return Ok(());
        }
        let uri = self.address(file)?;
        let mut changes = 0;
        loop {
            let described = self.describe(file, &uri)?;
            match self.fetch_blob(file, &uri, &described, limit) {
                // The file that was described is not the one that came.
                Err(DownloadError::Unsteady { .. }) if changes < MOST_CHANGES => changes += 1,
                Err(error) => return Err(error),
                Ok(()) => return self.repository.link(&described.etag, self.commit, file),
            }
        }
    }

    fn address(&self, file: &str) -> Result<Uri, DownloadError> {
        let path = format!(
            "{}/resolve/{}/{}",
            self.name.repository(),
            self.commit,
            encoded(file, '/')
        );
        address(self.client, &path)
    }

    /// Asks for etag and size. Large files are elsewhere, and the redirect to them tells both.
    fn describe(&self, file: &str, uri: &Uri) -> Result<Described, DownloadError> {
        self.client
            .network()
            .patience
            .again(file, self.progress, || {
                let answer = self.client.ask(&Method::HEAD, uri, &[], Follow::Within)?;
                let is_redirect = (300..400).contains(&answer.status());
                if !is_redirect && answer.status() != 200 {
                    return Err(listing::refusal(&answer, self.client, self.name));
                }
                let etag = answer
                    .header("x-linked-etag")
                    .or_else(|| answer.header("etag"))
                    .unwrap_or_default();
                let etag = etag.trim().trim_start_matches("W/").trim_matches('"');
                if !is_etag(etag) {
                    let problem = format!("it gives no usable ETag for {file}");
                    return Err(DownloadError::NotAHub {
                        host: answer.host(),
                        problem,
                    });
                }
                let own_size = || {
                    if is_redirect {
                        None
                    } else {
                        answer.number("content-length")
                    }
                };
                let size = answer.number("x-linked-size").or_else(own_size);
                Ok(Described {
                    etag: etag.to_owned(),
                    size,
                })
            })
    }

    /// Sees to it that the blob is there and whole.
    fn fetch_blob(
        &self,
        file: &str,
        uri: &Uri,
        described: &Described,
        limit: u64,
    ) -> Result<(), DownloadError> {
        let blob = self.repository.blob(&described.etag);
        let is_there = || {
            let length = std::fs::metadata(&blob)
                .ok()
                .filter(|found| found.is_file())
                .map(|found| found.len());
            length.is_some_and(|length| described.size.is_none_or(|size| size == length))
        };
        if is_there() {
            return Ok(());
        }
        create_folder(blob.parent().unwrap_or(&blob))?;
        let _lock = Lock::take(&self.repository.lock(&described.etag), file, self.progress)?;
        if is_there() {
            return Ok(());
        }
        let transfer = Transfer {
            client: self.client,
            uri,
            what: file,
            size: described.size,
            sha256: described.sha256(),
            limit,
            // Where large files are, a status means no more than it says.
            refusal: &|answer| match self.client.is_hub(answer) {
                true => listing::refusal(answer, self.client, self.name),
                false => answer.refusal(file),
            },
            progress: self.progress,
        };
        transfer.to(&blob)
    }
}

/// Whether an etag can be the name of a file in the cache.
fn is_etag(etag: &str) -> bool {
    (1..=128).contains(&etag.len())
        && !etag.starts_with('.')
        && !etag.ends_with('.')
        && etag
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn etags_name_files_of_the_cache_and_no_others() {
        let sha256 = "a".repeat(64);
        for etag in [
            "d7edf6bd2a681fb0175f7735299831ee1b22b812",
            &sha256,
            "x-1.y_2",
        ] {
            assert!(is_etag(etag), "{etag}");
        }
        let long = "a".repeat(129);
        for etag in [
            "", ".", "..", "../x", "a/b", "a\\b", ".x", "a:b", "a\0b", "a.", "ä", &long,
        ] {
            assert!(!is_etag(etag), "{etag:?}");
        }
    }
}
