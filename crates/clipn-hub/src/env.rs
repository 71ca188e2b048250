//! Environment variables as huggingface_hub reads them.

use std::ffi::OsString;
use std::path::PathBuf;

/// Lookup of environment variables. An empty variable counts as unset.
pub(crate) struct EnvVars<'a>(&'a dyn Fn(&str) -> Option<OsString>);

impl<'a> EnvVars<'a> {
    pub(crate) fn new(get: &'a dyn Fn(&str) -> Option<OsString>) -> Self {
        Self(get)
    }

    pub(crate) fn get(&self, name: &str) -> Option<OsString> {
        (self.0)(name).filter(|value| !value.is_empty())
    }

    /// Parses a flag as huggingface_hub does: `1`, `ON`, `YES` and `TRUE` in any case are true.
    pub(crate) fn is_true(&self, name: &str) -> bool {
        let value = self
            .get(name)
            .map(|value| value.to_string_lossy().to_ascii_uppercase());
        value.is_some_and(|value| matches!(value.as_str(), "1" | "ON" | "YES" | "TRUE"))
    }

    /// Parses a path. A leading `~` is replaced by the home directory.
    pub(crate) fn path(&self, name: &str) -> Option<PathBuf> {
        let value = PathBuf::from(self.get(name)?);
        match (value.strip_prefix("~"), self.home()) {
            (Ok(rest), Some(home)) => Some(home.join(rest)),
            _ => Some(value),
        }
    }

    fn home(&self) -> Option<PathBuf> {
        self.get("HOME")
            .or_else(|| self.get("USERPROFILE"))
            .map(PathBuf::from)
    }

    /// Directory of Hugging Face's files: `HF_HOME`, or `huggingface` in the user's cache directory.
    pub(crate) fn hf_home(&self) -> Option<PathBuf> {
        let caches = || {
            self.path("XDG_CACHE_HOME")
                .or_else(|| Some(self.home()?.join(".cache")))
        };
        self.path("HF_HOME")
            .or_else(|| Some(caches()?.join("huggingface")))
    }
}
