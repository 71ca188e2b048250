//! Advice for downloads.

use std::error::Error;

use clipn::download::{DownloadError, OfflineReason};

pub(super) fn hint(error: &(dyn Error + 'static)) -> Option<&'static str> {
    error.downcast_ref().and_then(download)
}

fn download(error: &DownloadError) -> Option<&'static str> {
    Some(match error {
        DownloadError::TagWithoutModel { .. } => "give the architecture with --model",
        DownloadError::UnknownTag { .. } => "`clipn models NAME` lists the tags of an architecture",
        DownloadError::NotCached {
            reason: OfflineReason::Requested,
            ..
        } => "run once without --offline, with a network connection",
        DownloadError::Timeout { .. }
        | DownloadError::ConnectionClosed { .. }
        | DownloadError::Cancelled { .. } => "run the command again to resume",
        _ => return None,
    })
}
