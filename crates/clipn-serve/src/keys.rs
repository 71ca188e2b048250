use std::fmt;

use sha2::{Digest, Sha256};
use subtle::{Choice, ConstantTimeEq};

use crate::ServeError;

/// Minimum length of a key in bytes, so that it cannot be guessed.
const MIN_KEY_LEN: usize = 16;

/// Set of accepted API keys. Only SHA-256 hashes are stored; keys never appear in messages or logs.
#[derive(Clone, Default)]
pub struct ApiKeys(Vec<[u8; 32]>);

impl ApiKeys {
    /// Creates a set from plain-text keys. Leading and trailing white space is trimmed.
    ///
    /// # Errors
    /// [`ServeError::InvalidSetting`] if a key is shorter than 16 bytes or contains anything but
    /// printable ASCII without spaces. The message contains the key's number, counted from 1, but
    /// not the key.
    pub fn new<'a>(keys: impl IntoIterator<Item = &'a str>) -> Result<Self, ServeError> {
        let mut hashes = Vec::new();
        for (index, key) in keys.into_iter().map(str::trim).enumerate() {
            let number = index + 1;
            if key.len() < MIN_KEY_LEN {
                return Err(ServeError::InvalidSetting(format!(
                    "API key {number} is too short: expected at least {MIN_KEY_LEN} characters, got {}",
                    key.len()
                )));
            }
            if !key.bytes().all(|byte| byte.is_ascii_graphic()) {
                return Err(ServeError::InvalidSetting(format!(
                    "API key {number} contains characters other than printable ASCII"
                )));
            }
            hashes.push(hash(key.as_bytes()));
        }
        Ok(Self(hashes))
    }

    /// Parses one key per line. Empty lines and lines that start with `#` are ignored.
    ///
    /// # Errors
    /// Same as [`ApiKeys::new`].
    pub fn from_lines(text: &str) -> Result<Self, ServeError> {
        Self::new(
            text.lines()
                .filter(|line| !line.trim().is_empty() && !line.trim_start().starts_with('#')),
        )
    }

    /// Returns the union of both sets.
    #[must_use]
    pub fn union(mut self, others: Self) -> Self {
        self.0.extend(others.0);
        self
    }

    /// Number of keys.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether the set is empty, which disables authentication.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether the set contains a key. The comparison takes constant time.
    pub fn contains(&self, key: &[u8]) -> bool {
        let candidate = hash(key);
        let found = self.0.iter().fold(Choice::from(0), |found, known| {
            found | known[..].ct_eq(&candidate)
        });
        found.into()
    }
}

impl fmt::Debug for ApiKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} keys", self.0.len())
    }
}

fn hash(key: &[u8]) -> [u8; 32] {
    Sha256::digest(key).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_only_complete_keys() {
        let keys =
            ApiKeys::from_lines("# staff\n\n 0123456789abcdef \nfedcba9876543210\n").unwrap();
        assert_eq!(keys.len(), 2);
        assert!(keys.contains(b"0123456789abcdef") && keys.contains(b"fedcba9876543210"));
        for wrong in [
            &b""[..],
            b"0123456789abcde",
            b"0123456789abcdefg",
            b"# staff",
        ] {
            assert!(!keys.contains(wrong), "{wrong:?}");
        }
        assert!(!ApiKeys::default().contains(b""));
    }

    #[test]
    fn messages_do_not_contain_keys() {
        let keys = ApiKeys::new(["0123456789abcdef"]).unwrap();
        assert_eq!(format!("{keys:?}"), "1 keys");
        for broken in [
            "short-secret",
            "a key with spaces in it",
            "ключключключключ",
        ] {
            let message = ApiKeys::new(["0123456789abcdef", broken])
                .unwrap_err()
                .to_string();
            assert!(
                message.contains("key 2") && !message.contains(broken),
                "{message}"
            );
        }
    }
}
