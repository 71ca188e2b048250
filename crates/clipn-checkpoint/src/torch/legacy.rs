//! The legacy form (before PyTorch 1.6, or `_use_new_zipfile_serialization=False`): five pickles in a row (a magic
//! number, a protocol number, facts about the machine, the object, the storages' keys), then each storage as its
//! number of elements (i64) and its bytes.

use std::collections::HashMap;
use std::ops::Range;
use std::path::Path;

use super::{Storages, pickle_error, tree};
use crate::budget::Budget;
use crate::buffer::Bytes;
use crate::error::shown;
use crate::pickle::{self, Dialect, Node, Parsed, StorageSpec};
use crate::{CheckpointError, Value};

/// 0x1950a86a20f9469cfc6c, little-endian.
const MAGIC: [u8; 10] = [0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19];
const PROTOCOL: i64 = 1001;

/// Reads the object that the file was saved from, and says what is left of the memory that it may take.
pub(crate) fn read(path: &Path, bytes: &Bytes) -> Result<(Value, Budget), CheckpointError> {
    let mut budget = Budget::for_file(bytes.as_slice().len());
    let mut pickles = Pickles {
        path,
        bytes: bytes.as_slice(),
        at: 0,
        budget: &mut budget,
    };
    pickles.check_head()?;
    let object = pickles.next("the object")?;
    let keys = pickles.next("the list of storages")?;
    let at = pickles.at;
    let mut storages = LegacyStorages {
        path,
        bytes,
        ranges: HashMap::new(),
    };
    storages.locate(at, &object, &keys)?;
    let value = tree::build(path, &object, &mut storages, &mut budget)?;
    Ok((value, budget))
}

/// The pickles at the head of the file, one by one.
struct Pickles<'a, 'b> {
    path: &'a Path,
    bytes: &'a [u8],
    at: usize,
    budget: &'b mut Budget,
}

impl<'a> Pickles<'a, '_> {
    fn next(&mut self, part: &str) -> Result<Parsed<'a>, CheckpointError> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let parsed = pickle::parse(rest, Dialect::Checkpoint, self.budget)
            .map_err(|error| pickle_error(self.path, part, self.at, error))?;
        self.at += parsed.end;
        Ok(parsed)
    }

    fn check_head(&mut self) -> Result<(), CheckpointError> {
        let magic = self.next("the magic number")?;
        if !matches!(magic.root(), Node::BigInt(digits) if *digits == MAGIC) {
            return Err(CheckpointError::Unrecognised {
                path: self.path.to_owned(),
                seen: format!(
                    "a Python pickle of {} that torch.save did not write",
                    magic.root().kind()
                ),
                advice: "save the weights with torch.save(model.state_dict(), \"weights.pt\")",
            });
        }
        let start = self.at;
        match self.next("the protocol number")?.root() {
            Node::Int(PROTOCOL) => {}
            _ => {
                return Err(
                    self.corrupt(start, format!("a protocol number that is not {PROTOCOL}"))
                );
            }
        }
        let start = self.at;
        let machine = self.next("the facts about the machine")?;
        let Node::Dict(entries) = machine.root() else {
            return Err(self.corrupt(start, "no dictionary of facts about the machine".to_owned()));
        };
        let little = entries
            .iter()
            .find(|(key, _)| matches!(machine.node(*key), Node::Str("little_endian")));
        match little.map(|&(_, value)| machine.node(value)) {
            Some(Node::Bool(false)) => Err(CheckpointError::BigEndian {
                path: self.path.to_owned(),
            }),
            _ => Ok(()),
        }
    }

    fn corrupt(&self, at: usize, what: String) -> CheckpointError {
        CheckpointError::Corrupt {
            path: self.path.to_owned(),
            place: format!("byte {at}"),
            what,
        }
    }
}

struct LegacyStorages<'a> {
    path: &'a Path,
    bytes: &'a Bytes,
    /// Where each storage's elements lie.
    ranges: HashMap<String, Range<usize>>,
}

impl LegacyStorages<'_> {
    /// Walks the storages from byte `at` on. Their element types stand in the object's pickle alone.
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
                return Err(self.corrupt(spec.key, "the object describes it in two ways"));
            }
        }
        let Node::List(list) = keys.root() else {
            return Err(self.corrupt("keys", "the storages' keys are not a list"));
        };
        for &id in list {
            let &Node::Str(key) = keys.node(id) else {
                return Err(self.corrupt("keys", "a key that is not text"));
            };
            let Some(spec) = specs.get(key) else {
                return Err(self.corrupt(key, "no tensor uses it, so its element type is unknown"));
            };
            let range = self.storage_at(at, spec)?;
            at = range.end;
            self.ranges.insert(key.to_owned(), range);
        }
        Ok(())
    }

    /// The elements of the storage whose count stands at byte `at`.
    fn storage_at(
        &self,
        at: usize,
        spec: &StorageSpec<'_>,
    ) -> Result<Range<usize>, CheckpointError> {
        let file = self.bytes.as_slice();
        let cut = |needed: String| CheckpointError::Truncated {
            path: self.path.to_owned(),
            what: format!(
                "storage {} needs {needed} from byte {at} on, and the file has {}",
                shown(spec.key),
                file.len()
            ),
        };
        let Some((count, _)) = file
            .get(at..)
            .and_then(|rest| rest.split_first_chunk::<8>())
        else {
            return Err(cut("its number of elements".to_owned()));
        };
        let count = i64::from_le_bytes(*count);
        if usize::try_from(count) != Ok(spec.len) {
            let what = format!("{count} elements, where the object has {}", spec.len);
            return Err(self.corrupt(spec.key, &what));
        }
        let start = at + 8;
        let end = spec
            .len
            .checked_mul(spec.ty.size)
            .and_then(|bytes| start.checked_add(bytes));
        match end {
            Some(end) if end <= file.len() => Ok(start..end),
            _ => Err(cut(format!("{} {} elements", spec.len, spec.ty.name))),
        }
    }

    fn corrupt(&self, key: &str, what: &str) -> CheckpointError {
        CheckpointError::Corrupt {
            path: self.path.to_owned(),
            place: format!("storage {}", shown(key)),
            what: what.to_owned(),
        }
    }
}

impl Storages for LegacyStorages<'_> {
    fn find(
        &mut self,
        spec: &StorageSpec<'_>,
        _: &mut Budget,
    ) -> Result<(Bytes, Range<usize>), CheckpointError> {
        let Some(whole) = self.ranges.get(spec.key) else {
            return Err(self.corrupt(spec.key, "a tensor needs it, but the file does not hold it"));
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
            None => Err(self.corrupt(spec.key, "a part of it that lies outside it")),
        }
    }
}
