use std::collections::HashSet;

use serde::{Deserialize, Serialize};

use super::{ExclusionCounts, Exclusions, LexFile};

/// Words from which negative labels are chosen. No word is in it twice.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Candidates {
    /// Nouns, filled into the templates of nouns.
    pub nouns: Vec<String>,
    /// Adjectives or adjective phrases, filled into the templates of adjectives.
    pub adjectives: Vec<String>,
}

impl Candidates {
    /// Creates candidates from word lists, as NegLabel's program does: each word counts once, in the
    /// first list that has it. So a word that is noun and adjective is what comes first.
    pub fn from_lists<'a, W>(lists: impl IntoIterator<Item = (LexFile, W)>) -> Self
    where
        W: IntoIterator<Item = &'a str>,
    {
        let mut seen = HashSet::new();
        let mut candidates = Self::default();
        for (file, words) in lists {
            let list = if file.is_noun() {
                &mut candidates.nouns
            } else {
                &mut candidates.adjectives
            };
            list.extend(
                words
                    .into_iter()
                    .filter(|word| seen.insert(*word))
                    .map(str::to_owned),
            );
        }
        candidates
    }

    /// Number of nouns and adjectives.
    pub fn len(&self) -> usize {
        self.nouns.len() + self.adjectives.len()
    }

    /// Whether there are neither nouns nor adjectives.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Removes the words that describe images of a class, and counts them by reason.
    pub fn exclude(&mut self, exclusions: &Exclusions) -> ExclusionCounts {
        let mut counts = ExclusionCounts::default();
        for list in [&mut self.nouns, &mut self.adjectives] {
            list.retain(|word| match exclusions.reason(word) {
                Some(reason) => {
                    counts.add(reason);
                    false
                }
                None => true,
            });
        }
        counts
    }
}
