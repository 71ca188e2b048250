//! Telling kinds of files apart by their first bytes.

use std::fmt;
use std::path::Path;

use super::CheckpointError;
use super::error::shown;

/// Kind of a weights file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FileKind {
    /// Hugging Face's safetensors.
    Safetensors,
    /// PyTorch's zip archive, written since 1.6.
    TorchZip,
    /// PyTorch's pickles in a row, written before 1.6.
    TorchLegacy,
    /// A program compiled by `torch.jit`, as OpenAI's CLIP downloads are: PyTorch's zip archive with code.
    TorchScript,
}

impl fmt::Display for FileKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            FileKind::Safetensors => "safetensors",
            FileKind::TorchZip => "PyTorch .pt (zip)",
            FileKind::TorchLegacy => "PyTorch .pt (legacy)",
            FileKind::TorchScript => "TorchScript archive",
        })
    }
}

/// The kind of file that `bytes` are, judged by their beginning alone: a TorchScript archive begins as any zip.
pub(crate) fn recognise(path: &Path, bytes: &[u8]) -> Result<FileKind, CheckpointError> {
    match bytes {
        [] => Err(CheckpointError::Empty {
            path: path.to_owned(),
        }),
        // A length below 2^48 and the brace of its JSON header.
        [_, _, _, _, _, _, 0, 0, b'{', ..] => Ok(FileKind::Safetensors),
        [b'P', b'K', 3, 4, ..] | [b'P', b'K', 5, 6, ..] => Ok(FileKind::TorchZip),
        [0x80, 2..=5, ..] => Ok(FileKind::TorchLegacy),
        _ => {
            let (seen, advice) = describe(bytes);
            Err(CheckpointError::Unrecognised {
                path: path.to_owned(),
                seen,
                advice,
            })
        }
    }
}

const GIVE_WEIGHTS: &str = "give a .safetensors or PyTorch .pt file";
const UNPACK: &str = "unpack it and give the weights file inside";
const DOWNLOAD_AGAIN: &str = "download the file itself, not the page that leads to it";

/// What the content looks like, and what to do about it.
fn describe(bytes: &[u8]) -> (String, &'static str) {
    let head = &bytes[..bytes.len().min(512)];
    let text = String::from_utf8_lossy(head)
        .trim_start_matches('\u{feff}')
        .trim_start()
        .to_ascii_lowercase();
    let is_tar = head.get(257..262) == Some(b"ustar");
    let (seen, advice) = match head {
        _ if text.starts_with("version https://git-lfs") => (
            "a git-lfs pointer, not the weights themselves",
            "run `git lfs pull` to fetch them",
        ),
        _ if text.starts_with("<!doctype html") || text.starts_with("<html") => {
            ("an HTML page", DOWNLOAD_AGAIN)
        }
        _ if text.starts_with("<?xml") => {
            ("an XML document, such as a server's error", DOWNLOAD_AGAIN)
        }
        _ if text.starts_with('{') && text.contains("weight_map") => (
            "the index of a model in several files",
            "give its folder, with all the files that it names",
        ),
        _ if text.starts_with(['{', '[']) => ("JSON", GIVE_WEIGHTS),
        [0x1f, 0x8b, ..] => ("a gzip archive", UNPACK),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => ("a zstd archive", UNPACK),
        [0xfd, b'7', b'z', b'X', b'Z', ..] => ("an xz archive", UNPACK),
        _ if is_tar => ("a tar archive", UNPACK),
        [0x93, b'N', b'U', b'M', b'P', b'Y', ..] => ("a NumPy array", GIVE_WEIGHTS),
        [0x89, b'H', b'D', b'F', ..] => ("an HDF5 file", GIVE_WEIGHTS),
        [b'G', b'G', b'U', b'F', ..] => ("a GGUF file", GIVE_WEIGHTS),
        [0x89, b'P', b'N', b'G', ..] | [0xff, 0xd8, 0xff, ..] => ("a picture", GIVE_WEIGHTS),
        _ if head.iter().all(|&b| b == 0) => (
            "nothing but zeros, as an unfinished download",
            "download it again",
        ),
        _ => {
            return (
                format!("something else, beginning with {}", beginning(head)),
                GIVE_WEIGHTS,
            );
        }
    };
    (seen.to_owned(), advice)
}

/// The first bytes: as text where they are printable, else in hexadecimal.
fn beginning(head: &[u8]) -> String {
    let few = &head[..head.len().min(16)];
    match std::str::from_utf8(few) {
        Ok(text) if few.iter().all(|b| b.is_ascii_graphic() || *b == b' ') => {
            format!("\"{}\"", shown(text))
        }
        _ => few
            .iter()
            .map(|b| format!("{b:02x}"))
            .collect::<Vec<_>>()
            .join(" "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(bytes: &[u8]) -> String {
        recognise(Path::new("f"), bytes).unwrap_err().to_string()
    }

    #[test]
    fn kinds_are_told_by_content() {
        let kind = |bytes: &[u8]| recognise(Path::new("f"), bytes).unwrap();
        assert_eq!(
            kind(b"\x02\x00\x00\x00\x00\x00\x00\x00{}"),
            FileKind::Safetensors
        );
        // A header of 0x280 bytes begins like a pickle of protocol 2.
        assert_eq!(
            kind(b"\x80\x02\x00\x00\x00\x00\x00\x00{\"a"),
            FileKind::Safetensors
        );
        assert_eq!(
            kind(b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."),
            FileKind::TorchLegacy
        );
        assert_eq!(kind(b"PK\x03\x04"), FileKind::TorchZip);
    }

    #[test]
    fn what_is_no_weights_file_is_named() {
        assert!(
            seen(b"version https://git-lfs.github.com/spec/v1\noid sha256:00")
                .contains("git lfs pull")
        );
        assert!(seen(b"\n <!DOCTYPE html><html>").contains("an HTML page"));
        assert!(seen(b"{\"metadata\": {}, \"weight_map\": {}}").contains("several files"));
        assert!(seen(b"\x1f\x8b\x08").contains("a gzip archive"));
        assert!(seen(&[0; 600]).contains("zeros"));
        assert!(seen(b"hello world").contains("beginning with \"hello world\""));
        assert!(seen(b"\xde\xad").contains("beginning with de ad"));
        assert!(seen(b"").contains("is empty"));
    }
}
