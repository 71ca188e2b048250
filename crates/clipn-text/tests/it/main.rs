//! Integration tests of `clipn-text`, one module a capability.
#![allow(clippy::unwrap_used)]

mod forms;
mod prompts;
mod tokenizer;
mod wordnet;
