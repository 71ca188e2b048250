use std::fmt;

use clipn_model::Real;

use crate::classifier::Classifier;
use crate::texts::shortened;

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
