use std::collections::BTreeSet;

use clipn_text::tokenizer::{END_OF_TEXT, START_OF_TEXT, TokenBatch, Tokenizer};

/// Vocabulary of the captions that a model's "yes" tower was trained on, from scratch. Predictions
/// for any other word are meaningless.
///
/// Words are those of CLIP's tokenizer, in lower case: runs of letters, single numerals, and runs
/// of other characters.
///
/// ```
/// use clipn_model::TrainingVocabulary;
///
/// let words = TrainingVocabulary::parse("a photo of goldfish .");
/// assert_eq!(words.unknown_words("A photo of a school bus."), ["school", "bus"]);
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TrainingVocabulary {
    /// Token ids of each word.
    words: BTreeSet<Vec<u32>>,
}

impl TrainingVocabulary {
    /// Parses words separated by spaces, as returned by [`to_text`](Self::to_text).
    pub fn parse(text: &str) -> Self {
        let tokenizer = Tokenizer::clip();
        let ids = tokenizer.encode(text);
        Self {
            words: tokenizer.words(&ids).map(<[u32]>::to_vec).collect(),
        }
    }

    /// Returns the words separated by spaces, in the order of their token ids.
    pub fn to_text(&self) -> String {
        let tokenizer = Tokenizer::clip();
        let words: Vec<String> = self
            .words
            .iter()
            .map(|word| tokenizer.decode(word))
            .collect();
        words.join(" ")
    }

    /// Adds the words of a batch. A word that truncation cut off is not added.
    pub fn extend(&mut self, texts: &TokenBatch) {
        for word in texts.rows().flat_map(|row| Tokenizer::clip().words(row)) {
            if !self.words.contains(word) {
                self.words.insert(word.to_vec());
            }
        }
    }

    /// Returns the number of words.
    pub fn len(&self) -> usize {
        self.words.len()
    }

    /// Returns whether there are no words.
    pub fn is_empty(&self) -> bool {
        self.words.is_empty()
    }

    /// Returns the token ids of the words and the two markers, in ascending order. These are the
    /// rows of the token embedding that training has updated.
    pub fn token_ids(&self) -> Vec<u32> {
        let ids = self
            .words
            .iter()
            .flatten()
            .copied()
            .chain([START_OF_TEXT, END_OF_TEXT]);
        ids.collect::<BTreeSet<u32>>().into_iter().collect()
    }

    /// Returns the words of a text that are not in the vocabulary, each once, in the order of the
    /// text.
    pub fn unknown_words(&self, text: &str) -> Vec<String> {
        let tokenizer = Tokenizer::clip();
        let ids = tokenizer.encode(text);
        let mut unknown: Vec<String> = Vec::new();
        for word in tokenizer
            .words(&ids)
            .filter(|&word| !self.words.contains(word))
        {
            let word = tokenizer.decode(word);
            if !unknown.contains(&word) {
                unknown.push(word);
            }
        }
        unknown
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vocabulary(texts: &[&str]) -> TrainingVocabulary {
        let mut words = TrainingVocabulary::default();
        words.extend(&Tokenizer::clip().tokenize_batch(texts, 16));
        words
    }

    #[test]
    fn parts_of_a_known_word_are_unknown() {
        let words = vocabulary(&["a photo of a goldfish.", "The school bus, 2 of them"]);
        assert!(
            words
                .unknown_words("Photo of a GOLDFISH, the bus")
                .is_empty()
        );
        // The parts of `goldfish` are separate words, and `bu` is only the beginning of one.
        assert_eq!(
            words.unknown_words("gold fish pizza, bu pizza 3"),
            ["gold", "fish", "pizza", "bu", "3"]
        );
        assert_eq!(TrainingVocabulary::default().unknown_words("a"), ["a"]);
    }

    #[test]
    fn words_survive_a_round_trip_through_text() {
        let words = vocabulary(&[
            "a café's crème brûlée!? don't 42 <end_of_text> x",
            "日本語 🎉",
        ]);
        assert!(words.len() > 8);
        assert_eq!(TrainingVocabulary::parse(&words.to_text()), words);
        assert_eq!(TrainingVocabulary::parse(""), TrainingVocabulary::default());
    }

    #[test]
    fn token_ids_are_those_of_the_words_and_the_markers() {
        let ids = vocabulary(&["school bus"]).token_ids();
        assert!(ids.is_sorted() && ids.ends_with(&[START_OF_TEXT, END_OF_TEXT]));
        assert_eq!(ids.len(), Tokenizer::clip().encode("school bus").len() + 2);
    }

    #[test]
    fn a_truncated_word_is_not_added() {
        let tokenizer = Tokenizer::clip();
        let whole = tokenizer.encode("snowmobilegoggles");
        assert!(whole.len() > 1, "{whole:?}");
        let mut words = TrainingVocabulary::default();
        words.extend(&tokenizer.tokenize_batch(&["snowmobilegoggles"], whole.len() + 1));
        assert!(words.is_empty());
    }
}
