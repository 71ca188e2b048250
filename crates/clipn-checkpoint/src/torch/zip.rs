//! Zip format: `<root>/data.pkl` is the pickle, and each `<root>/data/<key>` is a storage. Entries
//! are uncompressed, so tensors borrow them from the mapped file. Compressed entries of a repacked
//! archive are inflated.
//!
//! Checksums of uncompressed entries are not verified: that would read the whole file, and PyTorch
//! does not always write them.

use std::collections::HashMap;
use std::io::{Cursor, Read};
use std::ops::Range;
use std::path::Path;

use zip::result::ZipError;
use zip::{CompressionMethod, ZipArchive};

use super::{StorageSource, pickle_error, tree};
use crate::budget::{Budget, Exhausted};
use crate::buffer::FileBytes;
use crate::error::escape_for_display;
use crate::pickle::{self, Dialect, StorageSpec};
use crate::{CheckpointError, Value};

/// Returns the saved object, and whether it was written by `torch.save` or `torch.jit.save`.
pub(crate) fn read(
    path: &Path,
    bytes: &FileBytes,
    budget: &mut Budget,
) -> Result<(Value, Dialect), CheckpointError> {
    let mut archive = Archive::open(path, bytes)?;
    archive.check_byte_order(budget)?;
    let dialect = archive.dialect();
    let (held, range) = archive.entry("data.pkl", budget)?;
    let parsed = pickle::parse(&held.as_slice()[range], dialect, budget)
        .map_err(|error| pickle_error(path, "data.pkl", 0, error))?;
    let value = tree::build(path, &parsed, &mut archive, budget)?;
    Ok((value, dialect))
}

/// Maximum expansion factor of deflate, rounded up.
const MAX_DEFLATE_RATIO: u64 = 1033;

struct Archive<'a> {
    path: &'a Path,
    bytes: &'a FileBytes,
    zip: ZipArchive<Cursor<&'a [u8]>>,
    /// Directory of all entries, with a trailing slash; PyTorch names it after the file.
    root: String,
    /// Inflated entries by index.
    inflated: HashMap<usize, FileBytes>,
}

