//! Token ids of bytes, of bytes that end a word, and of the merges.

/// Merges in order of rank, two little-endian `u16` ids each; see `assets/tokenizer/README.md`.
static MERGES: &[u8] = include_bytes!("../../assets/tokenizer/clip-merges.bin");

/// Token id; the whole vocabulary fits in 16 bits.
pub(super) type Token = u16;

/// Offset added to a byte's token if the byte ends a word (`</w>` in the published vocabulary).
const END_OF_WORD: Token = 256;
/// Token of the first merge.
const FIRST_MERGED: Token = 512;

/// Merges, indexed for lookup, and the tokens of single bytes.
pub(super) struct Vocabulary {
    byte_to_token: [Token; 256],
    token_to_byte: [u8; 256],
    /// Pair of tokens that token `FIRST_MERGED + i` merges.
    pairs: Vec<(Token, Token)>,
    /// `rules[starts[left]..starts[left + 1]]` are the merges with that left token, as (right
    /// token, merged token), sorted by right token.
    starts: Vec<u32>,
    rules: Vec<(Token, Token)>,
}

impl Vocabulary {
    pub(super) fn clip() -> Self {
        let pairs: Vec<(Token, Token)> = MERGES
            .chunks_exact(4)
            .map(|rule| {
                (
                    u16::from_le_bytes([rule[0], rule[1]]),
                    u16::from_le_bytes([rule[2], rule[3]]),
                )
            })
            .collect();
        let tokens = usize::from(FIRST_MERGED) + pairs.len();

        // Counting sort by left token: without hashing, construction costs almost nothing.
        let mut starts = vec![0u32; tokens + 1];
        for &(left, _) in &pairs {
            starts[usize::from(left) + 1] += 1;
        }
        for i in 1..starts.len() {
            starts[i] += starts[i - 1];
        }
        let mut next = starts.clone();
        let mut rules = vec![(0, 0); pairs.len()];
        for (merged, &(left, right)) in (FIRST_MERGED..).zip(&pairs) {
            let slot = &mut next[usize::from(left)];
            rules[*slot as usize] = (right, merged);
            *slot += 1;
        }
        for left in 0..tokens {
            rules[starts[left] as usize..starts[left + 1] as usize].sort_unstable();
        }

        let (byte_to_token, token_to_byte) = byte_tables();
        Self {
            byte_to_token,
            token_to_byte,
            pairs,
            starts,
            rules,
        }
    }

    /// Tokens of a word's bytes before any merge; the last one is the end-of-word variant.
    pub(super) fn byte_tokens(&self, word: &str) -> impl Iterator<Item = Token> {
        let last = word.len().saturating_sub(1);
        word.bytes().enumerate().map(move |(i, byte)| {
            let token = self.byte_to_token[usize::from(byte)];
            if i == last {
                token + END_OF_WORD
            } else {
                token
            }
        })
    }

    /// Token that merges two neighbors, if there is one. A smaller token means a higher rank.
    pub(super) fn merge(&self, left: Token, right: Token) -> Option<Token> {
        let from = *self.starts.get(usize::from(left))? as usize;
        let to = *self.starts.get(usize::from(left) + 1)? as usize;
        let rules = self.rules.get(from..to)?;
        let index = rules
            .binary_search_by_key(&right, |&(right, _)| right)
            .ok()?;
        Some(rules[index].1)
    }

    /// Whether a token ends a word. Special tokens and ids outside the vocabulary do not.
    pub(super) fn ends_word(&self, token: u32) -> bool {
        let mut token = token;
        // A merged token ends a word if its right half does. A merge only joins earlier tokens, so
        // the loop terminates.
        while let Some(merge) = token.checked_sub(u32::from(FIRST_MERGED)) {
            match self.pairs.get(merge as usize) {
                Some(&(_, right)) => token = u32::from(right),
                None => return false,
            }
        }
        token >= u32::from(END_OF_WORD)
    }

    /// Appends the bytes of a token, and a space if it ends a word. Special tokens and ids outside
    /// the vocabulary append nothing.
    pub(super) fn append_bytes(&self, token: u32, out: &mut Vec<u8>) {
        let mut pending = vec![token];
        while let Some(token) = pending.pop() {
            match token.checked_sub(u32::from(FIRST_MERGED)) {
                Some(merge) => {
                    // A merge only joins earlier tokens, so the loop terminates.
                    if let Some(&(left, right)) = self.pairs.get(merge as usize) {
                        pending.push(u32::from(right));
                        pending.push(u32::from(left));
                    }
                }
                None => {
                    out.push(self.token_to_byte[token as usize % 256]);
                    if token >= u32::from(END_OF_WORD) {
                        out.push(b' ');
                    }
                }
            }
        }
    }
}

/// Tables between bytes and tokens, as in GPT-2's `bytes_to_unicode`: the bytes that print in
/// Latin-1 come first, in order, then the others.
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
    use super::*;
    use crate::tokenizer::{START_OF_TEXT, VOCAB_SIZE};

    #[test]
    fn merges_fill_the_vocabulary_up_to_the_special_tokens() {
        let vocabulary = Vocabulary::clip();
        assert_eq!(MERGES.len(), 48_894 * 4);
        assert_eq!(
            usize::from(FIRST_MERGED) + vocabulary.pairs.len(),
            START_OF_TEXT as usize
        );
        assert_eq!(START_OF_TEXT as usize + 2, VOCAB_SIZE);
    }

    #[test]
    fn every_merge_joins_earlier_tokens_and_is_found() {
        let vocabulary = Vocabulary::clip();
        for (merged, &(left, right)) in (FIRST_MERGED..).zip(&vocabulary.pairs) {
            assert!(left < merged && right < merged, "{merged}: {left} {right}");
            assert_eq!(vocabulary.merge(left, right), Some(merged));
        }
        assert_eq!(vocabulary.merge(u16::MAX, u16::MAX), None);
        assert_eq!(vocabulary.merge(0, u16::MAX), None);
    }

    /// `BpeMerger` relies on this: no two merges produce the same string, so a merge of a merged
    /// token always ranks after the merge that produced the token.
    #[test]
    fn no_two_tokens_have_the_same_bytes() {
        let vocabulary = Vocabulary::clip();
        let strings: std::collections::HashSet<Vec<u8>> = (0..START_OF_TEXT)
            .map(|token| {
                let mut bytes = Vec::new();
                vocabulary.append_bytes(token, &mut bytes);
                bytes
            })
            .collect();
        // The end-of-word variants of bytes 0 to 255 end in a space, which occurs in no word; only
        // the byte 0x20 itself contains one.
        assert_eq!(strings.len(), START_OF_TEXT as usize);
    }
}
