use std::path::PathBuf;

use clipn_base::progress::{NoProgress, Progress};
use ureq::http::Uri;

use crate::cache::{create_directory, url_file_path};
use crate::error::DownloadError;
use crate::http::{HttpResponse, HubClient};
use crate::settings::DownloadSettings;
use crate::transfer::{FileLock, Transfer};

/// Maximum size of a file in bytes.
const MAX_FILE_BYTES: u64 = 1 << 42;

/// Downloads the file at `url` into clipn's directory of the assets cache and returns its path. If
/// the file is cached already, no request is sent.
///
/// `sha256` is the expected checksum of the file, in lower-case hexadecimal.
///
/// # Errors
/// - [`DownloadError::InvalidUrl`] if `url` is not a valid URL that ends in the name of a file, or `sha256` is no
///   checksum.
/// - [`DownloadError::NotCached`] if the file is not cached and downloads are disabled.
/// - [`DownloadError::Checksum`] if the content does not match `sha256`.
/// - Any other [`DownloadError`] if the transfer or the cache fails.
pub fn fetch_url(
    url: &str,
    sha256: &str,
    settings: &DownloadSettings,
) -> Result<PathBuf, DownloadError> {
    fetch_url_with_progress(url, sha256, settings, &NoProgress)
}

/// Same as [`fetch_url`], with reports to `progress`, which can also cancel.
///
/// # Errors
/// Those of [`fetch_url`], and [`DownloadError::Cancelled`].
pub fn fetch_url_with_progress(
    url: &str,
    sha256: &str,
    settings: &DownloadSettings,
    progress: &dyn Progress,
) -> Result<PathBuf, DownloadError> {
    let invalid = || DownloadError::InvalidUrl {
        url: url.to_owned(),
    };
    let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    let name = url.rsplit('/').next().unwrap_or_default();
    let is_name = !matches!(name, "" | "." | "..") && !name.contains('\\');
    if sha256.len() != 64 || !sha256.bytes().all(is_digit) || !is_name {
        return Err(invalid());
    }
    let target = url_file_path(url, sha256, settings);
    if target.is_file() {
        return Ok(target);
    }
    let uri: Uri = url.parse().map_err(|_| invalid())?;
    if let Some(reason) = settings.offline {
        return Err(DownloadError::NotCached {
            what: url.to_owned(),
            cache: settings.assets.clone(),
            reason,
        });
    }
    let client = HubClient::new(&settings.network)?;
    let directory = target.parent().unwrap_or(&target);
    create_directory(directory)?;
    let what = url.rsplit('/').next().unwrap_or(url);
    let _lock = FileLock::acquire(&directory.join(".lock"), what, progress)?;
    if !target.is_file() {
        let status_error = |response: &HttpResponse| response.status_error(url);
        let transfer = Transfer {
            client: &client,
            uri: &uri,
            what,
            size: None,
            sha256: Some(sha256),
            limit: MAX_FILE_BYTES,
            status_error: &status_error,
            progress,
        };
        transfer.run(&target)?;
    }
    Ok(target)
}
