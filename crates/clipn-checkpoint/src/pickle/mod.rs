//! Python's pickle as data, protocols 2 to 5: a machine that builds plain values and descriptions of tensors.
//! A pickle is a program that may call any Python function by name; here a name is either one of the few that
//! `torch.save` needs for weights, each of which only describes data, or refused. Nothing is ever called.

mod call;
mod global;
mod node;
mod reader;
mod vm;

pub(crate) use global::Dialect;
#[cfg(test)]
pub(crate) use global::StorageType;
pub(crate) use node::{Id, Node, Parsed, StorageSpec, TensorSpec};
pub(crate) use vm::parse;

use super::budget::Exhausted;

/// Why a pickle was not read. Offsets count from the pickle's first byte.
#[derive(Debug, PartialEq)]
pub(crate) enum PickleError {
    /// The bytes end before the pickle does.
    Truncated,
    /// Something that no pickle of weights does.
    Corrupt { at: usize, what: String },
    /// A name that is not on the list.
    Refused { global: String },
    /// More memory than the file's size justifies.
    Exhausted,
}

impl From<Exhausted> for PickleError {
    fn from(_: Exhausted) -> PickleError {
        PickleError::Exhausted
    }
}
