use std::fmt;

use clipn_base::count::count;
use clipn_model::{Real, TrainingVocabulary};
use clipn_text::prompts::TemplateSet;

use crate::classifier::Classifier;
use crate::texts::shortened;

/// Maximum number of classes in a note.
const SHOWN: usize = 5;

/// Result of [`ClassifierBuilder::build_with_report`](crate::classifier::ClassifierBuilder::build_with_report).
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct BuiltClassifier<T: Real = f32> {
    /// The classifier.
    pub classifier: Classifier<T>,
    /// Classes with texts that exceed the context length, in class order. The ends of these texts were
    /// cut off.
    pub truncated: Vec<TruncatedClass>,
    /// Classes whose names have words that did not occur in the training captions, in class order. Empty
    /// if the weights do not record their training vocabulary.
    pub unseen: Vec<UnseenClass>,
    /// Note of templates or sentences with such words.
    pub(super) note_of_templates: Option<String>,
    /// Context length of the text towers in tokens.
    pub context_length: usize,
}

impl<T: Real> BuiltClassifier<T> {
    /// Records the words that did not occur in the training captions.
    pub(super) fn with_vocabulary(
        mut self,
        vocabulary: &TrainingVocabulary,
        templates: &TemplateSet,
    ) -> Self {
        let names = self.classifier.class_names().iter().enumerate();
        let classes = names.map(|(index, name)| UnseenClass {
            index,
            name: name.clone(),
            words: vocabulary.unknown_words(name),
        });
        self.unseen = classes.filter(|class| !class.words.is_empty()).collect();
        self.note_of_templates = note_of_templates(vocabulary, templates);
        self
    }

    /// What a user should know about the texts, one line each: words that did not occur in the training
    /// captions, and texts that were cut.
    pub fn notes(&self) -> Vec<String> {
        let notes = [
            self.note_of_unseen(),
            self.note_of_templates.clone(),
            self.note_of_truncated(),
        ];
        notes.into_iter().flatten().collect()
    }

    fn note_of_unseen(&self) -> Option<String> {
        (!self.unseen.is_empty()).then(|| {
            format!(
                "words that did not occur in the training captions make {} of {} unreliable: {}",
                self.unseen.len(),
                count(self.classifier.len(), "class"),
                listed(&self.unseen)
            )
        })
    }

    fn note_of_truncated(&self) -> Option<String> {
        let texts: usize = self.truncated.iter().map(|class| class.truncated).sum();
        (texts > 0).then(|| {
            format!(
                "{} of {} cut to {} tokens: {}",
                count(texts, "text"),
                count(self.truncated.len(), "class"),
                self.context_length,
                listed(&self.truncated)
            )
        })
    }
}

/// Lists the first classes, and counts the rest.
fn listed<C: fmt::Display>(classes: &[C]) -> String {
    let mut shown: Vec<String> = classes.iter().take(SHOWN).map(C::to_string).collect();
    if classes.len() > SHOWN {
        shown.push(format!("and {} more", classes.len() - SHOWN));
    }
    shown.join(", ")
}

fn note_of_templates(vocabulary: &TrainingVocabulary, templates: &TemplateSet) -> Option<String> {
    let (texts, what): (Vec<String>, _) = match templates.sentences() {
        Some(sentences) => (
            sentences.iter().flat_map(|(_, own)| own).cloned().collect(),
            "sentences",
        ),
        None => (
            templates.yes().iter().map(|line| line.fill("")).collect(),
            "templates",
        ),
    };
    let unseen = texts.iter().map(|text| vocabulary.unknown_words(text));
    let unseen: Vec<Vec<String>> = unseen.filter(|words| !words.is_empty()).collect();
    let first = unseen.first()?;
    Some(format!(
        "{} of {} {what} have words that did not occur in the training captions, such as {}",
        unseen.len(),
        texts.len(),
        quoted(first)
    ))
}

fn quoted(words: &[String]) -> String {
    let words: Vec<String> = words.iter().map(|word| format!("`{word}`")).collect();
    words.join(", ")
}

/// Class with words that did not occur in the training captions.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct UnseenClass {
    /// Index of the class.
    pub index: usize,
    /// Name of the class.
    pub name: String,
    /// The words, in their order.
    pub words: Vec<String>,
}

impl fmt::Display for UnseenClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = shortened(&self.name);
        match self.words.as_slice() {
            [word] if self.name.eq_ignore_ascii_case(word) => write!(f, "`{name}`"),
            words => write!(f, "`{name}` ({})", words.join(", ")),
        }
    }
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
        write!(
            f,
            "`{name}` ({} of {})",
            self.truncated,
            count(self.texts, "text")
        )
    }
}
