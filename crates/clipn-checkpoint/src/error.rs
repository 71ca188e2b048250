//! Errors of reading and writing weights files.

use std::io;
use std::path::PathBuf;

use clipn_base::files::ChangedFile;

use crate::FloatType;

/// Error of reading or writing a weights file, with the file's path. The exception is
/// [`ShapeMismatch`](Self::ShapeMismatch), which is about a tensor in memory.
///
/// [`hint`](Self::hint) returns what a caller can do about it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CheckpointError {
    /// The path does not exist.
    #[error("weights file not found: {}", path.display())]
    NotFound {
        /// The given path.
        path: PathBuf,
    },
    /// The path is a link to a file that does not exist, as in a directory that was copied out of a
    /// cache of the hub.
    #[error("{} is a link that leads nowhere: {} does not exist", path.display(), target.display())]
    BrokenLink {
        /// The given path.
        path: PathBuf,
        /// Missing file to which it leads.
        target: PathBuf,
    },
    /// The directory contains no weights file.
    #[error(
        "cannot choose a weights file in directory {}: {}",
        path.display(),
        describe_subdirectories(subdirectories)
    )]
    NoWeightsInDirectory {
        /// The directory.
        path: PathBuf,
        /// Subdirectories that contain weights, sorted; at most 5.
        subdirectories: Vec<String>,
    },
    /// The directory contains several weights files, and none under a conventional name.
    #[error(
        "cannot choose a weights file in directory {}: several candidates: {}",
        path.display(),
        candidates.join(", ")
    )]
    AmbiguousDirectory {
        /// The directory.
        path: PathBuf,
        /// Names of the candidate files, sorted; at most 5.
        candidates: Vec<String>,
    },
    /// The index of a sharded checkpoint is invalid.
    #[error("invalid sharded checkpoint index {}: {reason}", path.display())]
    InvalidIndex {
        /// Path of the index.
        path: PathBuf,
        /// Description of the problem.
        reason: String,
    },
    /// The index of a sharded checkpoint names a shard that is missing.
    #[error("invalid sharded checkpoint index {}: missing shard {shard}", path.display())]
    MissingShard {
        /// Path of the index.
        path: PathBuf,
        /// File name of the shard.
        shard: String,
    },
    /// Tensors with the names of `transformers`' `CLIPModel` that do not form a complete one.
    #[error("{} does not match the layout of transformers' CLIPModel: {reason}", path.display())]
    LayoutMismatch {
        /// The file.
        path: PathBuf,
        /// Description of the mismatch.
        reason: String,
    },
    /// A file has several models, and none was named.
    #[error("{} has several models: {}", path.display(), listed(names))]
    AmbiguousWeights {
        /// The file.
        path: PathBuf,
        /// Names of the models.
        names: Vec<String>,
    },
    /// No model of a file, or more than one, has the given name.
    #[error(
        "no model named `{}` in {}, which has: {}",
        escape_for_display(key),
        path.display(),
        listed(names)
    )]
    UnknownWeightsKey {
        /// The file.
        path: PathBuf,
        /// The given name.
        key: String,
        /// Names of the models.
        names: Vec<String>,
    },
    /// Another program changed the file in place while it was in use.
    #[error(transparent)]
    Changed(#[from] ChangedFile),
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
    #[error("unrecognized weights file format: {} looks like {looks_like}", path.display())]
    Unrecognized {
        /// The file.
        path: PathBuf,
        /// What the content looks like.
        looks_like: String,
        /// Advice for the user, returned by [`hint`](Self::hint).
        hint: &'static str,
    },
    /// The file ends before its content is complete.
    #[error("{} is truncated: {reason}", path.display())]
    Truncated {
        /// The file.
        path: PathBuf,
        /// What is missing, and its offset if known.
        reason: String,
    },
    /// The content is inconsistent or violates the format.
    #[error("{} is corrupt at {location}: {reason}", path.display())]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// Location in the file: the part with its byte offset, or the key.
        location: String,
        /// Description of the problem.
        reason: String,
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
    /// A tensor of a class that does not store its elements as they are: a part of a tensor that is
    /// split over processes, or quantized values.
    #[error(
        "unsupported tensor class {class} of {} in {}",
        described_tensor(tensor.as_deref()),
        path.display()
    )]
    UnsupportedTensorClass {
        /// The file.
        path: PathBuf,
        /// The tensor's name, if it is known.
        tensor: Option<String>,
        /// Module and name of the class, such as `torch.distributed.tensor.DTensor`.
        class: String,
        /// Advice for the user, returned by [`hint`](Self::hint).
        hint: &'static str,
    },
    /// The weights of a model are quantized.
    #[error("{} has weights quantized by {method}, such as {tensor}", path.display())]
    QuantizedWeights {
        /// The file.
        path: PathBuf,
        /// The program or method, such as `bitsandbytes (8 bits)`.
        method: &'static str,
        /// Name of the first quantized tensor.
        tensor: String,
        /// Advice for the user, returned by [`hint`](Self::hint).
        hint: &'static str,
    },
    /// The factors of a tensor of 8-bit integers have another type or number.
    #[error(
        "invalid scales of the 8-bit tensor {tensor} in {}: expected {rows} values of type f32, got {found}",
        path.display()
    )]
    InvalidScales {
        /// The file.
        path: PathBuf,
        /// Name of the integers.
        tensor: String,
        /// Number of rows of the integers.
        rows: usize,
        /// Type and shape of the scales.
        found: String,
    },
    /// The file is one part of a checkpoint in several files.
    #[error(
        "{} is one part of a checkpoint in several files, {}",
        path.display(),
        describe_index(index, *found)
    )]
    PartOfCheckpoint {
        /// The file.
        path: PathBuf,
        /// File name of the index that lists all parts; `None` for parts that need none.
        index: Option<String>,
        /// Whether the index is in the same directory.
        found: bool,
    },
    /// The chunks of a tensor in a distributed checkpoint do not make a whole tensor.
    #[error("cannot join the chunks of tensor {tensor} of {}: {reason}", path.display())]
    InvalidChunks {
        /// The metadata file, or the directory.
        path: PathBuf,
        /// The tensor's name.
        tensor: String,
        /// Description of the problem, with the offsets of the chunk.
        reason: String,
    },
    /// A tensor has an element type that is not one of [`Dtype`](crate::Dtype)'s.
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
         or model: {found}",
        path.display()
    )]
    NoTensors {
        /// The file.
        path: PathBuf,
        /// What the file contains instead.
        found: String,
    },
    /// Reading would take far more memory than the file size justifies.
    #[error(
        "reading {} would take far more memory than its size justifies: {item}",
        path.display()
    )]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// The content that needs the memory.
        item: String,
    },
    /// The number of values does not match the shape of the tensor.
    #[error("tensor shape {shape:?} does not match {elements} values")]
    ShapeMismatch {
        /// The requested shape.
        shape: Vec<usize>,
        /// Number of values given.
        elements: usize,
    },
    /// A finite value is out of range for the element type to write.
    #[error(
        "cannot write {}: value {value} of tensor {tensor} exceeds the {to} maximum of {max}",
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
        max: f64,
    },
    /// Writing was cancelled.
    #[error("cancelled before {} was written; no partial file is left", path.display())]
    Cancelled {
        /// The output file.
        path: PathBuf,
    },
    /// The tensors or the metadata cannot be represented in a safetensors file.
    #[error("cannot write {}: {reason}", path.display())]
    InvalidTensors {
        /// The output file.
        path: PathBuf,
        /// Description of the problem.
        reason: String,
    },
}

