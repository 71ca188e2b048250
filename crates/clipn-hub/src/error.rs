use std::path::PathBuf;
use std::time::Duration;

use thiserror::Error;

use super::OfflineReason;
use clipn_checkpoint::CheckpointError;
use clipn_model::ModelError;

/// Error while resolving a name of weights to files.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum DownloadError {
    /// The name does not have the form of a repository name, a file path or a URL.
    #[error(
        "invalid weights name `{given}`: {problem}; expected hf-hub:OWNER/NAME[/FILE][@REVISION]"
    )]
    Name {
        /// The name.
        given: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// A tag of open_clip was given without an architecture.
    #[error("pretrained tag `{tag}` needs an architecture: expected one of {models}")]
    TagWithoutModel {
        /// The tag.
        tag: String,
        /// Architectures that have the tag, comma-separated.
        models: String,
    },
    /// The name is neither a file nor a tag of the architecture.
    #[error(
        "no file `{tag}` and no pretrained weights of {model} with that tag; {}",
        match known.as_str() {
            "" => "the architecture has no tags".to_owned(),
            known => format!("known tags: {known}"),
        }
    )]
    UnknownTag {
        /// The name.
        tag: String,
        /// The architecture.
        model: String,
        /// Tags of the architecture, comma-separated.
        known: String,
    },
    /// An environment variable is missing or invalid.
    #[error("environment variable {variable} {problem}")]
    Variable {
        /// Name of the variable.
        variable: &'static str,
        /// What is wrong with its value. Never contains the value, which may be a secret.
        problem: String,
    },
    /// Downloads are disabled, and files are missing in the cache.
    #[error("{what} is not in the cache {}, and downloads are disabled: {}", cache.display(), offline.what_to_do())]
    NotCached {
        /// What is missing.
        what: String,
        /// Directory of the cache.
        cache: PathBuf,
        /// Why downloads are disabled.
        offline: OfflineReason,
    },
    /// The connection failed.
    #[error("cannot reach {host}: {reason}")]
    Connection {
        /// Host, with its port if the URL has one.
        host: String,
        /// Cause of the failure.
        reason: String,
    },
    /// The TLS handshake failed.
    #[error("cannot establish a secure connection to {host}: {reason}")]
    Tls {
        /// Host, with its port if the URL has one.
        host: String,
        /// Cause of the failure.
        reason: String,
    },
    /// The server did not respond in time.
    #[error("timeout while {stage} ({host})")]
    Timeout {
        /// Host, with its port if the URL has one.
        host: String,
        /// Stage of the request, as a present participle: "connecting".
        stage: String,
    },
    /// A redirect is not allowed, or there are too many.
    #[error("refusing the redirect from {from} to {to}: {reason}")]
    Redirect {
        /// Redirecting URL, without its query.
        from: String,
        /// Target URL, without its query.
        to: String,
        /// Why it is not followed.
        reason: &'static str,
    },
    /// The server denied access: status 401 or 403.
    #[error("access to {what} denied (status {status}): {hint}")]
    NoAccess {
        /// Repository or file.
        what: String,
        /// HTTP status.
        status: u16,
        /// Likely cause and remedy.
        hint: String,
    },
    /// The repository, revision or file does not exist: status 404.
    #[error("{what} does not exist: {hint}")]
    NotThere {
        /// Repository, revision or file.
        what: String,
        /// Likely cause and remedy.
        hint: String,
    },
    /// The server responded with an unexpected status.
    #[error("{host} returned status {status} for {what}")]
    Status {
        /// File or repository.
        what: String,
        /// Host, with its port if the URL has one.
        host: String,
        /// HTTP status.
        status: u16,
        /// Value of the `Retry-After` header, if it is a number of seconds.
        after: Option<Duration>,
    },
    /// The responses do not follow the API of Hugging Face's hub.
    #[error("{host} does not respond like Hugging Face's hub (HF_ENDPOINT): {problem}")]
    NotAHub {
        /// Host, with its port if the URL has one.
        host: String,
        /// What is invalid or missing.
        problem: String,
    },
    /// A file or response exceeds its size limit.
    #[error("{what} exceeds the size limit of {limit} bytes (at least {size} bytes)")]
    TooLarge {
        /// File or repository.
        what: String,
        /// Announced size, or number of bytes read so far.
        size: u64,
        /// Maximum size in bytes.
        limit: u64,
    },
    /// A repository contains no weights, or several candidates.
    #[error(
        "{}",
        match found.as_str() {
            "" => format!("no weights in a supported format (safetensors, .bin, .pt) in {repository}"),
            found => format!(
                "several weights files in {repository}; specify one as {repository}/FILE: {found}"
            ),
        }
    )]
    NoWeights {
        /// Repository, as `hf-hub:OWNER/NAME`.
        repository: String,
        /// Up to 8 candidates, comma-separated; empty if there are none.
        found: String,
    },
    /// The length of a file differs from the announced one.
    #[error("unexpected length of {what}: expected {expected} bytes, got {got}")]
    Length {
        /// The file.
        what: String,
        /// Number of bytes received or announced by the server.
        got: u64,
        /// Expected number of bytes.
        expected: u64,
    },
    /// The connection was closed before the end of the body.
    #[error("connection to {host} closed after {got} bytes of {what}")]
    Cut {
        /// The file.
        what: String,
        /// Host, with its port if the URL has one.
        host: String,
        /// Number of bytes on disk, which a retry resumes from.
        got: u64,
    },
    /// The content does not match the checksum.
    #[error(
        "SHA-256 mismatch of {what}: expected {expected}, got {got}; the downloaded file was deleted"
    )]
    Checksum {
        /// The file.
        what: String,
        /// SHA-256 of the content, hexadecimal.
        got: String,
        /// Expected SHA-256, hexadecimal.
        expected: String,
    },
    /// The file changed on the server during every attempt to resume the download.
    #[error("{what} on {host} changed repeatedly during the download")]
    Unsteady {
        /// The file.
        what: String,
        /// Host of the server.
        host: String,
    },
    /// The disk is full.
    #[error("no space left on the device for {} ({size})", path.display())]
    NoSpace {
        /// File being written.
        path: PathBuf,
        /// Total size of the file in a readable unit.
        size: String,
    },
    /// The cache cannot be read or written.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// Failed operation, as an infinitive: "open".
        action: &'static str,
        /// File or directory.
        path: PathBuf,
        /// Error of the operating system.
        source: std::io::Error,
    },
    /// The file with the trusted certificates cannot be read.
    #[error("cannot read certificates {}", path.display())]
    Certificates {
        /// The file.
        path: PathBuf,
        /// Error of the operating system or the PEM parser.
        source: std::io::Error,
    },
    /// The index of sharded weights is invalid.
    #[error(transparent)]
    Index(#[from] CheckpointError),
    /// The config describes a model that is not supported. Detected before the weights are fetched.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The download was cancelled by its [`Progress`](crate::progress::Progress).
    #[error("download of {what} interrupted; received data is kept")]
    Cancelled {
        /// The file.
        what: String,
    },
}

impl DownloadError {
    /// Whether the error is transient, so that a retry may succeed: connection errors, timeouts,
    /// and the statuses 408, 425, 429, 500 and 502 to 504.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Connection { .. } | Self::Timeout { .. } | Self::Cut { .. } => true,
            Self::Status { status, .. } => {
                matches!(status, 408 | 425 | 429 | 500 | 502 | 503 | 504)
            }
            _ => false,
        }
    }

    /// Converts an I/O error of the cache. A full disk or an exceeded quota is
    /// [`NoSpace`](Self::NoSpace).
    #[cfg(feature = "download")]
    pub(super) fn writing(
        action: &'static str,
        path: &std::path::Path,
        source: std::io::Error,
    ) -> Self {
        use std::io::ErrorKind;

        let path = path.to_owned();
        match source.kind() {
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded => Self::NoSpace {
                path,
                size: "size unknown".to_owned(),
            },
            _ => Self::Io {
                action,
                path,
                source,
            },
        }
    }
}
