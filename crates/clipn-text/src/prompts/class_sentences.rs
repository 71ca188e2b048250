use std::collections::{BTreeMap, HashMap};

use serde::{Deserialize, Serialize};

use super::PromptError;
use super::name_check::name_key;

/// Sentences of their own for each class, as CuPL has them, in place of templates that the class name
/// is filled into.
///
/// Source: "What does a platypus look like? Generating customized prompts for zero-shot image
/// classification" (Pratt et al., 2023, <https://arxiv.org/abs/2209.03320>).
///
/// ```
/// use clipn_text::prompts::ClassSentences;
///
/// let of = |sentence: &str| vec![sentence.to_owned()];
/// let sentences = ClassSentences::new([
///     ("cat".to_owned(), of("A cat has whiskers.")),
///     ("school bus".to_owned(), of("A school bus is yellow.")),
/// ])?;
/// let classes = ["School_bus".to_owned(), "cat".to_owned()];
/// assert_eq!(sentences.for_classes(&classes)?, [["A school bus is yellow."], ["A cat has whiskers."]]);
/// # Ok::<(), clipn_text::prompts::PromptError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(
    try_from = "BTreeMap<String, Vec<String>>",
    into = "BTreeMap<String, Vec<String>>"
)]
pub struct ClassSentences(BTreeMap<String, Vec<String>>);

/// Name of the source in errors of sentences that come from no file.
const ORIGIN: &str = "the sentences of the classes";

impl ClassSentences {
    /// Creates a set from class names with their sentences.
    ///
    /// # Errors
    /// [`PromptError::InvalidSentences`] if there are no classes, a class is given twice, or a class
    /// has no sentences or an empty one.
    pub fn new(
        classes: impl IntoIterator<Item = (String, Vec<String>)>,
    ) -> Result<Self, PromptError> {
        Self::checked(classes, ORIGIN)
    }

    pub(super) fn checked(
        classes: impl IntoIterator<Item = (String, Vec<String>)>,
        origin: &str,
    ) -> Result<Self, PromptError> {
        let invalid = |problem: String| PromptError::InvalidSentences {
            origin: origin.to_owned(),
            problem,
        };
        let mut entries = BTreeMap::new();
        let mut keys: HashMap<String, String> = HashMap::new();
        for (name, sentences) in classes {
            if sentences.is_empty() || sentences.iter().any(|text| text.trim().is_empty()) {
                return Err(invalid(format!(
                    "class `{name}` has no sentences, or an empty one"
                )));
            }
            if let Some(other) = keys.insert(name_key(&name), name.clone()) {
                return Err(invalid(format!("duplicate class `{name}`, also `{other}`")));
            }
            entries.insert(name, sentences);
        }
        if entries.is_empty() {
            return Err(invalid("no classes".to_owned()));
        }
        Ok(Self(entries))
    }

    /// Number of classes.
    #[expect(
        clippy::len_without_is_empty,
        reason = "a set without classes does not exist"
    )]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Number of sentences of all classes.
    pub fn sentences(&self) -> usize {
        self.0.values().map(Vec::len).sum()
    }

    /// Iterates over the class names with their sentences, sorted by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &[String])> {
        self.0
            .iter()
            .map(|(name, sentences)| (name.as_str(), sentences.as_slice()))
    }

    /// Returns the sentences of classes, in their order. Names are compared without case, white space
    /// and Unicode form, and with spaces for underscores.
    ///
    /// # Errors
    /// [`PromptError::MissingSentences`] with the classes that have no sentences, and
    /// [`PromptError::ExtraSentences`] with the names that are no class.
    pub fn for_classes<S: AsRef<str>>(
        &self,
        class_names: &[S],
    ) -> Result<Vec<&[String]>, PromptError> {
        let by_key: HashMap<String, &str> = self
            .0
            .keys()
            .map(|name| (name_key(name), name.as_str()))
            .collect();
        let mut used: HashMap<&str, ()> = HashMap::new();
        let (mut found, mut missing) = (Vec::new(), Vec::new());
        for class in class_names {
            match by_key.get(&name_key(class.as_ref())) {
                Some(&name) => {
                    used.insert(name, ());
                    found.push(self.0[name].as_slice());
                }
                None => missing.push(class.as_ref()),
            }
        }
        if !missing.is_empty() {
            return Err(PromptError::MissingSentences {
                classes: listed(&missing),
                count: missing.len(),
            });
        }
        let unused = self
            .0
            .keys()
            .filter(|name| !used.contains_key(name.as_str()));
        let extra: Vec<&str> = unused.map(String::as_str).collect();
        if !extra.is_empty() {
            return Err(PromptError::ExtraSentences {
                classes: listed(&extra),
                count: extra.len(),
            });
        }
        Ok(found)
    }

    /// Returns the sentences of both sets; those of `other` win for classes in both.
    pub(super) fn merged(&self, other: &Self) -> Result<Self, PromptError> {
        let keys: Vec<String> = other.0.keys().map(|name| name_key(name)).collect();
        let own = self
            .0
            .iter()
            .filter(|(name, _)| !keys.contains(&name_key(name)));
        let all = own.chain(&other.0);
        Self::new(all.map(|(name, sentences)| (name.clone(), sentences.clone())))
    }

    /// Returns the sentences of these classes only; `None` if there are none.
    pub(super) fn only<S: AsRef<str>>(&self, class_names: &[S]) -> Option<Self> {
        let keys: Vec<String> = class_names
            .iter()
            .map(|name| name_key(name.as_ref()))
            .collect();
        let kept = self
            .0
            .iter()
            .filter(|(name, _)| keys.contains(&name_key(name)));
        let kept: BTreeMap<_, _> = kept
            .map(|(name, sentences)| (name.clone(), sentences.clone()))
            .collect();
        (!kept.is_empty()).then_some(Self(kept))
    }
}

/// Lists at most a few names for a message.
fn listed(names: &[&str]) -> String {
    const SHOWN: usize = 8;
    let mut shown: Vec<String> = names
        .iter()
        .take(SHOWN)
        .map(|name| format!("`{name}`"))
        .collect();
    if names.len() > SHOWN {
        shown.push(format!("and {} more", names.len() - SHOWN));
    }
    shown.join(", ")
}

impl TryFrom<BTreeMap<String, Vec<String>>> for ClassSentences {
    type Error = PromptError;

    fn try_from(classes: BTreeMap<String, Vec<String>>) -> Result<Self, PromptError> {
        Self::new(classes)
    }
}

impl From<ClassSentences> for BTreeMap<String, Vec<String>> {
    fn from(sentences: ClassSentences) -> Self {
        sentences.0
    }
}
