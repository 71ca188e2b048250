use std::collections::{HashMap, HashSet};

use serde::{Deserialize, Serialize};

use super::morphology::normalize;
use super::{Synset, WordNet};

/// Why a word is no negative label. A word with several reasons has the first in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum ExclusionReason {
    /// It is the name of a class.
    ClassName,
    /// It is a synonym of a class, in any sense of the class name.
    Synonym,
    /// It is a kind of a class: `poodle` for the class `dog`.
    Hyponym,
    /// A class is a kind of it: `animal` for the class `dog`. It describes images of the class.
    Hypernym,
    /// It ends with the name of a class as a word: `school bus` for the class `bus`.
    LastWord,
}

/// Numbers of candidates that were removed, by reason.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ExclusionCounts {
    /// Names of classes.
    pub class_names: usize,
    /// Synonyms of classes.
    pub synonyms: usize,
    /// Kinds of a class.
    pub hyponyms: usize,
    /// Words that have a class as a kind.
    pub hypernyms: usize,
    /// Words that end with the name of a class.
    pub last_words: usize,
}

impl ExclusionCounts {
    /// Number of all candidates that were removed.
    pub fn total(&self) -> usize {
        self.class_names + self.synonyms + self.hyponyms + self.hypernyms + self.last_words
    }

    pub(super) fn add(&mut self, reason: ExclusionReason) {
        *match reason {
            ExclusionReason::ClassName => &mut self.class_names,
            ExclusionReason::Synonym => &mut self.synonyms,
            ExclusionReason::Hyponym => &mut self.hyponyms,
            ExclusionReason::Hypernym => &mut self.hypernyms,
            ExclusionReason::LastWord => &mut self.last_words,
        } += 1;
    }
}

/// Words that describe images of given classes, and so are no negative labels.
///
/// Made by [`WordNet::exclusions`].
///
/// ```
/// use clipn_text::wordnet::{ExclusionReason, WordNet};
///
/// let classes = ["school bus", "zorgle"].map(str::to_owned);
/// let exclusions = WordNet::get().exclusions(&classes);
/// assert_eq!(exclusions.reason("bus"), Some(ExclusionReason::Hypernym));
/// assert_eq!(exclusions.reason("truck"), None);
/// assert_eq!(exclusions.not_found(), ["zorgle"]);
/// ```
#[derive(Debug, Clone)]
pub struct Exclusions {
    class_names: HashSet<String>,
    reasons: HashMap<String, ExclusionReason>,
    found: Vec<String>,
    not_found: Vec<String>,
}

impl Exclusions {
    /// Leaves out the names of classes and words that end with them, without looking up what they mean.
    pub fn of_names(class_names: &[String]) -> Self {
        let mut exclusions = Self {
            class_names: HashSet::new(),
            reasons: HashMap::new(),
            found: Vec::new(),
            not_found: Vec::new(),
        };
        for name in class_names {
            let spelled = normalize(name);
            exclusions.insert(&spelled, ExclusionReason::ClassName);
            exclusions.class_names.insert(spelled);
        }
        exclusions
    }

    /// Reason why a word is no negative label, or `None` if it may be one.
    pub fn reason(&self, word: &str) -> Option<ExclusionReason> {
        let word = normalize(word);
        let known = self.reasons.get(&word).copied();
        known.or_else(|| {
            word.match_indices(' ')
                .any(|(blank, _)| self.class_names.contains(&word[blank + 1..]))
                .then_some(ExclusionReason::LastWord)
        })
    }

    /// Class names that WordNet has, in class order. Their synonyms and relatives are excluded.
    pub fn found(&self) -> &[String] {
        &self.found
    }

    /// Class names that WordNet does not have, in class order. Only the name itself and words that
    /// end with it are excluded.
    pub fn not_found(&self) -> &[String] {
        &self.not_found
    }

    fn insert(&mut self, word: &str, reason: ExclusionReason) {
        match self.reasons.get_mut(word) {
            Some(known) => *known = reason.min(*known),
            None => {
                self.reasons.insert(word.to_owned(), reason);
            }
        }
    }
}

impl WordNet {
    /// Words that describe images of classes: the class names, their synonyms, everything below and
    /// everything above them in the hypernym tree, and words that end with a class name.
    ///
    /// Every sense of a class name counts, because the list does not know which one is meant: for
    /// `crane`, birds and machines are left out. A name of several words that WordNet does not have
    /// is not replaced by its last word: `rescue bus` leaves other buses in. Cost: O(number of
    /// synsets), whatever the number of classes.
    pub fn exclusions(&self, class_names: &[String]) -> Exclusions {
        let mut exclusions = Exclusions::of_names(class_names);
        let mut matched = Vec::new();
        for name in class_names {
            let synsets = self.lookup(name);
            if synsets.len() == 0 {
                exclusions.not_found.push(name.clone());
            } else {
                exclusions.found.push(name.clone());
            }
            matched.extend(synsets);
        }
        for synset in &matched {
            for lemma in synset.lemmas() {
                exclusions.insert(lemma, ExclusionReason::Synonym);
            }
        }
        let below = self.reachable(&matched, |synset, found| found.extend(synset.children()));
        let above = self.reachable(&matched, |synset, found| found.extend(synset.parents()));
        for (synsets, reason) in [
            (below, ExclusionReason::Hyponym),
            (above, ExclusionReason::Hypernym),
        ] {
            for lemma in synsets.into_iter().flat_map(Synset::lemmas) {
                exclusions.insert(lemma, reason);
            }
        }
        exclusions
    }

    /// Synsets that can be reached from some, with these, each once.
    fn reachable<'a>(
        &'a self,
        from: &[Synset<'a>],
        push_neighbors: impl Fn(Synset<'a>, &mut Vec<Synset<'a>>),
    ) -> Vec<Synset<'a>> {
        let mut seen = vec![false; self.len()];
        let mut found = Vec::new();
        let mut stack = from.to_vec();
        while let Some(synset) = stack.pop() {
            if !std::mem::replace(&mut seen[synset.index()], true) {
                found.push(synset);
                push_neighbors(synset, &mut stack);
            }
        }
        found
    }
}
