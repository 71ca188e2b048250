use clipn_base::progress::Progress;
use ureq::http::{Method, Uri};

use crate::cache::{Repository, create_directory};
use crate::error::DownloadError;
use crate::http::{HubClient, RedirectPolicy};
use crate::hub::listing;
use crate::hub::url::{hub_url, percent_encode};
use crate::hub_name::{HubName, is_safe_path};
use crate::transfer::{FileLock, Transfer};

/// Maximum number of restarts because a file changed during its download.
const MAX_CHANGES: u32 = 2;

/// Downloader for the files of a repository at a commit.
pub(super) struct FileDownloader<'a> {
    pub(super) client: &'a HubClient<'a>,
    pub(super) repository: &'a Repository,
    pub(super) name: &'a HubName,
    pub(super) commit: &'a str,
    pub(super) progress: &'a dyn Progress,
}

/// Metadata of a file, from a `HEAD` request.
#[derive(Debug)]
struct FileInfo {
    /// ETag: the SHA-256 of large files, Git's blob hash of others.
    etag: String,
    /// Size in bytes, if the hub announces it.
    size: Option<u64>,
}

impl FileInfo {
    /// The ETag if it is a SHA-256.
    fn sha256(&self) -> Option<&str> {
        let is_sha256 = self.etag.len() == 64
            && self
                .etag
                .bytes()
                .all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        is_sha256.then_some(self.etag.as_str())
    }
}

impl FileDownloader<'_> {
    /// Ensures that the snapshot contains the file, with a size of at most `limit` bytes.
    pub(super) fn fetch(&self, file: &str, limit: u64) -> Result<(), DownloadError> {
        if !is_safe_path(file) {
            return Err(DownloadError::UnsafePath {
                repository: self.name.without_revision(),
                path: file.to_owned(),
            });
        }
        // An empty file may be one that another program cut; the hub knows whether it is complete.
        let cached = std::fs::metadata(self.repository.pointer(self.commit, file));
        if cached.is_ok_and(|cached| cached.is_file() && cached.len() > 0) {
            return Ok(());
        }
        let uri = self.url(file)?;
        let mut changes = 0;
        loop {
            let info = self.fetch_info(file, &uri)?;
            match self.fetch_blob(file, &uri, &info, limit) {
                // The file changed between the `HEAD` request and the download.
                Err(DownloadError::Changed { .. }) if changes < MAX_CHANGES => changes += 1,
                Err(error) => return Err(error),
                Ok(()) => return self.repository.link(&info.etag, self.commit, file),
            }
        }
    }

    fn url(&self, file: &str) -> Result<Uri, DownloadError> {
        let path = format!(
            "{}/resolve/{}/{}",
            self.name.repo_id(),
            self.commit,
            percent_encode(file, '/')
        );
        hub_url(self.client, &path)
    }

    /// Requests the ETag and size. Large files are on a storage server; the redirect to it contains
    /// both.
    fn fetch_info(&self, file: &str, uri: &Uri) -> Result<FileInfo, DownloadError> {
        self.client
            .network()
            .retry_policy
            .retry(file, self.progress, || {
                let response =
                    self.client
                        .send(&Method::HEAD, uri, &[], RedirectPolicy::SameOrigin)?;
                let is_redirect = (300..400).contains(&response.status());
                if !is_redirect && response.status() != 200 {
                    return Err(listing::error_response(&response, self.client, self.name));
                }
                let etag = response
                    .header("x-linked-etag")
                    .or_else(|| response.header("etag"))
                    .unwrap_or_default();
                let etag = etag.trim().trim_start_matches("W/").trim_matches('"');
                if !is_etag(etag) {
                    let problem = format!("missing or invalid ETag of {file}");
                    return Err(DownloadError::NotAHub {
                        host: response.host(),
                        problem,
                    });
                }
                let own_size = || {
                    if is_redirect {
                        None
                    } else {
                        response.number("content-length")
                    }
                };
                let size = response.number("x-linked-size").or_else(own_size);
                Ok(FileInfo {
                    etag: etag.to_owned(),
                    size,
                })
            })
    }

    /// Ensures that the blob exists and is complete.
    fn fetch_blob(
        &self,
        file: &str,
        uri: &Uri,
        info: &FileInfo,
        limit: u64,
    ) -> Result<(), DownloadError> {
        let blob = self.repository.blob(&info.etag);
        let is_complete = || {
            let length = std::fs::metadata(&blob)
                .ok()
                .filter(|metadata| metadata.is_file())
                .map(|metadata| metadata.len());
            length.is_some_and(|length| info.size.is_none_or(|size| size == length))
        };
        if is_complete() {
            return Ok(());
        }
        create_directory(blob.parent().unwrap_or(&blob))?;
        let _lock = FileLock::acquire(&self.repository.lock(&info.etag), file, self.progress)?;
        if is_complete() {
            return Ok(());
        }
        let transfer = Transfer {
            client: self.client,
            uri,
            what: file,
            size: info.size,
            sha256: info.sha256(),
            limit,
            // Error responses of storage servers do not follow the hub's conventions.
            status_error: &|response| {
                if self.client.is_hub(response) {
                    listing::error_response(response, self.client, self.name)
                } else {
                    response.status_error(file)
                }
            },
            progress: self.progress,
        };
        transfer.run(&blob)
    }
}

/// Whether an ETag is safe as a file name in the cache.
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
    fn accepts_only_etags_that_are_safe_file_names() {
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
