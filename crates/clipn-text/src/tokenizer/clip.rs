use std::sync::LazyLock;

use regex::Regex;

use super::bpe::{Merger, word_pattern};
use super::vocabulary::Vocabulary;
use super::{END_OF_TEXT, MAX_CONTEXT_LENGTH, START_OF_TEXT, TokenBatch, clean};

/// CLIP's tokenizer, with the vocabulary inside.
///
/// Source: "Learning Transferable Visual Models From Natural Language Supervision" (Radford et al., 2021) and
/// the tokenizer published with it; the ids are those that open_clip gives.
pub struct Tokenizer {
    vocabulary: Vocabulary,
    words: Regex,
}

impl Tokenizer {
    /// The tokenizer, built on first use.
    pub fn clip() -> &'static Self {
        static CLIP: LazyLock<Tokenizer> = LazyLock::new(|| Tokenizer {
            vocabulary: Vocabulary::clip(),
            words: word_pattern(),
        });
        &CLIP
    }

    /// The ids of the cleaned text, without start and end of text. A literal `<start_of_text>` or
    /// `<end_of_text>` that stands as a word becomes its marker, as in the published tokenizer.
    pub fn encode(&self, text: &str) -> Vec<u32> {
        self.encode_at_least(text, usize::MAX)
    }

    /// One row of ids, `[context_length]`: start of text, the text, end of text, then 0s.
    ///
    /// A text that is too long is cut, and the last id is [`END_OF_TEXT`] all the same. A `context_length` of
    /// 1 gives only [`END_OF_TEXT`], one of 0 an empty row, and one above [`MAX_CONTEXT_LENGTH`] a row of
    /// that length.
    pub fn tokenize(&self, text: &str, context_length: usize) -> Vec<u32> {
        let context_length = context_length.min(MAX_CONTEXT_LENGTH);
        let mut row = Vec::with_capacity(context_length);
        row.push(START_OF_TEXT);
        row.extend(self.encode_at_least(text, context_length));
        row.push(END_OF_TEXT);
        if row.len() > context_length {
            row.truncate(context_length);
            if let Some(last) = row.last_mut() {
                *last = END_OF_TEXT;
            }
        }
        row.resize(context_length, 0);
        row
    }

    /// A row of ids for each text, `[N, context_length]`, as [`Tokenizer::tokenize`] makes them.
    pub fn tokenize_batch<S: AsRef<str>>(&self, texts: &[S], context_length: usize) -> TokenBatch {
        let context_length = context_length.min(MAX_CONTEXT_LENGTH);
        let mut ids = Vec::new();
        for text in texts {
            ids.extend(self.tokenize(text.as_ref(), context_length));
        }
        TokenBatch::from_rows(ids, texts.len(), context_length)
    }

    /// The text that ids stand for, up to the first end of text and with the markers left out: for error
    /// messages and reports. Words are joined by single spaces, so the spacing of the original is lost.
    pub fn decode(&self, ids: &[u32]) -> String {
        let mut bytes = Vec::new();
        for &id in ids.iter().take_while(|&&id| id != END_OF_TEXT) {
            self.vocabulary.append_bytes(id, &mut bytes);
        }
        String::from_utf8_lossy(&bytes)
            .trim_end_matches(' ')
            .to_owned()
    }

    /// The words of a row of ids, the ids of each together; markers stand between words, and a word that was cut off
    /// is left out.
    pub fn words<'a>(&'a self, ids: &'a [u32]) -> impl Iterator<Item = &'a [u32]> {
        let text = ids
            .split(|&id| id == END_OF_TEXT)
            .next()
            .unwrap_or_default();
        let marked = text.split(|&id| id == START_OF_TEXT);
        let closes = |id: &u32| self.vocabulary.closes_word(*id);
        marked
            .flat_map(move |part| part.split_inclusive(closes))
            .filter(move |word| word.last().is_some_and(closes))
    }

    /// The ids of the cleaned text, all of them or the first `enough` and a few more.
    fn encode_at_least(&self, text: &str, enough: usize) -> Vec<u32> {
        let text = clean(text);
        let mut ids = Vec::new();
        let mut merger = Merger::new(&self.vocabulary);
        for word in self.words.find_iter(&text) {
            match word.as_str() {
                "<start_of_text>" => ids.push(START_OF_TEXT),
                "<end_of_text>" => ids.push(END_OF_TEXT),
                word => merger.append(word, &mut ids),
            }
            if ids.len() >= enough {
                break;
            }
        }
        ids
    }
}