impl CheckpointError {
    /// Returns advice for a caller who meets the error; `None` if the message says it all.
    ///
    /// ```
    /// use clipn_checkpoint::Checkpoint;
    ///
    /// let pointer = b"version https://git-lfs.github.com/spec/v1\n".to_vec();
    /// let error = Checkpoint::from_bytes("model.safetensors", pointer).unwrap_err();
    /// assert_eq!(error.hint(), Some("run `git lfs pull` to download the weights"));
    /// ```
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        Some(match self {
            Self::NotFound { .. } => "check the path",
            Self::BrokenLink { .. } => "copy the files themselves, with links followed (`cp -rL`)",
            Self::NoWeightsInDirectory { subdirectories, .. } if subdirectories.is_empty() => {
                "name a weights file or a directory that contains one"
            }
            Self::NoWeightsInDirectory { .. } => "name one of the subdirectories",
            Self::AmbiguousDirectory { .. } => "name one of the files",
            Self::InvalidIndex { .. } => "download the index again",
            Self::MissingShard { .. } => "download all shards that the index lists",
            Self::LayoutMismatch { .. } => {
                "save the model again with transformers' `save_pretrained`"
            }
            Self::Changed { .. } => "write a new file and rename it over the old one",
            Self::NotAFile { .. } => "save the weights to a file on disk first",
            Self::PermissionDenied { .. } => "make the file readable for this user",
            Self::Empty { .. } | Self::Truncated { .. } => "download or copy the file again",
            Self::Unrecognized { hint, .. } => hint,
            Self::Corrupt { .. } | Self::InvalidScales { .. } => "download or save the file again",
            Self::DisallowedGlobal { .. } => {
                "in a Python program that you trust, save the weights alone: \
                 `torch.save(model.state_dict(), \"weights.pt\")`"
            }
            Self::AmbiguousWeights { .. } | Self::UnknownWeightsKey { .. } => {
                "name one of them with `Checkpoint::open_model`"
            }
            Self::UnsupportedTensorClass { hint, .. } | Self::QuantizedWeights { hint, .. } => hint,
            Self::PartOfCheckpoint { found: true, .. } => "name the index or its directory",
            Self::PartOfCheckpoint {
                index: Some(index), ..
            } if index.starts_with('.') => {
                "copy the whole directory, with the hidden file that `*` does not match; if there is \
                 none, the checkpoint was not saved to its end"
            }
            Self::PartOfCheckpoint { index: None, .. } => {
                "name the directory, with all parts in it"
            }
            Self::PartOfCheckpoint { .. } => "download the index and all files that it lists",
            Self::InvalidChunks { .. } => "copy the files of all ranks again, or save them again",
            Self::UnsupportedDtype { .. } => {
                "convert the tensor to float32, float16 or bfloat16 and save the file again"
            }
            Self::BigEndian { .. } => {
                "load it with PyTorch and save it as safetensors, which are little-endian \
                 everywhere"
            }
            Self::NoTensors { .. } => {
                "save the weights with `torch.save(model.state_dict(), \"weights.pt\")`"
            }
            Self::TooLarge { .. } => {
                "hostile files behave so; if you trust it, load it with PyTorch and save its \
                 state dict as safetensors"
            }
            Self::Overflow { .. } => "write a type with a wider range, such as bf16 or f32",
            Self::InvalidTensors { .. } => "rename the tensor",
            Self::Io { .. } | Self::ShapeMismatch { .. } | Self::Cancelled { .. } => return None,
        })
    }
}

