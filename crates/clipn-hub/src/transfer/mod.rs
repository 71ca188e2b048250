//! One file over the net: into a `.incomplete` beside its place, on from where it was cut off, checked, then renamed.

mod lock;
mod part;

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use ureq::http::{Method, Uri};

pub(super) use lock::Lock;

use super::DownloadError;
use super::http::{Answer, Client, Follow};
use clipn_base::progress::Progress;
use part::Part;

/// Bytes that are read at once.
const CHUNK: usize = 256 << 10;

/// How often a file is begun anew because what came does not fit what is there.
const MOST_RESTARTS: u32 = 3;

/// A file to be fetched.
pub(super) struct Transfer<'a> {
    pub(super) client: &'a Client<'a>,
    pub(super) uri: &'a Uri,
    /// What it is called.
    pub(super) what: &'a str,
    /// Its length, where it is known.
    pub(super) size: Option<u64>,
    /// Its SHA-256, where it is known. Only then may what an earlier run fetched be gone on with.
    pub(super) sha256: Option<&'a str>,
    /// The most that it may have.
    pub(super) limit: u64,
    /// What a status means that gives nothing.
    pub(super) refusal: &'a dyn Fn(&Answer) -> DownloadError,
    pub(super) progress: &'a dyn Progress,
}

/// How an attempt ended that did not fail.
enum End {
    /// All bytes are there.
    Whole,
    /// The rest belongs to another file than the beginning.
    Another,
}

