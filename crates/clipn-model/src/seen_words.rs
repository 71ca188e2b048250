use std::collections::BTreeSet;

use clipn_text::tokenizer::{END_OF_TEXT, START_OF_TEXT, TokenBatch, Tokenizer};

/// The words that a model's "yes" tower has read in training, from its first step on. Of any other word it knows
/// nothing, whatever it answers.
///
/// Words are CLIP's: runs of letters, single numerals, runs of other signs, in lower case.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SeenWords {
    /// The ids of each word.
    words: BTreeSet<Vec<u32>>,
}

impl SeenWords {
    /// Words as [`to_text`](Self::to_text) writes them: with spaces between.
    pub fn parse(text: &str) -> Self {
        let tokenizer = Tokenizer::clip();
        let ids = tokenizer.encode(text);
        Self {
            words: tokenizer.words(&ids).map(<[u32]>::to_vec).collect(),
        }
    }

    /// The words with spaces between, in the order of their ids.
    pub fn to_text(&self) -> String {
        let tokenizer = Tokenizer::clip();
        let words: Vec<String> = self
            .words
            .iter()
            .map(|word| tokenizer.decode(word))
            .collect();
        words.join(" ")
    }

    /// Adds the words of texts that the tower reads.
    pub fn read(&mut self, texts: &TokenBatch) {
        for word in texts.rows().flat_map(|row| Tokenizer::clip().words(row)) {
            if !self.words.contains(word) {
                self.words.insert(word.to_vec());
            }
        }
    }

    /// Number of words.
    pub fn len(&self) -> usize {
        self.words.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.words.is_empty()
    }

    /// The ids that the words are made of, and the two markers, in ascending order: the rows of the token table that
    /// training has touched.
    pub fn token_ids(&self) -> Vec<u32> {
        let ids = self
            .words
            .iter()
            .flatten()
            .copied()
            .chain([START_OF_TEXT, END_OF_TEXT]);
        ids.collect::<BTreeSet<u32>>().into_iter().collect()
    }

    /// The words of a text that are not among these, each once, in the text's order.
    pub fn unseen(&self, text: &str) -> Vec<String> {
        let tokenizer = Tokenizer::clip();
        let ids = tokenizer.encode(text);
        let mut unseen: Vec<String> = Vec::new();
        for word in tokenizer
            .words(&ids)
            .filter(|&word| !self.words.contains(word))
        {
            let word = tokenizer.decode(word);
            if !unseen.contains(&word) {
                unseen.push(word);
            }
        }
        unseen
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(texts: &[&str]) -> SeenWords {
        let mut words = SeenWords::default();
        words.read(&Tokenizer::clip().tokenize_batch(texts, 16));
        words
    }

    #[test]
    fn a_word_is_seen_whole_or_not_at_all() {
        let words = seen(&["a photo of a goldfish.", "The school bus, 2 of them"]);
        assert!(words.unseen("Photo of a GOLDFISH, the bus").is_empty());
        // The parts of `goldfish` are words of their own, and `bu` only begins one.
        assert_eq!(
            words.unseen("gold fish pizza, bu pizza 3"),
            ["gold", "fish", "pizza", "bu", "3"]
        );
        assert_eq!(SeenWords::default().unseen("a"), ["a"]);
    }

    #[test]
    fn words_come_back_from_their_text() {
        let words = seen(&[
            "a café's crème brûlée!? don't 42 <end_of_text> x",
            "日本語 🎉",
        ]);
        assert!(words.len() > 8);
        assert_eq!(SeenWords::parse(&words.to_text()), words);
        assert_eq!(SeenWords::parse(""), SeenWords::default());
    }

    #[test]
    fn the_ids_are_those_of_the_words_and_the_markers() {
        let ids = seen(&["school bus"]).token_ids();
        assert!(ids.is_sorted() && ids.ends_with(&[START_OF_TEXT, END_OF_TEXT]));
        assert_eq!(ids.len(), Tokenizer::clip().encode("school bus").len() + 2);
    }

    #[test]
    fn a_word_that_was_cut_off_is_not_seen() {
        let tokenizer = Tokenizer::clip();
        let whole = tokenizer.encode("snowmobilegoggles");
        assert!(whole.len() > 1, "{whole:?}");
        let mut words = SeenWords::default();
        words.read(&tokenizer.tokenize_batch(&["snowmobilegoggles"], whole.len() + 1));
        assert!(words.is_empty());
    }
}
