//! Splits cleaned text into words and merges the bytes of each word into tokens.
use std::cmp::Reverse;
use std::collections::BinaryHeap;

use regex::Regex;

use super::vocabulary::{Token, Vocabulary};

/// CLIP's word pattern: special tokens, English contractions, runs of letters, single numerals, and
/// runs of anything else but white space.
///
/// Only the literals ignore case here. In the published pattern the character classes do too, with
/// a single effect: U+0345, a mark that folds to a letter, belongs to no class and is skipped.
const WORDS: &str = r"(?i:<start_of_text>|<end_of_text>|'s|'t|'re|'ve|'m|'ll|'d)|\p{L}+|\p{N}|[^\s\p{L}\p{N}\u{345}]+";

/// Compiles the word pattern.
pub(super) fn word_pattern() -> Regex {
    Regex::new(WORDS).expect("the word pattern is a constant that compiles")
}

/// Applies the BPE merges to words and reuses its buffers between them.
pub(super) struct BpeMerger<'a> {
    vocabulary: &'a Vocabulary,
    /// Tokens of the current word; `None` for one that was merged into its left neighbor.
    tokens: Vec<Option<Token>>,
    next: Vec<usize>,
    previous: Vec<usize>,
    /// Possible merges as (merged token, position of the left half), the highest-ranking and
    /// leftmost first.
    candidates: BinaryHeap<Reverse<(Token, usize)>>,
}

impl<'a> BpeMerger<'a> {
    pub(super) fn new(vocabulary: &'a Vocabulary) -> Self {
        Self {
            vocabulary,
            tokens: Vec::new(),
            next: Vec::new(),
            previous: Vec::new(),
            candidates: BinaryHeap::new(),
        }
    }

    /// Appends the tokens of one word: repeatedly applies the highest-ranking merge, leftmost
    /// first, until none applies.
    ///
    /// A linked list and a heap keep the cost at O(n log n) for a word of n bytes.
    pub(super) fn encode_word(&mut self, word: &str, out: &mut Vec<u32>) {
        self.tokens.clear();
        self.tokens
            .extend(self.vocabulary.byte_tokens(word).map(Some));
        let n = self.tokens.len();
        self.next.clear();
        self.next.extend(1..=n);
        self.previous.clear();
        self.previous.extend((0..n).map(|i| i.wrapping_sub(1)));
        self.candidates.clear();
        for i in 1..n {
            self.push_candidate(i - 1, i);
        }

        while let Some(Reverse((merged, left))) = self.candidates.pop() {
            let right = self.next[left];
            // The list may have changed since the candidate was pushed.
            if self.pair(left, right) != Some(merged) {
                continue;
            }
            self.tokens[left] = Some(merged);
            self.tokens[right] = None;
            let after = self.next[right];
            self.next[left] = after;
            if after < n {
                self.previous[after] = left;
                self.push_candidate(left, after);
            }
            if left > 0 {
                self.push_candidate(self.previous[left], left);
            }
        }
        out.extend(self.tokens.iter().flatten().map(|&token| u32::from(token)));
    }

    fn pair(&self, left: usize, right: usize) -> Option<Token> {
        self.vocabulary
            .merge((*self.tokens.get(left)?)?, (*self.tokens.get(right)?)?)
    }

    fn push_candidate(&mut self, left: usize, right: usize) {
        if let Some(merged) = self.pair(left, right) {
            self.candidates.push(Reverse((merged, left)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<&str> {
        let pattern = word_pattern();
        pattern.find_iter(text).map(|word| word.as_str()).collect()
    }

    #[test]
    fn splits_letters_numerals_and_the_rest() {
        assert_eq!(
            words("a photo-of 2024 cats!?"),
            ["a", "photo", "-", "of", "2", "0", "2", "4", "cats", "!?"]
        );
        assert_eq!(words("don't we'll '"), ["don", "'t", "we", "'ll", "'"]);
        assert_eq!(words("!!'s"), ["!!'", "s"]);
        assert_eq!(words("x<end_of_text>y"), ["x", "<end_of_text>", "y"]);
        assert_eq!(
            words("x!<end_of_text>"),
            ["x", "!<", "end", "_", "of", "_", "text", ">"]
        );
    }

    #[test]
    fn character_classes_do_not_fold_case() {
        assert_eq!(words("a\u{345}b!\u{345}!"), ["a", "b", "!", "!"]);
        // A circled letter is a symbol.
        assert_eq!(words("aⓐb"), ["a", "ⓐ", "b"]);
        // The long s folds to s, so it matches the contraction.
        assert_eq!(words("it'ſ"), ["it", "'ſ"]);
    }

    #[test]
    fn an_empty_word_has_no_tokens() {
        let vocabulary = Vocabulary::clip();
        let mut out = Vec::new();
        BpeMerger::new(&vocabulary).encode_word("", &mut out);
        assert!(out.is_empty());
    }
}
