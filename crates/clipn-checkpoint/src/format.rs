//! Detection of weights file formats from the first bytes.

use std::fmt;
use std::path::Path;

use clipn_base::content::ContentKind;

use crate::CheckpointError;
use crate::error::escape_for_display;

/// Format of a weights file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum WeightsFormat {
    /// Hugging Face's safetensors format.
    Safetensors,
    /// PyTorch's zip archive, the default of `torch.save` since 1.6.
    TorchZip,
    /// PyTorch's legacy sequence of pickles, the default before 1.6.
    TorchLegacy,
    /// TorchScript program saved by `torch.jit`, as in OpenAI's CLIP downloads: PyTorch's zip
    /// archive with code.
    TorchScript,
    /// Directory of `torch.distributed.checkpoint`: a pickle of metadata (`.metadata`), and the chunks
    /// of the tensors in `.distcp` or safetensors files.
    TorchDistributed,
}

impl fmt::Display for WeightsFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            WeightsFormat::Safetensors => "safetensors",
            WeightsFormat::TorchZip => "PyTorch .pt (zip)",
            WeightsFormat::TorchLegacy => "PyTorch .pt (legacy)",
            WeightsFormat::TorchScript => "TorchScript archive",
            WeightsFormat::TorchDistributed => "PyTorch distributed checkpoint",
        })
    }
}

/// Detects the format from the beginning of a file alone. A TorchScript archive begins like any
/// other zip, and is reported as [`WeightsFormat::TorchZip`].
pub(crate) fn detect_format(path: &Path, bytes: &[u8]) -> Result<WeightsFormat, CheckpointError> {
    match bytes {
        [] => Err(CheckpointError::Empty {
            path: path.to_owned(),
        }),
        // A header length below 2^48, and the opening brace of the JSON header.
        [_, _, _, _, _, _, 0, 0, b'{', ..] => Ok(WeightsFormat::Safetensors),
        [b'P', b'K', 3, 4, ..] | [b'P', b'K', 5, 6, ..] => Ok(WeightsFormat::TorchZip),
        [0x80, 2..=5, ..] if is_distributed_metadata(bytes) => Ok(WeightsFormat::TorchDistributed),
        [0x80, 2..=5, ..] => Ok(WeightsFormat::TorchLegacy),
        _ => {
            let (looks_like, hint) = describe(bytes);
            Err(CheckpointError::Unrecognized {
                path: path.to_owned(),
                looks_like,
                hint,
            })
        }
    }
}

/// Whether a pickle begins with the class `Metadata` of `torch.distributed.checkpoint`. Only the
/// protocol, a frame and the length of the name are before it.
fn is_distributed_metadata(pickle: &[u8]) -> bool {
    const MODULE: &[u8] = b"torch.distributed.checkpoint.metadata";
    let head = &pickle[..pickle.len().min(SIGNATURE_BYTES)];
    head.windows(MODULE.len()).any(|window| window == MODULE)
}

/// Number of first bytes that determine the format.
pub(crate) const SIGNATURE_BYTES: usize = 64;

const USE_WEIGHTS: &str = "use a .safetensors or PyTorch .pt file";

/// Describes what the content looks like, with advice for the user.
fn describe(bytes: &[u8]) -> (String, &'static str) {
    let head = &bytes[..bytes.len().min(512)];
    let kind = ContentKind::detect(head);
    match kind {
        ContentKind::Json if String::from_utf8_lossy(head).contains("weight_map") => (
            "the index of a sharded checkpoint".to_owned(),
            "use its directory, with all shards that it lists",
        ),
        ContentKind::GitLfsPointer => (
            format!("{kind} instead of the weights"),
            "run `git lfs pull` to download the weights",
        ),
        ContentKind::Gzip | ContentKind::Zstd | ContentKind::Tar => (
            kind.to_string(),
            "extract it and use the weights file inside",
        ),
        ContentKind::Unknown | ContentKind::Text => (
            format!("unknown data beginning with {}", first_bytes(head)),
            USE_WEIGHTS,
        ),
        _ => (kind.to_string(), kind.advice().unwrap_or(USE_WEIGHTS)),
    }
}

/// Formats the first bytes: as text if they are printable, else in hexadecimal.
fn first_bytes(head: &[u8]) -> String {
    let first = &head[..head.len().min(16)];
    match std::str::from_utf8(first) {
        Ok(text) if first.iter().all(|b| b.is_ascii_graphic() || *b == b' ') => {
            format!("\"{}\"", escape_for_display(text))
        }
        _ => first
            .iter()
            .map(|b| format!("{b:02x}"))
            .collect::<Vec<_>>()
            .join(" "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(bytes: &[u8]) -> String {
        detect_format(Path::new("f"), bytes)
            .unwrap_err()
            .to_string()
    }

    #[test]
    fn detects_the_format_from_content() {
        let format = |bytes: &[u8]| detect_format(Path::new("f"), bytes).unwrap();
        assert_eq!(
            format(b"\x02\x00\x00\x00\x00\x00\x00\x00{}"),
            WeightsFormat::Safetensors
        );
        // A header of 0x280 bytes begins like a pickle of protocol 2.
        assert_eq!(
            format(b"\x80\x02\x00\x00\x00\x00\x00\x00{\"a"),
            WeightsFormat::Safetensors
        );
        assert_eq!(
            format(b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."),
            WeightsFormat::TorchLegacy
        );
        assert_eq!(format(b"PK\x03\x04"), WeightsFormat::TorchZip);
        for pickle in [
            &b"\x80\x04\x95\x00\x30\x00\x00\x00\x00\x00\x00\x8c\x25torch.distributed.checkpoint.metadata"[..],
            b"\x80\x02ctorch.distributed.checkpoint.metadata\nMetadata\n",
        ] {
            assert_eq!(format(pickle), WeightsFormat::TorchDistributed);
        }
    }

    #[test]
    fn describes_files_of_other_formats() {
        assert!(
            message(b"version https://git-lfs.github.com/spec/v1\noid sha256:00")
                .contains("a Git LFS pointer")
        );
        assert!(message(b"\n <!DOCTYPE html><html>").contains("an HTML page"));
        assert!(message(b"{\"metadata\": {}, \"weight_map\": {}}").contains("sharded checkpoint"));
        assert!(message(b"\x1f\x8b\x08").contains("a gzip archive"));
        assert!(message(&[0; 600]).contains("zeros"));
        assert!(message(b"hello world").contains("beginning with \"hello world\""));
        assert!(message(b"\xde\xad").contains("beginning with de ad"));
        assert!(message(b"").contains("is empty"));
    }
}
