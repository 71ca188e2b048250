//! Legacy format (before PyTorch 1.6, or `_use_new_zipfile_serialization=False`). It begins with
//! five pickles: a magic number, a protocol number, system information, the object, and the storage
//! keys. Then each storage follows as its number of elements (i64) and its bytes.

use std::collections::HashMap;
use std::ops::Range;
use std::path::Path;

use super::{StorageSource, pickle_error, tree};
use crate::budget::Budget;
use crate::buffer::FileBytes;
use crate::error::escape_for_display;
use crate::pickle::{self, Dialect, Node, Parsed, StorageSpec};
use crate::{CheckpointError, Value};

/// 0x1950a86a20f9469cfc6c, little-endian.
const MAGIC: [u8; 10] = [0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19];
const PROTOCOL: i64 = 1001;

/// Returns the saved object.
pub(crate) fn read(
    path: &Path,
    bytes: &FileBytes,
    budget: &mut Budget,
) -> Result<Value, CheckpointError> {
    let mut pickles = PickleSequence {
        path,
        bytes: bytes.as_slice(),
        at: 0,
        budget: &mut *budget,
    };
    pickles.check_header()?;
    let object = pickles.next("the object")?;
    let keys = pickles.next("the storage keys")?;
    let at = pickles.at;
    let mut storages = LegacyStorages {
        path,
        bytes,
        ranges: HashMap::new(),
    };
    storages.locate(at, &object, &keys)?;
    tree::build(path, &object, &mut storages, budget)
}

/// Iterator over the pickles at the beginning of the file.
struct PickleSequence<'a, 'b> {
    path: &'a Path,
    bytes: &'a [u8],
    at: usize,
    budget: &'b mut Budget,
}

impl<'a> PickleSequence<'a, '_> {
    fn next(&mut self, part: &str) -> Result<Parsed<'a>, CheckpointError> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let parsed = pickle::parse(rest, Dialect::Checkpoint, self.budget)
            .map_err(|error| pickle_error(self.path, part, self.at, error))?;
        self.at += parsed.end;
        Ok(parsed)
    }

    fn check_header(&mut self) -> Result<(), CheckpointError> {
        let magic = self.next("the magic number")?;
        if !matches!(magic.root(), Node::BigInt(digits) if *digits == MAGIC) {
            return Err(CheckpointError::Unrecognized {
                path: self.path.to_owned(),
                looks_like: format!(
                    "a Python pickle of {} that was not written by torch.save",
                    magic.root().kind()
                ),
                hint: "save the weights with torch.save(model.state_dict(), \"weights.pt\")",
            });
        }
        let start = self.at;
        match self.next("the protocol number")?.root() {
            Node::Int(PROTOCOL) => {}
            _ => {
                return Err(self.corrupt(
                    start,
                    format!("unexpected protocol number, expected {PROTOCOL}"),
                ));
            }
        }
        let start = self.at;
        let system_info = self.next("the system information")?;
        let Node::Dict(entries) = system_info.root() else {
            return Err(self.corrupt(start, "system information is not a dictionary".to_owned()));
        };
        let little = entries
            .iter()
            .find(|(key, _)| matches!(system_info.node(*key), Node::Str("little_endian")));
        match little.map(|&(_, value)| system_info.node(value)) {
            Some(Node::Bool(false)) => Err(CheckpointError::BigEndian {
                path: self.path.to_owned(),
            }),
            _ => Ok(()),
        }
    }

    fn corrupt(&self, at: usize, reason: String) -> CheckpointError {
        CheckpointError::Corrupt {
            path: self.path.to_owned(),
            location: format!("byte {at}"),
            reason,
        }
    }
}

struct LegacyStorages<'a> {
    path: &'a Path,
    bytes: &'a FileBytes,
    /// Byte range of the elements of each storage.
    ranges: HashMap<String, Range<usize>>,
}

impl LegacyStorages<'_> {
    /// Locates the storages from byte `at` on. Their element types are only in the pickle of the
    /// object.
    fn locate(
        &mut self,
        mut at: usize,
        object: &Parsed<'_>,
        keys: &Parsed<'_>,
    ) -> Result<(), CheckpointError> {
        let mut specs: HashMap<&str, &StorageSpec<'_>> = HashMap::new();
        for spec in &object.storages {
            let first = specs.entry(spec.key).or_insert(spec);
            if first.ty.size != spec.ty.size || first.len != spec.len {
                return Err(self.corrupt(spec.key, "conflicting descriptions in the object"));
            }
        }
        let Node::List(list) = keys.root() else {
            return Err(self.corrupt("keys", "storage keys are not a list"));
        };
        for &id in list {
            let &Node::Str(key) = keys.node(id) else {
                return Err(self.corrupt("keys", "storage key is not a string"));
            };
            let Some(spec) = specs.get(key) else {
                return Err(self.corrupt(key, "unknown element type, as no tensor uses it"));
            };
            let range = self.storage_at(at, spec)?;
            at = range.end;
            self.ranges.insert(key.to_owned(), range);
        }
        Ok(())
    }

    /// Returns the byte range of the storage whose element count is at byte `at`.
    fn storage_at(
        &self,
        at: usize,
        spec: &StorageSpec<'_>,
    ) -> Result<Range<usize>, CheckpointError> {
        let file = self.bytes.as_slice();
        let truncated = |needed: String| CheckpointError::Truncated {
            path: self.path.to_owned(),
            reason: format!(
                "expected {1} of storage {0} at byte {at}, but the file has {2} bytes",
                escape_for_display(spec.key),
                needed,
                file.len()
            ),
        };
        let Some((count, _)) = file
            .get(at..)
            .and_then(|rest| rest.split_first_chunk::<8>())
        else {
            return Err(truncated("its number of elements".to_owned()));
        };
        let count = i64::from_le_bytes(*count);
        if usize::try_from(count) != Ok(spec.len) {
            let reason = format!("{count} elements, expected {}", spec.len);
            return Err(self.corrupt(spec.key, &reason));
        }
        let start = at + 8;
        let end = spec
            .len
            .checked_mul(spec.ty.size)
            .and_then(|bytes| start.checked_add(bytes));
        match end {
            Some(end) if end <= file.len() => Ok(start..end),
            _ => Err(truncated(format!("{} {} elements", spec.len, spec.ty.name))),
        }
    }

    fn corrupt(&self, key: &str, reason: &str) -> CheckpointError {
        CheckpointError::Corrupt {
            path: self.path.to_owned(),
            location: format!("storage {}", escape_for_display(key)),
            reason: reason.to_owned(),
        }
    }
}

impl StorageSource for LegacyStorages<'_> {
    fn storage(
        &mut self,
        spec: &StorageSpec<'_>,
        _: &mut Budget,
    ) -> Result<(FileBytes, Range<usize>), CheckpointError> {
        let Some(whole) = self.ranges.get(spec.key) else {
            return Err(self.corrupt(spec.key, "a tensor refers to it, but it is not in the file"));
        };
        let Some((first, len)) = spec.view else {
            return Ok((self.bytes.clone(), whole.clone()));
        };
        let part = first.checked_add(len).filter(|&end| end <= spec.len);
        match part {
            Some(end) => {
                let (start, size) = (whole.start, spec.ty.size);
                Ok((self.bytes.clone(), start + first * size..start + end * size))
            }
            None => Err(self.corrupt(spec.key, "view out of bounds")),
        }
    }
}
