//! The tokens: bytes, bytes that close a word, and what the merge rules make of them.

/// Merge rules in order of rank, two little-endian `u16` ids each; see `assets/tokenizer/README.md`.
static MERGES: &[u8] = include_bytes!("../../assets/tokenizer/clip-merges.bin");

/// A token id; those of the vocabulary fit in 16 bits.
pub(super) type Token = u16;

/// What is added to a byte's token where the byte closes a word.
const CLOSING: Token = 256;
/// The token that the first merge rule makes.
const FIRST_MERGED: Token = 512;

/// The merge rules, arranged for looking up, and the bytes' tokens.
pub(super) struct Vocabulary {
    byte_to_token: [Token; 256],
    token_to_byte: [u8; 256],
    /// The two halves of token `FIRST_MERGED + i`.
    halves: Vec<(Token, Token)>,
    /// `rules[starts[left]..starts[left + 1]]` are the rules with that left half, as (right half, merged
    /// token), ordered by right half.
    starts: Vec<u32>,
    rules: Vec<(Token, Token)>,
}

impl Vocabulary {
    pub(super) fn clip() -> Self {
        let halves: Vec<(Token, Token)> = MERGES
            .chunks_exact(4)
            .map(|rule| {
                (
                    u16::from_le_bytes([rule[0], rule[1]]),
                    u16::from_le_bytes([rule[2], rule[3]]),
                )
            })
            .collect();
        let tokens = usize::from(FIRST_MERGED) + halves.len();

        // A counting sort by left half: no hashing, so that starting costs next to nothing.
        let mut starts = vec![0u32; tokens + 1];
        for &(left, _) in &halves {
            starts[usize::from(left) + 1] += 1;
        }
        for i in 1..starts.len() {
            starts[i] += starts[i - 1];
        }
        let mut next = starts.clone();
        let mut rules = vec![(0, 0); halves.len()];
        for (merged, &(left, right)) in (FIRST_MERGED..).zip(&halves) {
            let place = &mut next[usize::from(left)];
            rules[*place as usize] = (right, merged);
            *place += 1;
        }
        for left in 0..tokens {
            rules[starts[left] as usize..starts[left + 1] as usize].sort_unstable();
        }

        let (byte_to_token, token_to_byte) = byte_tables();
        Self {
            byte_to_token,
            token_to_byte,
            halves,
            starts,
            rules,
        }
    }

    /// The tokens of a word's bytes before any merge, the last one closing the word.
    pub(super) fn word_tokens(&self, word: &str) -> impl Iterator<Item = Token> {
        let last = word.len().saturating_sub(1);
        word.bytes().enumerate().map(move |(i, byte)| {
            let token = self.byte_to_token[usize::from(byte)];
            if i == last { token + CLOSING } else { token }
        })
    }

    /// What two neighbours become; a smaller token means an earlier, stronger rule.
    pub(super) fn merge(&self, left: Token, right: Token) -> Option<Token> {
        let from = *self.starts.get(usize::from(left))? as usize;
        let to = *self.starts.get(usize::from(left) + 1)? as usize;
        let rules = self.rules.get(from..to)?;
        let at = rules
            .binary_search_by_key(&right, |&(right, _)| right)
            .ok()?;
        Some(rules[at].1)
    }

    /// Whether a token ends a word; the markers and numbers outside the vocabulary do not.
    pub(super) fn closes_word(&self, token: u32) -> bool {
        let mut token = token;
        // A merged token closes a word where its right half does; a rule only joins earlier tokens, so this ends.
        while let Some(merge) = token.checked_sub(u32::from(FIRST_MERGED)) {
            match self.halves.get(merge as usize) {
                Some(&(_, right)) => token = u32::from(right),
                None => return false,
            }
        }
        token >= u32::from(CLOSING)
    }

    /// Appends the bytes that a token stands for, with a space where it closes a word. Ids that stand for no
    /// bytes (the markers, and numbers outside the vocabulary) append nothing.
    pub(super) fn append_bytes(&self, token: u32, out: &mut Vec<u8>) {
        let mut pending = vec![token];
        while let Some(token) = pending.pop() {
            match token.checked_sub(u32::from(FIRST_MERGED)) {
                Some(merge) => {
                    // A rule only joins earlier tokens, so this ends.
                    if let Some(&(left, right)) = self.halves.get(merge as usize) {
                        pending.push(u32::from(right));
                        pending.push(u32::from(left));
                    }
                }
                None => {
                    out.push(self.token_to_byte[token as usize % 256]);
                    if token >= u32::from(CLOSING) {
                        out.push(b' ');
                    }
                }
            }
        }
    }
}

/// Bytes that print in Latin-1 come first, in order; the others follow.
fn byte_tables() -> ([Token; 256], [u8; 256]) {
    let prints = |byte: &u8| matches!(byte, b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF);
    let order = (0..=255u8)
        .filter(prints)
        .chain((0..=255u8).filter(|byte| !prints(byte)));
    let (mut byte_to_token, mut token_to_byte) = ([0; 256], [0; 256]);
    for (token, byte) in (0u16..).zip(order) {
        byte_to_token[usize::from(byte)] = token;
        token_to_byte[usize::from(token)] = byte;
    }
    (byte_to_token, token_to_byte)
}

#[cfg(test)]
mod tests {
    use crate::tokenizer::{START_OF_TEXT, VOCAB_SIZE};
    use super::*;

    #[test]
    fn the_rules_fill_the_vocabulary_up_to_the_markers() {
        let vocabulary = Vocabulary::clip();
        assert_eq!(MERGES.len(), 48_894 * 4);
        assert_eq!(
            usize::from(FIRST_MERGED) + vocabulary.halves.len(),
            START_OF_TEXT as usize
        );
        assert_eq!(START_OF_TEXT as usize + 2, VOCAB_SIZE);
    }

    #[test]
    fn every_rule_joins_earlier_tokens_and_is_found() {
        let vocabulary = Vocabulary::clip();
        for (merged, &(left, right)) in (FIRST_MERGED..).zip(&vocabulary.halves) {
            assert!(left < merged && right < merged, "{merged}: {left} {right}");
            assert_eq!(vocabulary.merge(left, right), Some(merged));
        }
        assert_eq!(vocabulary.merge(u16::MAX, u16::MAX), None);
        assert_eq!(vocabulary.merge(0, u16::MAX), None);
    }

    /// The merging in `bpe` relies on it: no two rules make the same string, so a rule that takes up a merged
    /// token always ranks after the rule that made the token.
    #[test]
    fn no_two_tokens_stand_for_the_same_string() {
        let vocabulary = Vocabulary::clip();
        let strings: std::collections::HashSet<Vec<u8>> = (0..START_OF_TEXT)
            .map(|token| {
                let mut bytes = Vec::new();
                vocabulary.append_bytes(token, &mut bytes);
                bytes
            })
            .collect();
        // Bytes 0 to 255 that close a word end in a space, which no word holds, but the byte 0x20 itself
        // does.
        assert_eq!(strings.len(), START_OF_TEXT as usize);
    }
}
