//! Advice for downloads.

use std::error::Error;

use clipn::download::DownloadError;

pub(super) fn hint(error: &(dyn Error + 'static)) -> Option<&'static str> {
    error.downcast_ref().and_then(download)
}

fn download(error: &DownloadError) -> Option<&'static str> {
    Some(match error {
        DownloadError::Name { .. } => {
            "give hf-hub:OWNER/NAME, with /FILE or @REVISION after it if needed"
        }
        DownloadError::TagWithoutModel { .. } => "give the architecture with --model",
        DownloadError::UnknownTag { .. } => "`clipn models NAME` lists the tags of an architecture",
        DownloadError::NotCached { .. } => {
            "run once without --offline and HF_HUB_OFFLINE, with a network connection"
        }
        DownloadError::Connection { .. } => {
            "check the connection, and HTTPS_PROXY if there is a proxy, and try again"
        }
        DownloadError::Tls { .. } => {
            "if a proxy has its own certificates, set SSL_CERT_FILE to them"
        }
        DownloadError::Timeout { .. }
        | DownloadError::Cut { .. }
        | DownloadError::Unsteady { .. } => "try again later; received data is kept",
        DownloadError::Status { status, .. } if *status >= 500 => "try again later",
        DownloadError::NotAHub { .. } => "check HF_ENDPOINT",
        DownloadError::Length { .. } => {
            "try again; if the length stays wrong, report it to the publisher"
        }
        DownloadError::Checksum { .. } => {
            "try again; if the checksum stays wrong, do not trust the server"
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
