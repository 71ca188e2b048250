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
        DownloadError::RevisionNotCached { .. } => "name a cached commit: hf-hub:OWNER/NAME@COMMIT",
        DownloadError::BrokenLinks {
            reason: OfflineReason::Requested,
            ..
        } => {
            "copy the whole cache directory, with its `blobs`, or the directory with links followed \
             (`cp -rL`); or run once without --offline, which fetches the files again"
        }
        DownloadError::Timeout { .. }
        | DownloadError::ConnectionClosed { .. }
        | DownloadError::Cancelled { .. } => "run the command again to resume",
        _ => return None,
    })
}
