//! Download of one file: into a temporary `.incomplete` file, resumed after interruptions,
//! verified, then renamed.

mod lock;
mod partial_file;

use std::io::Read;
use std::path::{Path, PathBuf};

use clipn_base::files;
use clipn_base::progress::Progress;
use ureq::http::{Method, Uri};

use crate::error::DownloadError;
use crate::http::{HttpResponse, HubClient, RedirectPolicy};
use partial_file::PartialFile;

pub(crate) use lock::FileLock;

/// Size of the read buffer in bytes.
const CHUNK: usize = 256 << 10;

/// Maximum number of restarts because the rest of a file does not match its beginning.
const MAX_RESTARTS: u32 = 3;

/// Description of a download.
pub(crate) struct Transfer<'a> {
    pub(crate) client: &'a HubClient<'a>,
    pub(crate) uri: &'a Uri,
    /// Name of the file in messages.
    pub(crate) what: &'a str,
    /// Size in bytes, if it is known.
    pub(crate) size: Option<u64>,
    /// SHA-256 in lower-case hexadecimal, if it is known. Only then can a partial file of an
    /// earlier run be resumed.
    pub(crate) sha256: Option<&'a str>,
    /// Maximum size in bytes.
    pub(crate) limit: u64,
    /// Converts an error response.
    pub(crate) status_error: &'a dyn Fn(&HttpResponse) -> DownloadError,
    pub(crate) progress: &'a dyn Progress,
}

/// Outcome of a successful request.
enum Attempt {
    /// All bytes are on disk.
    Complete,
    /// The file changed on the server: the rest does not match the beginning.
    Changed,
}

