use std::path::PathBuf;

use ureq::http::Uri;

use super::cache::create_folder;
use super::fetch::kept;
use super::http::Client;
use super::transfer::{Lock, Transfer};
use super::{DownloadError, Settings};
use clipn_base::progress::Progress;

/// The largest file that is fetched.
const LARGEST: u64 = 1 << 42;

/// Fetches the file at `url`, which has the given SHA-256, into clipn's folder of the cache, where it is there no
/// longer than it takes to look the next time.
///
/// # Errors
/// See [`DownloadError`].
pub fn fetch_url(
    url: &str,
    sha256: &str,
    settings: &Settings,
    progress: &dyn Progress,
) -> Result<PathBuf, DownloadError> {
    let place = kept(url, sha256, settings);
    if place.is_file() {
        return Ok(place);
    }
    let uri: Uri = url.parse().map_err(|_| DownloadError::Name {
        given: url.to_owned(),
        problem: "it is no web address",
    })?;
    let client = Client::new(&settings.network)?;
    let folder = place.parent().unwrap_or(&place);
    create_folder(folder)?;
    let what = url.rsplit('/').next().unwrap_or(url);
    let _lock = Lock::take(&folder.join(".lock"), what, progress)?;
    if !place.is_file() {
        let refusal = |answer: &super::http::Answer| answer.refusal(url);
        let sha256 = Some(sha256);
        let transfer = Transfer {
            client: &client,
            uri: &uri,
            what,
            size: None,
            sha256,
            limit: LARGEST,
            refusal: &refusal,
            progress,
        };
        transfer.to(&place)?;
    }
    Ok(place)
}