fn described_tensor(name: Option<&str>) -> String {
    match name {
        Some(name) => format!("tensor {}", escape_for_display(name)),
        None => "a tensor".to_owned(),
    }
}

fn describe_index(index: &Option<String>, found: bool) -> String {
    match (index, found) {
        (Some(index), true) => format!("which {} lists", escape_for_display(index)),
        (Some(index), false) => format!("and their index {} is missing", escape_for_display(index)),
        (None, _) => "each with a part of every tensor".to_owned(),
    }
}

/// Lists the names of models; that of weights without any prefix is empty.
fn listed(names: &[String]) -> String {
    let names = names.iter().map(|name| match name.as_str() {
        "" => "one without a name".to_owned(),
        name => escape_for_display(name),
    });
    let listed: Vec<String> = names.collect();
    if listed.is_empty() {
        return "no model with an image tower".to_owned();
    }
    listed.join(", ")
}

fn describe_subdirectories(subdirectories: &[String]) -> String {
    match subdirectories {
        [] => "it contains none".to_owned(),
        names => format!("only subdirectories contain weights: {}", names.join(", ")),
    }
}

/// Makes a name from a file safe to print: escapes control characters and cuts it to 120
/// characters.
#[doc(hidden)]
pub fn escape_for_display(name: &str) -> String {
    clipn_base::text::escape_control(name, 120).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_control_characters_and_truncates() {
        assert_eq!(escape_for_display("a\u{1b}[2Jb\n"), "a\\u{1b}[2Jb\\n");
        assert!(
            escape_for_display(&"x".repeat(5000)).starts_with(&format!("{}…", "x".repeat(120)))
        );
        assert_eq!(
            escape_for_display("it's \"visual.proj\" ü"),
            "it's \"visual.proj\" ü"
        );
    }
}