impl<'a> Archive<'a> {
    fn open(path: &'a Path, bytes: &'a FileBytes) -> Result<Archive<'a>, CheckpointError> {
        let zip = ZipArchive::new(Cursor::new(bytes.as_slice())).map_err(|error| {
            CheckpointError::Truncated {
                path: path.to_owned(),
                reason: format!(
                    "the zip central directory at the end is missing or damaged ({error})"
                ),
            }
        })?;
        let mut archive = Archive {
            path,
            bytes,
            zip,
            root: String::new(),
            inflated: HashMap::new(),
        };
        archive.root = archive.find_root()?;
        Ok(archive)
    }

    fn find_root(&self) -> Result<String, CheckpointError> {
        let names = || {
            self.zip
                .file_names_raw()
                .filter_map(|name| std::str::from_utf8(name).ok())
        };
        let mut roots = names()
            .filter_map(|name| name.strip_suffix("data.pkl"))
            .filter(|root| {
                let folder = root.strip_suffix('/');
                root.is_empty() || folder.is_some_and(|folder| !folder.contains('/'))
            });
        match (roots.next(), roots.next()) {
            (Some(root), None) => Ok(root.to_owned()),
            (Some(_), Some(_)) => Err(self.corrupt("the archive", "more than one data.pkl")),
            (None, _) => {
                let examples: Vec<String> = names().take(3).map(escape_for_display).collect();
                let looks_like = match &examples[..] {
                    [] => "an empty zip archive".to_owned(),
                    examples => format!(
                        "a zip archive that was not written by torch.save (it contains {}, …)",
                        examples.join(", ")
                    ),
                };
                Err(CheckpointError::Unrecognized {
                    path: self.path.to_owned(),
                    looks_like,
                    hint: "use a .safetensors file, or a .pt file that contains data.pkl",
                })
            }
        }
    }

    /// Detects TorchScript archives, which have code and constants beside the data.
    fn dialect(&self) -> Dialect {
        let code = format!("{}code/", self.root);
        let constants = format!("{}constants.pkl", self.root);
        let is_script =
            |name: &[u8]| name.starts_with(code.as_bytes()) || name == constants.as_bytes();
        if self.zip.file_names_raw().any(is_script) {
            Dialect::TorchScript
        } else {
            Dialect::Checkpoint
        }
    }

    /// Rejects weights of a big-endian machine.
    fn check_byte_order(&mut self, budget: &mut Budget) -> Result<(), CheckpointError> {
        if self.index("byteorder").is_some() {
            let (bytes, range) = self.entry("byteorder", budget)?;
            match &bytes.as_slice()[range] {
                b"little" => {}
                b"big" => {
                    return Err(CheckpointError::BigEndian {
                        path: self.path.to_owned(),
                    });
                }
                _ => return Err(self.corrupt("byteorder", "expected `little` or `big`")),
            }
        }
        Ok(())
    }

    fn index(&self, name: &str) -> Option<usize> {
        self.zip
            .index_for_name_raw(format!("{}{name}", self.root).as_bytes())
    }

    /// Returns the bytes of `<root>/<name>`.
    fn entry(
        &mut self,
        name: &str,
        budget: &mut Budget,
    ) -> Result<(FileBytes, Range<usize>), CheckpointError> {
        let Some(index) = self.index(name) else {
            return Err(self.corrupt(&escape_for_display(name), "missing entry"));
        };
        if let Some(bytes) = self.inflated.get(&index) {
            return Ok((bytes.clone(), 0..bytes.as_slice().len()));
        }
        let header = self.zip.by_index_raw(index).map(|entry| Header {
            method: entry.compression(),
            encrypted: entry.encrypted(),
            start: entry.data_start(),
            compressed_size: entry.compressed_size(),
            size: entry.size(),
        });
        let header = header.map_err(|error| self.zip_error(name, &error))?;
        let range = header.range(self.bytes.as_slice().len());
        match (header.method, range) {
            _ if header.encrypted => {
                Err(self.corrupt(&escape_for_display(name), "encrypted entry"))
            }
            (_, None) => {
                Err(self.corrupt(&escape_for_display(name), "entry out of bounds of the file"))
            }
            (CompressionMethod::Stored, Some(range)) if header.size == header.compressed_size => {
                Ok((self.bytes.clone(), range))
            }
            (CompressionMethod::Stored, _) => Err(self.corrupt(
                &escape_for_display(name),
                "uncompressed entry with two different sizes",
            )),
            (CompressionMethod::Deflated, Some(range)) => {
                if header.size > MAX_DEFLATE_RATIO.saturating_mul(range.len() as u64) {
                    return Err(self.corrupt(
                        &escape_for_display(name),
                        "size exceeds the maximum expansion of deflate",
                    ));
                }
                self.inflate(name, index, header.size, budget)
            }
            (method, _) => Err(self.corrupt(
                &escape_for_display(name),
                &format!("unsupported compression method {method}, expected deflate"),
            )),
        }
    }

    fn inflate(
        &mut self,
        name: &str,
        index: usize,
        size: u64,
        budget: &mut Budget,
    ) -> Result<(FileBytes, Range<usize>), CheckpointError> {
        let size = usize::try_from(size).unwrap_or(usize::MAX);
        budget
            .charge(size)
            .map_err(|Exhausted| CheckpointError::TooLarge {
                path: self.path.to_owned(),
                item: format!("compressed entry {}", escape_for_display(name)),
            })?;
        // Reading stops one byte past the declared size.
        let mut inflated = Vec::with_capacity(size);
        let read = match self.zip.by_index(index) {
            Ok(entry) => entry
                .take(size as u64 + 1)
                .read_to_end(&mut inflated)
                .map_err(ZipError::from),
            Err(error) => Err(error),
        };
        read.map_err(|error| self.zip_error(name, &error))?;
        if inflated.len() != size {
            return Err(self.corrupt(
                &escape_for_display(name),
                &format!("inflated to {} bytes, expected {size}", inflated.len()),
            ));
        }
        let bytes = FileBytes::from(inflated);
        self.inflated.insert(index, bytes.clone());
        Ok((bytes, 0..size))
    }

    fn zip_error(&self, name: &str, error: &ZipError) -> CheckpointError {
        self.corrupt(&escape_for_display(name), &error.to_string())
    }

    fn corrupt(&self, location: &str, reason: &str) -> CheckpointError {
        CheckpointError::Corrupt {
            path: self.path.to_owned(),
            location: location.to_owned(),
            reason: reason.to_owned(),
        }
    }
}

/// Central directory record of an entry.
struct Header {
    method: CompressionMethod,
    encrypted: bool,
    start: Option<u64>,
    compressed_size: u64,
    size: u64,
}

impl Header {
    /// Returns the byte range of the entry in a file of `len` bytes.
    fn range(&self, len: usize) -> Option<Range<usize>> {
        let start = usize::try_from(self.start?).ok()?;
        let end = start.checked_add(usize::try_from(self.compressed_size).ok()?)?;
        (end <= len).then_some(start..end)
    }
}

impl StorageSource for Archive<'_> {
    fn storage(
        &mut self,
        spec: &StorageSpec<'_>,
        budget: &mut Budget,
    ) -> Result<(FileBytes, Range<usize>), CheckpointError> {
        let name = format!("data/{}", spec.key);
        let (bytes, range) = self.entry(&name, budget)?;
        let needed = spec
            .len
            .checked_mul(spec.ty.size)
            .filter(|&needed| needed <= range.len());
        let Some(needed) = needed else {
            let reason = format!(
                "{} bytes for a storage of {} {}",
                range.len(),
                spec.len,
                spec.ty.name
            );
            return Err(self.corrupt(&escape_for_display(&name), &reason));
        };
        match spec.view {
            None => Ok((bytes, range.start..range.start + needed)),
            Some(_) => Err(self.corrupt(
                &escape_for_display(&name),
                "storage view, which is allowed only in legacy files",
            )),
        }
    }
}
