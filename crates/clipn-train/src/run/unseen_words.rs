//! Words of captions that the frozen "yes" tower was not trained on.

use clipn_model::TrainingVocabulary;

/// Maximum number of words that are kept as examples.
const MAX_EXAMPLES: usize = 5;

/// Captions of the current epoch with words that the frozen "yes" tower was not trained on, so that their
/// features mean little. Counted for weights with a training vocabulary.
#[derive(Debug, Clone, Default)]
pub struct UnseenWords {
    captions: u64,
    examples: Vec<String>,
}

impl UnseenWords {
    /// Returns the number of captions with such a word. A caption is counted every time it is read.
    pub fn captions(&self) -> u64 {
        self.captions
    }

    /// Returns some of the words, each once, in the order of their captions.
    pub fn examples(&self) -> &[String] {
        &self.examples
    }

    /// Counts the captions of a batch.
    pub(crate) fn count(&mut self, captions: &[String], vocabulary: &TrainingVocabulary) {
        for caption in captions {
            let words = vocabulary.unknown_words(caption);
            self.captions += u64::from(!words.is_empty());
            for word in words {
                if self.examples.len() < MAX_EXAMPLES && !self.examples.contains(&word) {
                    self.examples.push(word);
                }
            }
        }
    }

    /// Replaces the count by that of all ranks.
    pub(crate) fn set_captions(&mut self, captions: u64) {
        self.captions = captions;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn captions_are_counted_and_words_named_once() {
        let vocabulary = TrainingVocabulary::parse("a photo of dog");
        let captions = ["a dog", "a zeppelin", "a photo of a zeppelin lake", "dog"];
        let captions = captions.map(str::to_owned);
        let mut unseen = UnseenWords::default();
        unseen.count(&captions, &vocabulary);
        assert_eq!(unseen.captions(), 2);
        assert_eq!(unseen.examples(), ["zeppelin", "lake"]);
        let many: Vec<String> = ["one two three", "four five six"].map(str::to_owned).into();
        unseen.count(&many, &vocabulary);
        assert_eq!(
            (unseen.captions(), unseen.examples().len()),
            (4, MAX_EXAMPLES)
        );
    }
}
