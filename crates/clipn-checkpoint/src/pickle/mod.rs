//! Reader of Python pickles, protocols 2 to 5, as data: a virtual machine that builds plain values
//! and descriptions of tensors.
//!
//! A pickle is a program that may call any Python function by name. Here a name is either on the
//! short allow list that `torch.save` needs for weights, where each name only describes data, or
//! the pickle is rejected. Nothing is ever called.

mod call;
mod global;
mod node;
mod opcode;
mod reader;
mod tensor_class;
mod vm;

pub(crate) use global::Dialect;
#[cfg(test)]
pub(crate) use global::StorageType;
pub(crate) use node::{Id, Node, Parsed, StorageSpec, TensorSpec};
pub(crate) use tensor_class::TensorClass;
pub(crate) use vm::parse;

use crate::budget::Exhausted;

/// Error of reading a pickle. Offsets count from the first byte of the pickle.
#[derive(Debug, PartialEq)]
pub(crate) enum PickleError {
    /// The bytes end before the STOP opcode.
    Truncated,
    /// Content that is malformed, or that no pickle of weights has.
    Corrupt { at: usize, reason: String },
    /// A global name that is not on the allow list.
    Refused { global: String },
    /// A tensor whose elements the pickle does not describe.
    Tensor {
        class: TensorClass,
        /// Its key in the dictionary, if that is next to it on the stack.
        name: Option<String>,
    },
    /// The memory budget of the file is exceeded.
    Exhausted,
}

impl From<Exhausted> for PickleError {
    fn from(_: Exhausted) -> PickleError {
        PickleError::Exhausted
    }
}
