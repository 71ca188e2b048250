use thiserror::Error;

/// Error of parsing a name that is none of the known ones.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("unknown {what} `{name}`; expected {expected}")]
pub struct UnknownName {
    what: &'static str,
    name: String,
    expected: &'static str,
}

impl UnknownName {
    pub(crate) fn new(what: &'static str, name: &str, expected: &'static str) -> Self {
        Self {
            what,
            name: name.to_owned(),
            expected,
        }
    }

    /// Returns the unknown name.
    pub fn name(&self) -> &str {
        &self.name
    }
}
