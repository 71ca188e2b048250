use std::path::PathBuf;
use std::time::Duration;

use thiserror::Error;

use super::Offline;
use clipn_checkpoint::CheckpointError;
use clipn_model::ModelError;

/// What can go wrong between the name of weights and their files.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum DownloadError {
    /// Not the name of a repository.
    #[error(
        "`{given}` names no weights: {problem}; give hf-hub:OWNER/NAME, with @REVISION after it or /FILE where that is \
         meant"
    )]
    Name {
        /// What was given.
        given: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// One of open_clip's tags without its architecture.
    #[error(
        "`{tag}` is the tag of pretrained weights, which goes with an architecture; give --model, one of {models}"
    )]
    TagWithoutModel {
        /// The tag.
        tag: String,
        /// The architectures that have it, comma-separated.
        models: String,
    },
    /// Neither a file nor a tag of the architecture.
    #[error(
        "there is no file `{tag}`, and no pretrained weights of {model} with that tag; {}",
        match known.as_str() { "" => "it has none".to_owned(), known => format!("it has {known}") }
    )]
    UnknownTag {
        /// What was given.
        tag: String,
        /// The architecture.
        model: String,
        /// Its tags, comma-separated.
        known: String,
    },
    /// A variable of the environment that cannot be used.
    #[error("the environment variable {variable} {problem}")]
    Variable {
        /// Its name.
        variable: &'static str,
        /// What is wrong with it and what to do; never its value, which may be a secret.
        problem: String,
    },
    /// Nothing may be asked of the net, and the files are not all there.
    #[error("{what} is not in the cache {}, and nothing is fetched: {}", cache.display(), offline.what_to_do())]
    NotCached {
        /// What is missing.
        what: String,
        /// Where it was looked for.
        cache: PathBuf,
        /// Why nothing is fetched.
        offline: Offline,
    },
    /// No connection, or one that broke.
    #[error(
        "cannot reach {host}: {reason}; check the connection (and HTTPS_PROXY, where there is a proxy), and try again"
    )]
    Connection {
        /// Host and port, where known.
        host: String,
        /// Why.
        reason: String,
    },
    /// A connection that is refused for what it is.
    #[error(
        "no safe connection to {host}: {reason}; where a proxy has certificates of its own, set SSL_CERT_FILE to them"
    )]
    Tls {
        /// Host and port.
        host: String,
        /// Why.
        reason: String,
    },
    /// A server that answers no longer.
    #[error("{host} did not answer in time ({stage}); try again later, what has come is kept")]
    Timeout {
        /// Host and port.
        host: String,
        /// What was waited for.
        stage: String,
    },
    /// Redirects that are not followed.
    #[error("{from} redirects to {to}, which is not followed: {reason}")]
    Redirect {
        /// Where it was asked, without the query.
        from: String,
        /// Where it points, without the query.
        to: String,
        /// Why not.
        reason: &'static str,
    },
    /// 401 or 403.
    #[error("{what} may not be read (status {status}): {hint}")]
    NoAccess {
        /// The repository or file.
        what: String,
        /// The status of the answer.
        status: u16,
        /// What to do.
        hint: String,
    },
    /// 404.
    #[error("{what} is not there: {hint}")]
    NotThere {
        /// The repository, revision or file.
        what: String,
        /// What to do.
        hint: String,
    },
    /// Another status than one that gives content.
    #[error("{host} answered {status} where {what} was asked for{}", if *status >= 500 { "; try again later" } else { "" })]
    Status {
        /// The file or repository.
        what: String,
        /// Host and port.
        host: String,
        /// The status.
        status: u16,
        /// How long the server asks to wait.
        after: Option<Duration>,
    },
    /// The answers are not those of a hub.
    #[error("{host} does not answer as Hugging Face's hub does: {problem}; check HF_ENDPOINT")]
    NotAHub {
        /// Host and port.
        host: String,
        /// What is wrong or missing.
        problem: String,
    },
    /// Something larger than it can be.
    #[error("{what} has {size} bytes or more, and may have {limit}; it is not what it is called")]
    TooLarge {
        /// The file.
        what: String,
        /// Its size, as far as it was read.
        size: u64,
        /// The most that is read.
        limit: u64,
    },
    /// A repository without weights, or with several files that may be meant.
    #[error(
        "{repository} {}",
        match found.as_str() {
            "" => "holds no weights that clipn reads (safetensors, .bin, .pt)".to_owned(),
            found => format!(
                "holds several weights files under names of its own; name one, as {repository}/FILE: {found}"
            ),
        }
    )]
    NoWeights {
        /// The repository, as `hf-hub:OWNER/NAME`.
        repository: String,
        /// The files among which there is no choice, comma-separated.
        found: String,
    },
    /// The body has another length than it should have.
    #[error(
        "{what} came with {got} bytes instead of {expected}; try again, and if it stays so tell its publisher"
    )]
    Length {
        /// The file.
        what: String,
        /// Bytes that came, or that the server announced.
        got: u64,
        /// Bytes that it should have.
        expected: u64,
    },
    /// A body that ended early.
    #[error(
        "the connection to {host} broke after {got} bytes of {what}; try again, what has come is kept"
    )]
    Cut {
        /// The file.
        what: String,
        /// Host and port.
        host: String,
        /// Bytes that came.
        got: u64,
    },
    /// Content that is not what the checksum says.
    #[error(
        "{what} came damaged or is another file: its SHA-256 is {got} instead of {expected}; it was deleted, try again, and \
         if it stays so do not trust the server"
    )]
    Checksum {
        /// The file.
        what: String,
        /// SHA-256 of what came.
        got: String,
        /// SHA-256 that it should have.
        expected: String,
    },
    /// A server that gives another file each time it is asked for the rest.
    #[error(
        "{host} gave another content of {what} each time it was asked for the rest; try again later"
    )]
    Unsteady {
        /// The file.
        what: String,
        /// Host and port.
        host: String,
    },
    /// The disk is full.
    #[error(
        "no space is left for {} ({size}); make room, or set HF_HOME to a folder on another disk, and try again: what has \
         come is kept",
        path.display()
    )]
    NoSpace {
        /// The file being written.
        path: PathBuf,
        /// Its whole size, told for people.
        size: String,
    },
    /// The cache cannot be read or written.
    #[error("cannot {action} {}: {source}; check the folder's permissions, or set HF_HOME to another one", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file of trusted certificates cannot be used.
    #[error("cannot read the certificates {}: {source}; set SSL_CERT_FILE to a PEM file, or unset it", path.display())]
    Certificates {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// An index of weights in several files that is not usable.
    #[error(transparent)]
    Index(#[from] CheckpointError),
    /// A config that says that clipn cannot compute the model, told before its weights are fetched.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The user wants no more.
    #[error("interrupted while {what} was fetched; what has come is kept")]
    Cancelled {
        /// The file.
        what: String,
    },
}

impl DownloadError {
    /// Whether it may pass by itself, so that trying again has sense.
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Connection { .. } | Self::Timeout { .. } | Self::Cut { .. } => true,
            Self::Status { status, .. } => {
                matches!(status, 408 | 425 | 429 | 500 | 502 | 503 | 504)
            }
            _ => false,
        }
    }

    /// The error of writing to the cache.
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
                size: "its size is unknown".to_owned(),
            },
            _ => Self::Io {
                action,
                path,
                source,
            },
        }
    }
}
