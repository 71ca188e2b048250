use std::fmt;

use sha2::{Digest, Sha256};
use subtle::{Choice, ConstantTimeEq};

use crate::ServeError;

/// Characters of a key at least, so that none can be guessed.
const SHORTEST: usize = 16;

/// The keys that are let in, kept as hashes only: they appear in no message and no log.
#[derive(Clone, Default)]
pub struct ApiKeys(Vec<[u8; 32]>);

impl ApiKeys {
    /// Takes keys as they are; white space around one is dropped.
    ///
    /// # Errors
    /// A key is shorter than 16 characters or has white space or control characters in it. The message tells its place
    /// and not the key.
    pub fn new<'a>(keys: impl IntoIterator<Item = &'a str>) -> Result<Self, ServeError> {
        let mut hashes = Vec::new();
        for (index, key) in keys.into_iter().map(str::trim).enumerate() {
            let place = index + 1;
            if key.len() < SHORTEST {
                return Err(ServeError::Setting(format!(
                    "API key {place} has {} characters; use at least {SHORTEST}, as `openssl rand -hex 16` makes them",
                    key.len()
                )));
            }
            if !key.bytes().all(|byte| byte.is_ascii_graphic()) {
                return Err(ServeError::Setting(format!(
                    "API key {place} has characters that no header can carry; use letters, digits and signs of ASCII"
                )));
            }
            hashes.push(hash(key.as_bytes()));
        }
        Ok(Self(hashes))
    }

    /// The keys of a text with one a line; empty lines and lines that begin with `#` are left out.
    ///
    /// # Errors
    /// As [`ApiKeys::new`].
    pub fn from_lines(text: &str) -> Result<Self, ServeError> {
        Self::new(
            text.lines()
                .filter(|line| !line.trim().is_empty() && !line.trim_start().starts_with('#')),
        )
    }

    /// These keys and those.
    #[must_use]
    pub fn and(mut self, others: Self) -> Self {
        self.0.extend(others.0);
        self
    }

    /// Number of keys.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is no key, so that everybody is let in.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether a key is among these. Takes as long whichever it is, and whether it is.
    pub fn admits(&self, key: &[u8]) -> bool {
        let given = hash(key);
        let found = self.0.iter().fold(Choice::from(0), |found, known| {
            found | known[..].ct_eq(&given)
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
    fn only_whole_keys_are_admitted() {
        let keys =
            ApiKeys::from_lines("# staff\n\n 0123456789abcdef \nfedcba9876543210\n").unwrap();
        assert_eq!(keys.len(), 2);
        assert!(keys.admits(b"0123456789abcdef") && keys.admits(b"fedcba9876543210"));
        for wrong in [
            &b""[..],
            b"0123456789abcde",
            b"0123456789abcdefg",
            b"# staff",
        ] {
            assert!(!keys.admits(wrong), "{wrong:?}");
        }
        assert!(!ApiKeys::default().admits(b""));
    }

    #[test]
    fn no_key_is_told() {
        let keys = ApiKeys::new(["0123456789abcdef"]).unwrap();
        assert_eq!(format!("{keys:?}"), "1 keys");
        for broken in [
            "short-secret",
            "a key with spaces in it",
            "ключключключключ",
        ] {
            let told = ApiKeys::new(["0123456789abcdef", broken])
                .unwrap_err()
                .to_string();
            assert!(told.contains("key 2") && !told.contains(broken), "{told}");
        }
    }
}
