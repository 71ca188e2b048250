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
            offline: OfflineReason::Asked,
            ..
        } => "run once without --offline, with a network connection",
        DownloadError::NotCached {
            offline: OfflineReason::Variable(_),
            ..
        } => "unset the variable once, with a network connection",
        DownloadError::NotCached {
            offline: OfflineReason::NotBuilt,
            ..
        } => {
            "download with another program (`hf download OWNER/NAME` of Python's huggingface_hub \
             uses the same cache), or give the path of a file or directory"
        }
        DownloadError::Variable {
            variable: "HF_HOME",
            ..
        } => "set HF_HOME to a directory for downloads",
        DownloadError::Connection { .. } => {
            "check the network connection, and HTTPS_PROXY if there is a proxy"
        }
        DownloadError::Tls { .. } => {
            "if a proxy has its own certificates, set SSL_CERT_FILE to a PEM file with them"
        }
        DownloadError::Timeout { .. }
        | DownloadError::Cut { .. }
        | DownloadError::Cancelled { .. } => "run the command again to resume",
        DownloadError::Unsteady { .. } => "try again later",
        DownloadError::Status { status, .. } if *status >= 500 => "try again later",
        DownloadError::NotAHub { .. } => "check HF_ENDPOINT",
        DownloadError::Length { .. } | DownloadError::Checksum { .. } => {
            "run the command again; if it fails again, do not trust the server"
        }
        DownloadError::NoSpace { .. } => {
            "free disk space, or set HF_HOME to a directory on another disk; received data is kept"
        }
        DownloadError::Io { .. } => {
            "check the permissions of the directory, or set HF_HOME to another one"
        }
        DownloadError::Certificates { .. } => "set SSL_CERT_FILE to a PEM file, or unset it",
        _ => return None,
    })
}