impl Transfer<'_> {
    /// Fetches the file to `place`, whose folder is there. Whoever calls holds a lock, which saves work and no more: two
    /// that fetch the same file all the same write the same bytes, and what is renamed was checked as it lies there.
    pub(super) fn to(&self, place: &Path) -> Result<(), DownloadError> {
        if let Some(size) = self.size.filter(|size| *size > self.limit) {
            return Err(DownloadError::TooLarge {
                what: self.what.to_owned(),
                size,
                limit: self.limit,
            });
        }
        let incomplete = incomplete(place);
        let mut part = Part::open(&incomplete)?;
        if self.sha256.is_none() || self.size.is_some_and(|size| part.len() > size) {
            part.clear()?;
        }
        // What this run did not see come may be anything.
        let mut is_inherited = part.len() > 0;
        loop {
            self.fill(&mut part)?;
            match self.check(&mut part) {
                Err(DownloadError::Checksum { .. }) if is_inherited => {
                    is_inherited = false;
                    part.clear()?;
                }
                Err(error @ (DownloadError::Checksum { .. } | DownloadError::Length { .. })) => {
                    drop(part);
                    let _ = fs::remove_file(&incomplete);
                    return Err(error);
                }
                Err(error) => return Err(error),
                Ok(()) => break,
            }
        }
        part.sync()?;
        drop(part);
        match fs::rename(&incomplete, place) {
            // Another process was faster, where locks do not hold.
            Err(_) if place.is_file() && !incomplete.exists() => Ok(()),
            renamed => {
                renamed.map_err(|source| DownloadError::writing("rename", &incomplete, source))
            }
        }
    }

    /// Fetches what is missing, with as many connections as that takes.
    fn fill(&self, part: &mut Part) -> Result<(), DownloadError> {
        let patience = self.client.network().patience;
        let (mut failures, mut restarts) = (0, 0);
        let mut etag = None;
        loop {
            let before = part.len();
            let outcome = self.attempt(part, &mut etag);
            self.progress.end();
            match outcome {
                Ok(End::Whole) => return Ok(()),
                Ok(End::Another) if restarts < MOST_RESTARTS => {
                    restarts += 1;
                    etag = None;
                    part.clear()?;
                    if self.sha256.is_none() {
                        return Err(self.unsteady());
                    }
                }
                Ok(End::Another) => return Err(self.unsteady()),
                Err(error) if error.may_pass() => {
                    failures = if part.len() > before { 1 } else { failures + 1 };
                    if failures >= patience.tries {
                        return Err(error);
                    }
                    patience.wait(failures, &error, self.what, self.progress)?;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// One request and what comes of it.
    fn attempt(&self, part: &mut Part, etag: &mut Option<String>) -> Result<End, DownloadError> {
        let have = part.len();
        if have > 0 && self.size == Some(have) {
            return Ok(End::Whole);
        }
        let mut headers = Vec::new();
        if have > 0 {
            headers.push(("range", format!("bytes={have}-")));
            // A weak one may stand for another content.
            if let Some(etag) = etag.as_ref().filter(|etag| !etag.starts_with("W/")) {
                headers.push(("if-range", etag.clone()));
            }
        }
        let answer = self
            .client
            .ask(&Method::GET, self.uri, &headers, Follow::Anywhere)?;
        let came = answer.header("etag").map(str::to_owned);
        let is_other = etag.is_some() && came.is_some() && *etag != came;
        let total = match answer.status() {
            // Without a checksum nobody else would tell that the file is another one now.
            200 if is_other && self.sha256.is_none() => return Ok(End::Another),
            200 => {
                // The server takes no notice of ranges, or the file is another one now.
                if have > 0 {
                    part.clear()?;
                }
                answer.number("content-length")
            }
            206 if have > 0 => {
                match content_range(answer.header("content-range").unwrap_or_default()) {
                    Some((start, total)) if start == have && !is_other => total,
                    _ => return Ok(End::Another),
                }
            }
            // There is no more: an earlier run got all of it, which the checksum will tell.
            416 if self.sha256.is_some()
                && answer.header("content-range") == Some(&format!("bytes */{have}")) =>
            {
                return Ok(End::Whole);
            }
            416 if have > 0 => return Ok(End::Another),
            _ => return Err((self.refusal)(&answer)),
        };
        *etag = came;
        self.receive(answer, part, total)?;
        Ok(End::Whole)
    }

    /// Writes the body behind what is there.
    fn receive(
        &self,
        answer: Answer,
        part: &mut Part,
        total: Option<u64>,
    ) -> Result<(), DownloadError> {
        let wrong = |got, expected| DownloadError::Length {
            what: self.what.to_owned(),
            got,
            expected,
        };
        if let (Some(total), Some(size)) = (total, self.size)
            && total != size
        {
            return Err(wrong(total, size));
        }
        let expected = self.size.or(total);
        let limit = expected.unwrap_or(self.limit);
        self.progress.begin_bytes(self.what, expected.unwrap_or(0));
        self.progress.advance(part.len());
        let host = answer.host();
        let (mut body, reading) = answer.into_body();
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
                Some(expected) if length > expected => return Err(wrong(length, expected)),
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
            Some(expected) if part.len() < expected => Err(DownloadError::Cut {
                what: self.what.to_owned(),
                host,
                got: part.len(),
            }),
            _ => Ok(()),
        }
    }

    /// Holds the whole file, as it lies on the disk, against length and checksum.
    fn check(&self, part: &mut Part) -> Result<(), DownloadError> {
        if let Some(size) = self.size.filter(|size| *size != part.len()) {
            return Err(DownloadError::Length {
                what: self.what.to_owned(),
                got: part.len(),
                expected: size,
            });
        }
        let Some(expected) = self.sha256 else {
            return Ok(());
        };
        self.progress
            .begin_bytes(&format!("checking {}", self.what), part.len());
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

    fn unsteady(&self) -> DownloadError {
        DownloadError::Unsteady {
            what: self.what.to_owned(),
            host: self.uri.host().unwrap_or_default().to_owned(),
        }
    }
}

/// Where a file is while it comes.
fn incomplete(place: &Path) -> PathBuf {
    let mut name = place.file_name().unwrap_or_default().to_owned();
    name.push(".incomplete");
    place.with_file_name(name)
}

/// Start and total of `bytes START-END/TOTAL`; the total may be unknown (`*`).
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
        fn any_range_is_read_or_refused(header in "bytes *[0-9*]{0,21}-?[0-9]{0,21}/?[0-9*]{0,21}|\\PC{0,20}") {
            if let Some((start, Some(total))) = content_range(&header) {
                prop_assert!(start < total);
            }
        }
    }

    #[test]
    fn ranges_are_read() {
        assert_eq!(content_range("bytes 5-9/10"), Some((5, Some(10))));
        assert_eq!(content_range("bytes 5-9/*"), Some((5, None)));
        for wrong in [
            "",
            "bytes",
            "bytes */10",
            "bytes 9-5/10",
            "bytes 5-10/10",
            "items 5-9/10",
            "bytes 5-9",
            "bytes -9/10",
        ] {
            assert_eq!(content_range(wrong), None, "{wrong}");
        }
    }
}
