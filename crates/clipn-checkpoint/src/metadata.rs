//! Metadata of weights files.

use std::ops::Index;

use indexmap::IndexMap;
use serde::Serialize;

/// Metadata of a weights file: texts by key, in file order.
///
/// ```
/// use clipn_checkpoint::Metadata;
///
/// let metadata: Metadata = [("epoch", "10"), ("name", "vit")].into_iter().collect();
/// assert_eq!(metadata.get("epoch"), Some("10"));
/// assert_eq!(metadata["name"], "vit");
/// let keys: Vec<&str> = metadata.iter().map(|(key, _)| key).collect();
/// assert_eq!(keys, ["epoch", "name"]);
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Metadata(IndexMap<String, String>);

impl Metadata {
    pub(crate) fn new(texts: IndexMap<String, String>) -> Metadata {
        Metadata(texts)
    }

    /// Returns the text of `key`.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(String::as_str)
    }

    /// Whether there is a text of `key`.
    pub fn contains_key(&self, key: &str) -> bool {
        self.0.contains_key(key)
    }

    /// Iterates over keys and texts in file order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &str)> {
        self.0
            .iter()
            .map(|(key, text)| (key.as_str(), text.as_str()))
    }

    /// Returns the number of keys.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is no metadata.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// # Panics
/// If there is no text of that key.
impl Index<&str> for Metadata {
    type Output = String;

    fn index(&self, key: &str) -> &String {
        &self.0[key]
    }
}

impl<K: Into<String>, T: Into<String>> FromIterator<(K, T)> for Metadata {
    fn from_iter<I: IntoIterator<Item = (K, T)>>(texts: I) -> Metadata {
        Metadata(
            texts
                .into_iter()
                .map(|(key, text)| (key.into(), text.into()))
                .collect(),
        )
    }
}
