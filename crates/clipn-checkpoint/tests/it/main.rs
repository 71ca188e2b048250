//! Integration tests of `clipn-checkpoint`, one module a capability.
#![allow(clippy::unwrap_used)]

mod checkpoint;
mod checkpoint_files;
mod checkpoint_hostile;
mod distributed;
mod distributed_hostile;
mod tensor_classes;
