use std::path::PathBuf;

use ureq::http::Uri;

use super::cache::create_directory;
use super::fetch::kept;
use super::http::Client;
use super::transfer::{Lock, Transfer};
use super::{DownloadError, Settings};
use clipn_base::progress::Progress;

/// Maximum size of a file in bytes.
const MAX_FILE_BYTES: u64 = 1 << 42;

/// Downloads the file at `url` into clipn's directory of the assets cache and returns its path. If
/// the file is cached already, no request is sent.
///
/// `sha256` is the expected checksum of the file, in lower-case hexadecimal.
///
/// # Errors
/// - [`DownloadError::Name`] if `url` is not a valid URL.
/// - [`DownloadError::Checksum`] if the content does not match `sha256`.
/// - Any other [`DownloadError`] if the transfer or the cache fails.
pub fn fetch_url(
    url: &str,
    sha256: &str,
    settings: &Settings,
    progress: &dyn Progress,
) -> Result<PathBuf, DownloadError> {
    let target = kept(url, sha256, settings);
    if target.is_file() {
        return Ok(target);
    }
    let uri: Uri = url.parse().map_err(|_| DownloadError::Name {
        given: url.to_owned(),
        problem: "invalid URL",
    })?;
    let client = Client::new(&settings.network)?;
    let directory = target.parent().unwrap_or(&target);
    create_directory(directory)?;
    let what = url.rsplit('/').next().unwrap_or(url);
    let _lock = Lock::take(&directory.join(".lock"), what, progress)?;
    if !target.is_file() {
        let refusal = |answer: &super::http::HttpResponse| answer.refusal(url);
        let sha256 = Some(sha256);
        let transfer = Transfer {
            client: &client,
            uri: &uri,
            what,
            size: None,
            sha256,
            limit: MAX_FILE_BYTES,
            refusal: &refusal,
            progress,
        };
        transfer.to(&target)?;
    }
    Ok(target)
}
