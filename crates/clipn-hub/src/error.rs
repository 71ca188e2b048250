use std::borrow::Cow;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use thiserror::Error;

use clipn_checkpoint::CheckpointError;
use clipn_model::ModelError;

/// Reason why downloads are disabled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum OfflineReason {
    /// Requested with [`DownloadSettings::without_downloads`](crate::DownloadSettings::without_downloads).
    Requested,
    /// The environment variable with this name is set.
    Variable(&'static str),
    /// The library was built without the feature `download`.
    NotBuilt,
}

impl fmt::Display for OfflineReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Requested => f.write_str("offline mode is on"),
            Self::Variable(variable) => write!(f, "{variable} is set"),
            Self::NotBuilt => f.write_str("built without the feature `download`"),
        }
    }
}

/// Error while resolving a name of weights to files.
///
/// [`hint`](Self::hint) returns advice, which the messages do not contain.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum DownloadError {
    /// The name does not have the form of a repository name, a file path or a URL.
    #[error(
        "invalid weights name `{name}`: {problem}; expected hf-hub:OWNER/NAME[/FILE][@REVISION]"
    )]
    InvalidName {
        /// The name.
        name: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// A URL cannot be parsed.
    #[error("invalid URL `{url}`")]
    InvalidUrl {
        /// The URL.
        url: String,
    },
    /// A path in a repository leads outside of it, or is not valid on every operating system.
    #[error("unsafe path `{path}` in {repository}")]
    UnsafePath {
        /// Repository, as `hf-hub:OWNER/NAME`.
        repository: String,
        /// The path.
        path: String,
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
    Environment {
        /// Name of the variable.
        variable: &'static str,
        /// What is wrong with its value. Never contains the value, which may be a secret.
        problem: String,
    },
    /// Downloads are disabled, and files are missing in the cache.
    #[error("{what} is not in the cache {}, and downloads are disabled: {}", cache.display(), reason)]
    NotCached {
        /// What is missing.
        what: String,
        /// Directory of the cache.
        cache: PathBuf,
        /// Why downloads are disabled.
        reason: OfflineReason,
    },
    /// Downloads are disabled, and the revision was never resolved, while the weights of other
    /// commits are in the cache.
    #[error(
        "{what} is not in the cache {}, which has the weights of commit {}, and downloads are \
         disabled: {}",
        cache.display(),
        commits.join(", "),
        reason
    )]
    RevisionNotCached {
        /// Repository and revision.
        what: String,
        /// Directory of the cache.
        cache: PathBuf,
        /// Cached commits with complete weights.
        commits: Vec<String>,
        /// Why downloads are disabled.
        reason: OfflineReason,
    },
    /// Downloads are disabled, and files in the cache are links to files that do not exist, as in a
    /// directory that was copied out of another cache.
    #[error(
        "{what}: {} in the cache is a link that leads nowhere: {} does not exist{}; downloads are \
         disabled: {}",
        file.display(),
        target.display(),
        more_links(*.count),
        reason
    )]
    BrokenLinks {
        /// Repository and revision.
        what: String,
        /// First such file.
        file: PathBuf,
        /// Missing file to which it leads.
        target: PathBuf,
        /// Number of such files.
        count: usize,
        /// Why downloads are disabled.
        reason: OfflineReason,
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
    #[error("access to {what} denied (status {status}): {reason}")]
    AccessDenied {
        /// Repository or file.
        what: String,
        /// HTTP status.
        status: u16,
        /// Likely cause.
        reason: &'static str,
        /// Advice, as returned by [`hint`](Self::hint).
        hint: String,
    },
    /// The repository, revision or file does not exist: status 404.
    #[error("{what} does not exist")]
    NotFound {
        /// Repository, revision or file.
        what: String,
        /// Advice, as returned by [`hint`](Self::hint).
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
        retry_after: Option<Duration>,
    },
    /// The responses do not follow the API of Hugging Face's hub.
    #[error("{host} does not respond like Hugging Face's hub: {problem}")]
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
            found => format!("several weights files in {repository}: {found}"),
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
    LengthMismatch {
        /// The file.
        what: String,
        /// Number of bytes received or announced by the server.
        got: u64,
        /// Expected number of bytes.
        expected: u64,
    },
    /// The connection was closed before the end of the body.
    #[error("connection to {host} closed after {received} bytes of {what}")]
    ConnectionClosed {
        /// The file.
        what: String,
        /// Host, with its port if the URL has one.
        host: String,
        /// Number of bytes on disk, which a retry resumes from.
        received: u64,
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
    Changed {
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
    /// The download was canceled by its [`Progress`](clipn_base::progress::Progress).
    #[error("download of {what} interrupted; received data is kept")]
    Cancelled {
        /// The file.
        what: String,
    },
}

/// Further links that lead nowhere, for a message.
fn more_links(count: usize) -> String {
    match count {
        0 | 1 => String::new(),
        _ => format!(", and {} more", count - 1),
    }
}

impl DownloadError {
    /// Whether the error is transient, so that a retry may succeed: connection errors, timeouts,
    /// and the statuses 408, 425, 429, 500 and 502 to 504.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Connection { .. } | Self::Timeout { .. } | Self::ConnectionClosed { .. } => true,
            Self::Status { status, .. } => {
                matches!(status, 408 | 425 | 429 | 500 | 502 | 503 | 504)
            }
            _ => false,
        }
    }

    /// Advice on how to resolve the error, as an infinitive clause without final stop; `None` if the
    /// message says it all.
    pub fn hint(&self) -> Option<Cow<'_, str>> {
        Some(Cow::Borrowed(match self {
            Self::AccessDenied { hint, .. } | Self::NotFound { hint, .. } => hint,
            Self::Environment {
                variable: "HF_HOME",
                ..
            } => "set HF_HOME to a directory for downloads",
            Self::RevisionNotCached { .. } => "give a cached commit as OWNER/NAME@COMMIT",
            Self::BrokenLinks { .. } => {
                "copy the whole cache directory, with its `blobs`, or only the files of the snapshot with \
                 links followed (`cp -rL`); or enable downloads once, which fetches the files again"
            }
            Self::NotCached { reason, .. } => match reason {
                OfflineReason::Requested => "enable downloads once, with a network connection",
                OfflineReason::Variable(variable) => {
                    let hint = format!("unset {variable} once, with a network connection");
                    return Some(Cow::Owned(hint));
                }
                OfflineReason::NotBuilt => {
                    "download the files with another program (`hf download` of Python's \
                     huggingface_hub uses the same cache), or give the path of the files"
                }
            },
            Self::NoWeights { repository, found } if !found.is_empty() => {
                return Some(Cow::Owned(format!("specify one as {repository}/FILE")));
            }
            Self::Connection { .. } => {
                "check the network connection, and HTTPS_PROXY if there is a proxy"
            }
            Self::Tls { .. } => {
                "if a proxy has its own certificates, set SSL_CERT_FILE to a PEM file with them"
            }
            Self::Timeout { .. } | Self::ConnectionClosed { .. } | Self::Cancelled { .. } => {
                "try again to resume; received data is kept"
            }
            Self::Status { status: 500.., .. } | Self::Changed { .. } => "try again later",
            Self::NotAHub { .. } => "check HF_ENDPOINT",
            Self::LengthMismatch { .. } | Self::Checksum { .. } => {
                "try again; if it fails again, do not trust the server"
            }
            Self::NoSpace { .. } => {
                "free some space, or set HF_HOME to a directory on another disk; received data is kept"
            }
            Self::Io { .. } => "check the permissions, or set HF_HOME to another directory",
            Self::Certificates { .. } => "set SSL_CERT_FILE to a PEM file, or unset it",
            _ => return None,
        }))
    }

    /// Converts an I/O error of the cache. A full disk or an exceeded quota is
    /// [`NoSpace`](Self::NoSpace).
    #[cfg(feature = "download")]
    pub(crate) fn writing(
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
