use std::fmt;

use clipn_model::Real;

use crate::classifier::Classifier;

/// Result of [`ClassifierBuilder::build_with_report`](crate::classifier::ClassifierBuilder::build_with_report).
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct BuiltClassifier<T: Real = f32> {
    /// The classifier.
    pub classifier: Classifier<T>,
    /// Classes with texts that exceed the context length, in class order. The ends of these texts were
    /// cut off.
    pub truncated: Vec<TruncatedClass>,
    /// Context length of the text towers in tokens.
    pub context_length: usize,
}

/// Class with texts that exceed the context length of the text towers.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct TruncatedClass {
    /// Index of the class.
    pub index: usize,
    /// Name of the class.
    pub name: String,
    /// Number of truncated texts.
    pub truncated: usize,
    /// Number of texts of the class: one per template and text tower.
    pub texts: usize,
}

impl fmt::Display for TruncatedClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = shortened(&self.name);
        write!(f, "`{name}` ({} of {} texts)", self.truncated, self.texts)
    }
}

/// Shortens a long name for a message. The end stays, by which long names often differ.
pub(crate) fn shortened(name: &str) -> String {
    const BEGINNING: usize = 30;
    const END: usize = 12;
    let characters: Vec<char> = name.chars().collect();
    if characters.len() <= BEGINNING + END {
        return name.to_owned();
    }
    let beginning = &characters[..BEGINNING];
    let end = &characters[characters.len() - END..];
    beginning.iter().chain(['…'].iter()).chain(end).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_names_keep_their_ends() {
        assert_eq!(shortened("school bus"), "school bus");
        let long = format!("{}{}", "a".repeat(50), "é: the end");
        assert_eq!(shortened(&long), format!("{}…aaé: the end", "a".repeat(30)));
    }
}