impl Transfer<'_> {
    /// Downloads the file to `target`, whose directory must exist.
    ///
    /// The caller holds a [`FileLock`] only to avoid duplicate work. Correctness does not depend on it:
    /// concurrent downloads write the same bytes, and the file is verified on disk before it is
    /// renamed.
    pub(crate) fn run(&self, target: &Path) -> Result<(), DownloadError> {
        if let Some(size) = self.size.filter(|size| *size > self.limit) {
            return Err(DownloadError::TooLarge {
                what: self.what.to_owned(),
                size,
                limit: self.limit,
            });
        }
        let incomplete = incomplete_path(target);
        let mut part = PartialFile::open(&incomplete)?;
        if self.sha256.is_none() || self.size.is_some_and(|size| part.len() > size) {
            part.clear()?;
        }
        // Data of an earlier run is untrusted until its checksum is verified.
        let mut is_resumed = part.len() > 0;
        loop {
            self.fill(&mut part)?;
            match self.verify(&mut part) {
                Err(DownloadError::Checksum { .. }) if is_resumed => {
                    is_resumed = false;
                    part.clear()?;
                }
                Err(
                    error @ (DownloadError::Checksum { .. } | DownloadError::LengthMismatch { .. }),
                ) => {
                    drop(part);
                    let _ = files::remove_file(&incomplete);
                    return Err(error);
                }
                Err(error) => return Err(error),
                Ok(()) => break,
            }
        }
        part.sync()?;
        drop(part);
        match files::rename(&incomplete, target) {
            // Without working locks, another process may have renamed the file first.
            Err(_) if target.is_file() && !incomplete.exists() => Ok(()),
            renamed => {
                renamed.map_err(|source| DownloadError::writing("rename", &incomplete, source))
            }
        }
    }

    /// Downloads the missing bytes, with as many requests as needed.
    fn fill(&self, part: &mut PartialFile) -> Result<(), DownloadError> {
        let retry_policy = self.client.network().retry_policy;
        let (mut failures, mut restarts) = (0, 0);
        let mut etag = None;
        loop {
            let before = part.len();
            let outcome = self.attempt(part, &mut etag);
            self.progress.end();
            match outcome {
                Ok(Attempt::Complete) => return Ok(()),
                Ok(Attempt::Changed) if restarts < MAX_RESTARTS => {
                    restarts += 1;
                    etag = None;
                    part.clear()?;
                    if self.sha256.is_none() {
                        return Err(self.changed());
                    }
                }
                Ok(Attempt::Changed) => return Err(self.changed()),
                Err(error) if error.is_transient() => {
                    failures = if part.len() > before { 1 } else { failures + 1 };
                    if failures >= retry_policy.max_attempts {
                        return Err(error);
                    }
                    retry_policy.back_off(failures, &error, self.what, self.progress)?;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Sends one request and receives its body.
    fn attempt(
        &self,
        part: &mut PartialFile,
        etag: &mut Option<String>,
    ) -> Result<Attempt, DownloadError> {
        let have = part.len();
        if have > 0 && self.size == Some(have) {
            return Ok(Attempt::Complete);
        }
        let mut headers = Vec::new();
        if have > 0 {
            headers.push(("range", format!("bytes={have}-")));
            // A weak ETag does not guarantee identical bytes.
            if let Some(etag) = etag.as_ref().filter(|etag| !etag.starts_with("W/")) {
                headers.push(("if-range", etag.clone()));
            }
        }
        let response = self
            .client
            .send(&Method::GET, self.uri, &headers, RedirectPolicy::All)?;
        let new_etag = response.header("etag").map(str::to_owned);
        let has_changed = etag.is_some() && new_etag.is_some() && *etag != new_etag;
        let total = match response.status() {
            // Without a checksum, the ETag is the only sign that the file has changed.
            200 if has_changed && self.sha256.is_none() => return Ok(Attempt::Changed),
            200 => {
                // The server does not support ranges, or the file has changed.
                if have > 0 {
                    part.clear()?;
                }
                response.number("content-length")
            }
            206 if have > 0 => {
                match content_range(response.header("content-range").unwrap_or_default()) {
                    Some((start, total)) if start == have && !has_changed => total,
                    _ => return Ok(Attempt::Changed),
                }
            }
            // An earlier run received the whole file; the checksum verifies that.
            416 if self.sha256.is_some()
                && response.header("content-range") == Some(&format!("bytes */{have}")) =>
            {
                return Ok(Attempt::Complete);
            }
            416 if have > 0 => return Ok(Attempt::Changed),
            _ => return Err((self.status_error)(&response)),
        };
        *etag = new_etag;
        self.receive(response, part, total)?;
        Ok(Attempt::Complete)
    }

    /// Appends the body to the partial file.
    fn receive(
        &self,
        response: HttpResponse,
        part: &mut PartialFile,
        total: Option<u64>,
    ) -> Result<(), DownloadError> {
        let wrong_length = |got, expected| DownloadError::LengthMismatch {
            what: self.what.to_owned(),
            got,
            expected,
        };
        if let (Some(total), Some(size)) = (total, self.size)
            && total != size
        {
            return Err(wrong_length(total, size));
        }
        let expected = self.size.or(total);
        let limit = expected.unwrap_or(self.limit);
        self.progress.begin_bytes(self.what, expected.unwrap_or(0));
        self.progress.advance(part.len());
        let host = response.host();
        let (mut body, reading) = response.into_body();
        let mut chunk = vec![0; CHUNK];
        loop {
            if self.progress.is_cancelled() {
                return Err(DownloadError::Cancelled {
                    what: self.what.to_owned(),
                });
            }
            let read = match body.read(&mut chunk) {
                Ok(read) => read,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(reading.failure(error, self.what, part.len())),
            };
            if read == 0 {
                break;
            }
            let length = part.len() + read as u64;
            match expected {
                Some(expected) if length > expected => return Err(wrong_length(length, expected)),
                None if length > limit => {
                    return Err(DownloadError::TooLarge {
                        what: self.what.to_owned(),
                        size: length,
                        limit,
                    });
                }
                _ => {}
            }
            part.write(&chunk[..read], expected)?;
            self.progress.advance(read as u64);
        }
        match expected {
            Some(expected) if part.len() < expected => Err(DownloadError::ConnectionClosed {
                what: self.what.to_owned(),
                host,
                received: part.len(),
            }),
            _ => Ok(()),
        }
    }

    /// Verifies the length and checksum of the file on disk.
    fn verify(&self, part: &mut PartialFile) -> Result<(), DownloadError> {
        if let Some(size) = self.size.filter(|size| *size != part.len()) {
            return Err(DownloadError::LengthMismatch {
                what: self.what.to_owned(),
                got: part.len(),
                expected: size,
            });
        }
        let Some(expected) = self.sha256 else {
            return Ok(());
        };
        self.progress
            .begin_bytes(&format!("verifying {}", self.what), part.len());
        let got = part.sha256(self.what, self.progress);
        self.progress.end();
        match got? {
            got if got == expected => Ok(()),
            got => Err(DownloadError::Checksum {
                what: self.what.to_owned(),
                got,
                expected: expected.to_owned(),
            }),
        }
    }

    fn changed(&self) -> DownloadError {
        DownloadError::Changed {
            what: self.what.to_owned(),
            host: self.uri.host().unwrap_or_default().to_owned(),
        }
    }
}

/// Path of the temporary file during the download.
fn incomplete_path(target: &Path) -> PathBuf {
    let mut name = target.file_name().unwrap_or_default().to_owned();
    name.push(".incomplete");
    target.with_file_name(name)
}

/// Parses `bytes START-END/TOTAL` and returns start and total; the total may be unknown (`*`).
fn content_range(header: &str) -> Option<(u64, Option<u64>)> {
    let (range, total) = header
        .trim()
        .strip_prefix("bytes")?
        .trim_start()
        .split_once('/')?;
    let (start, end) = range.split_once('-')?;
    let (start, end): (u64, u64) = (start.parse().ok()?, end.parse().ok()?);
    let total: Option<u64> = match total {
        "*" => None,
        total => Some(total.parse().ok()?),
    };
    (start <= end && total.is_none_or(|total| end < total)).then_some((start, total))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn content_range_accepts_any_input(header in "bytes *[0-9*]{0,21}-?[0-9]{0,21}/?[0-9*]{0,21}|\\PC{0,20}") {
            if let Some((start, Some(total))) = content_range(&header) {
                prop_assert!(start < total);
            }
        }
    }

    #[test]
    fn parses_content_ranges() {
        assert_eq!(content_range("bytes 5-9/10"), Some((5, Some(10))));
        assert_eq!(content_range("bytes 5-9/*"), Some((5, None)));
        for invalid in [
            "",
            "bytes",
            "bytes */10",
            "bytes 9-5/10",
            "bytes 5-10/10",
            "items 5-9/10",
            "bytes 5-9",
            "bytes -9/10",
        ] {
            assert_eq!(content_range(invalid), None, "{invalid}");
        }
    }
}
