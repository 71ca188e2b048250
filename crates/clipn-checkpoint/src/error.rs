//! Errors of reading and writing weights files.

use std::io;
use std::path::PathBuf;

use super::FloatType;

/// Error of reading or writing a weights file, with the file's path. The exception is
/// [`Shape`](Self::Shape), which is about a tensor in memory.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CheckpointError {
    /// The path does not exist.
    #[error("weights file not found: {}", path.display())]
    NotFound {
        /// The given path.
        path: PathBuf,
    },
    /// A directory without weights, or with several candidates.
    #[error(
        "cannot choose a weights file in directory {}: {}",
        path.display(),
        listing(found, inside)
    )]
    Folder {
        /// The directory.
        path: PathBuf,
        /// Names of the candidate files, sorted; at most 5.
        found: Vec<String>,
        /// Subdirectories that contain weights, sorted; at most 5.
        inside: Vec<String>,
    },
    /// The index of a sharded checkpoint is invalid, or names a shard that is missing.
    #[error("invalid sharded checkpoint index {}: {what}", path.display())]
    Index {
        /// Path of the index.
        path: PathBuf,
        /// Description of the problem.
        what: String,
    },
    /// Tensors with the names of `transformers`' `CLIPModel` that do not form a complete one.
    #[error("{} does not match the layout of transformers' CLIPModel: {what}", path.display())]
    Layout {
        /// The file.
        path: PathBuf,
        /// Description of the mismatch.
        what: String,
    },
    /// The path is a pipe, socket or device, which cannot be memory-mapped.
    #[error("not a regular file, so it cannot be memory-mapped: {}", path.display())]
    NotAFile {
        /// The given path.
        path: PathBuf,
    },
    /// The file is not readable for this user.
    #[error("permission denied: {}", path.display())]
    PermissionDenied {
        /// The given path.
        path: PathBuf,
    },
    /// Another I/O error.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// The operation as a verb: "open", "memory-map", "read" or "write".
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// The error of the operating system.
        source: io::Error,
    },
    /// The file has no content.
    #[error("weights file is empty (0 bytes): {}", path.display())]
    Empty {
        /// The file.
        path: PathBuf,
    },
    /// The content is in none of the supported formats.
    #[error("unrecognized weights file format: {} looks like {seen}", path.display())]
    Unrecognized {
        /// The file.
        path: PathBuf,
        /// What the content looks like.
        seen: String,
        /// What a user can do about it.
        advice: &'static str,
    },
    /// The file ends before its content is complete.
    #[error("{} is truncated: {what}", path.display())]
    Truncated {
        /// The file.
        path: PathBuf,
        /// What is missing, and its offset if known.
        what: String,
    },
    /// The content is inconsistent or violates the format.
    #[error("{} is corrupt at {place}: {what}", path.display())]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// Location in the file: the part with its byte offset, or the key.
        place: String,
        /// Description of the problem.
        what: String,
    },
    /// The pickle refers to a Python object that is not on the allow list for weights.
    #[error(
        "{} refers to the Python object {global}, which is not allowed: nothing in a weights file \
         is ever executed",
        path.display()
    )]
    DisallowedGlobal {
        /// The file.
        path: PathBuf,
        /// Module and name, such as `argparse.Namespace`.
        global: String,
    },
    /// A tensor has an element type that is not one of [`Dtype`](super::Dtype)'s.
    #[error(
        "unsupported element type {dtype} of tensor {tensor} in {}",
        path.display()
    )]
    UnsupportedDtype {
        /// The file.
        path: PathBuf,
        /// The tensor's name.
        tensor: String,
        /// Name of the type in the file.
        dtype: String,
    },
    /// The weights were saved on a big-endian machine.
    #[error(
        "unsupported byte order: {} was saved on a big-endian machine",
        path.display()
    )]
    BigEndian {
        /// The file.
        path: PathBuf,
    },
    /// The file is readable but contains no dictionary of tensors.
    #[error(
        "no named tensors in {}, neither at the top level nor under state_dict, model_state_dict \
         or model: {seen}",
        path.display()
    )]
    NoTensors {
        /// The file.
        path: PathBuf,
        /// What the file contains instead.
        seen: String,
    },
    /// Reading would take far more memory than the file size justifies.
    #[error(
        "reading {} would take far more memory than its size justifies: {what}",
        path.display()
    )]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// The content that needs the memory.
        what: String,
    },
    /// The number of values does not match the shape of the tensor.
    #[error("tensor shape {shape:?} does not match {elements} values")]
    Shape {
        /// The requested shape.
        shape: Vec<usize>,
        /// Number of values given.
        elements: usize,
    },
    /// A finite value is out of range for the element type to write.
    #[error(
        "cannot write {}: value {value} of tensor {tensor} exceeds the {to} maximum of {largest}",
        path.display()
    )]
    Overflow {
        /// The output file.
        path: PathBuf,
        /// The tensor's name.
        tensor: String,
        /// The value.
        value: f64,
        /// The requested element type.
        to: FloatType,
        /// Largest finite value of that type.
        largest: f64,
    },
    /// Writing was cancelled.
    #[error("cancelled before {} was written; no partial file is left", path.display())]
    Cancelled {
        /// The output file.
        path: PathBuf,
    },
    /// The tensors or the metadata cannot be represented in a safetensors file.
    #[error("cannot write {}: {what}", path.display())]
    InvalidTensors {
        /// The output file.
        path: PathBuf,
        /// Description of the problem.
        what: String,
    },
}

fn listing(found: &[String], inside: &[String]) -> String {
    match (found, inside) {
        ([], []) => "it contains none".to_owned(),
        ([], folders) => format!(
            "only subdirectories contain weights: {}",
            folders.join(", ")
        ),
        (files, _) => format!("several candidates: {}", files.join(", ")),
    }
}

/// Makes a name from a file safe to print: escapes control characters and truncates to 120
/// characters.
pub fn shown(name: &str) -> String {
    const MAX_CHARS: usize = 120;
    let mut text = String::new();
    for c in name.chars().take(MAX_CHARS) {
        match c {
            '"' | '\'' | '\\' => text.push(c),
            _ => text.extend(c.escape_debug()),
        }
    }
    if name.chars().nth(MAX_CHARS).is_some() {
        text.push('…');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_control_characters_and_truncates() {
        assert_eq!(shown("a\u{1b}[2Jb\n"), "a\\u{1b}[2Jb\\n");
        assert_eq!(shown(&"x".repeat(5000)).chars().count(), 121);
        assert_eq!(shown("it's \"visual.proj\" ü"), "it's \"visual.proj\" ü");
    }
}
