//! What can be wrong with a weights file.

use std::io;
use std::path::PathBuf;

use super::FloatType;

/// Why a weights file could not be read or written. Every message names the file and says what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CheckpointError {
    /// There is nothing at the path.
    #[error("there is no weights file {}; check the path", path.display())]
    NotFound {
        /// The path that was asked for.
        path: PathBuf,
    },
    /// A folder in which no weights file stands out.
    #[error("{} is a folder in which no one weights file stands out; {}", path.display(), listing(found, inside))]
    Folder {
        /// The folder.
        path: PathBuf,
        /// Names of weights files in it, sorted.
        found: Vec<String>,
        /// Folders in it that hold weights, sorted.
        inside: Vec<String>,
    },
    /// An index of weights in several files that cannot be followed.
    #[error("{} is an index of weights in several files, and cannot be used: {what}", path.display())]
    Index {
        /// The index.
        path: PathBuf,
        /// What is wrong with it, and what to do.
        what: String,
    },
    /// Tensors under another program's names that do not make up what that program stores.
    #[error("{} names its tensors as transformers' CLIPModel does, but {what}; save it again", path.display())]
    Layout {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// A pipe, socket or device, which cannot be memory-mapped.
    #[error("{} is not a regular file, and weights are memory-mapped; save it to disk first", path.display())]
    NotAFile {
        /// The path that was asked for.
        path: PathBuf,
    },
    /// The file may not be read.
    #[error("permission denied for {}; check who may access it", path.display())]
    PermissionDenied {
        /// The path that was asked for.
        path: PathBuf,
    },
    /// Another failure of the operating system.
    #[error("could not {action} {}: {source}", path.display())]
    Io {
        /// What was being done, as a verb: "open", "write".
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's own words.
        source: io::Error,
    },
    /// The file holds no bytes.
    #[error("{} is empty (0 bytes); download or save it again", path.display())]
    Empty {
        /// The file.
        path: PathBuf,
    },
    /// Content that is no weights file.
    #[error("{} is not a weights file this program reads: it looks like {seen}; {advice}", path.display())]
    Unrecognised {
        /// The file.
        path: PathBuf,
        /// What the content looks like.
        seen: String,
        /// What to do about it.
        advice: &'static str,
    },
    /// The file ends before its content does.
    #[error("{} is cut short: {what}; download or copy it again", path.display())]
    Truncated {
        /// The file.
        path: PathBuf,
        /// What is missing, and where.
        what: String,
    },
    /// The content contradicts itself.
    #[error("{} is damaged at {place}: {what}; download or save it again", path.display())]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// Which part of the file, with the byte or the key.
        place: String,
        /// What is wrong there.
        what: String,
    },
    /// The pickle asks for a Python object that is not plain weights.
    #[error(
        "{} asks for the Python object {global}, which is not plain weights; nothing in a weights file is ever \
         executed, so it is refused; in Python, from a program you trust, save the weights alone: \
         torch.save(model.state_dict(), \"weights.pt\")",
        path.display()
    )]
    RefusedGlobal {
        /// The file.
        path: PathBuf,
        /// Module and name, such as `argparse.Namespace`.
        global: String,
    },
    /// A tensor of a type that no part of this project computes with.
    #[error(
        "tensor {tensor} in {} has the element type {dtype}, which is not supported; convert it to float32, float16 \
         or bfloat16 and save it again",
        path.display()
    )]
    UnsupportedDtype {
        /// The file.
        path: PathBuf,
        /// The tensor's name.
        tensor: String,
        /// The file's own name of the type.
        dtype: String,
    },
    /// Weights written on a big-endian machine.
    #[error(
        "{} was saved on a big-endian machine; load it there or with PyTorch and save it as safetensors, which are \
         little-endian everywhere",
        path.display()
    )]
    BigEndian {
        /// The file.
        path: PathBuf,
    },
    /// A readable file without a dictionary of tensors.
    #[error(
        "{} holds no named tensors: {seen}; a state dict is looked for at the top and under state_dict, \
         model_state_dict and model",
        path.display()
    )]
    NoTensors {
        /// The file.
        path: PathBuf,
        /// What it holds instead.
        seen: String,
    },
    /// Reading would take far more memory than the file's size justifies.
    #[error(
        "{} asks for far more memory than its size justifies ({what}), which is how hostile files behave; if you \
         trust it, load it with PyTorch and save its state dict as safetensors",
        path.display()
    )]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// What asks for it.
        what: String,
    },
    /// A tensor made from numbers that do not fill its shape.
    #[error(
        "{elements} numbers do not fill a tensor of shape {shape:?}; give one number for each element"
    )]
    Shape {
        /// The shape asked for.
        shape: Vec<usize>,
        /// How many numbers came with it.
        elements: usize,
    },
    /// A value that the type to be written has no number for.
    #[error(
        "tensor {tensor} holds {value}, and {to} ends at {largest}; write {} in a type of a wider range", path.display()
    )]
    Overflow {
        /// The file to be written.
        path: PathBuf,
        /// The tensor's name.
        tensor: String,
        /// The value.
        value: f64,
        /// The type asked for.
        to: FloatType,
        /// Its largest value.
        largest: f64,
    },
    /// Writing was asked to stop.
    #[error("stopped before {} was written; nothing of it is left", path.display())]
    Cancelled {
        /// The file to be written.
        path: PathBuf,
    },
    /// Tensors that a safetensors file cannot hold together.
    #[error("cannot write {}: {what}", path.display())]
    Unwritable {
        /// The file to be written.
        path: PathBuf,
        /// What is wrong with the tensors, and what to do.
        what: String,
    },
}

fn listing(found: &[String], inside: &[String]) -> String {
    match (found, inside) {
        ([], []) => "no weights file lies in it".to_owned(),
        ([], folders) => format!("name one of the folders in it: {}", folders.join(", ")),
        (files, _) => format!("name one of the files in it: {}", files.join(", ")),
    }
}

/// A name from a file, made fit for a message: control characters escaped, and cut where it is very long.
pub fn shown(name: &str) -> String {
    const LONGEST: usize = 120;
    let mut text = String::new();
    for c in name.chars().take(LONGEST) {
        match c {
            '"' | '\'' | '\\' => text.push(c),
            _ => text.extend(c.escape_debug()),
        }
    }
    if name.chars().nth(LONGEST).is_some() {
        text.push('…');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_from_files_cannot_move_the_cursor_or_flood_the_screen() {
        assert_eq!(shown("a\u{1b}[2Jb\n"), "a\\u{1b}[2Jb\\n");
        assert_eq!(shown(&"x".repeat(5000)).chars().count(), 121);
        assert_eq!(shown("it's \"visual.proj\" ü"), "it's \"visual.proj\" ü");
    }
}
