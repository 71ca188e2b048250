use std::fmt;
use std::sync::LazyLock;

use regex::Regex;

use super::bpe::{BpeMerger, word_pattern};
use super::vocabulary::Vocabulary;
use super::{END_OF_TEXT, MAX_CONTEXT_LENGTH, START_OF_TEXT, TokenBatch, clean};

/// Token ids of a text, of the context length.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct TokenRow {
    /// Token ids, `[context_length]`.
    pub ids: Vec<u32>,
    /// Whether the text is longer than the context length, so that its end is lost.
    pub truncated: bool,
}

/// CLIP's tokenizer with its built-in vocabulary.
///
/// It produces the same ids as open_clip. Source: "Learning Transferable Visual Models From Natural
/// Language Supervision" (Radford et al., 2021, <https://arxiv.org/abs/2103.00020>) and the
/// tokenizer published with it.
///
/// ```
/// use clipn_text::tokenizer::{CONTEXT_LENGTH, Tokenizer};
///
/// let tokenizer = Tokenizer::clip();
/// assert_eq!(tokenizer.encode("a cat"), [320, 2368]);
/// let batch = tokenizer.tokenize_batch(&["a cat", "a dog"], CONTEXT_LENGTH);
/// assert_eq!((batch.len(), batch.context_length()), (2, 77));
/// ```
pub struct Tokenizer {
    vocabulary: Vocabulary,
    words: Regex,
}

impl fmt::Debug for Tokenizer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tokenizer").finish_non_exhaustive()
    }
}

impl Tokenizer {
    /// Returns the shared tokenizer, which is built on first use.
    pub fn clip() -> &'static Self {
        static CLIP: LazyLock<Tokenizer> = LazyLock::new(|| Tokenizer {
            vocabulary: Vocabulary::clip(),
            words: word_pattern(),
        });
        &CLIP
    }

    /// Encodes a text after cleaning, without the start-of-text and end-of-text tokens. A literal
    /// `<start_of_text>` or `<end_of_text>` that is a word by itself becomes its special token, as
    /// in the published tokenizer.
    pub fn encode(&self, text: &str) -> Vec<u32> {
        self.encode_words(text, usize::MAX)
    }

    /// Encodes a text as one row of ids, `[context_length]`: start of text, the text, end of text,
    /// then zeros.
    ///
    /// A text that is too long is truncated, and the last id is still [`END_OF_TEXT`]. A
    /// `context_length` of 1 yields only [`END_OF_TEXT`], and one of 0 an empty row. Larger values
    /// than [`MAX_CONTEXT_LENGTH`] are clamped to it.
    pub fn tokenize(&self, text: &str, context_length: usize) -> Vec<u32> {
        self.tokenize_row(text, context_length).ids
    }

    /// Same as [`Tokenizer::tokenize`], and reports whether the text was truncated.
    ///
    /// ```
    /// use clipn_text::tokenizer::Tokenizer;
    ///
    /// let row = |text| Tokenizer::clip().tokenize_row(text, 5);
    /// assert!(!row("a photo of").truncated);
    /// assert!(row("a photo of a").truncated);
    /// assert_eq!(row("a photo of a").ids, row("a photo of").ids);
    /// ```
    pub fn tokenize_row(&self, text: &str, context_length: usize) -> TokenRow {
        let context_length = context_length.min(MAX_CONTEXT_LENGTH);
        let mut row = Vec::with_capacity(context_length);
        row.push(START_OF_TEXT);
        row.extend(self.encode_words(text, context_length));
        row.push(END_OF_TEXT);
        let truncated = row.len() > context_length;
        if truncated {
            row.truncate(context_length);
            if let Some(last) = row.last_mut() {
                *last = END_OF_TEXT;
            }
        }
        row.resize(context_length, 0);
        TokenRow {
            ids: row,
            truncated,
        }
    }

    /// Encodes each text as a row of ids, `[N, context_length]`; see [`Tokenizer::tokenize`].
    pub fn tokenize_batch<S: AsRef<str>>(&self, texts: &[S], context_length: usize) -> TokenBatch {
        self.tokenize_batch_counted(texts, context_length).0
    }

    /// Same as [`Tokenizer::tokenize_batch`], and returns the number of texts that were truncated.
    pub fn tokenize_batch_counted<S: AsRef<str>>(
        &self,
        texts: &[S],
        context_length: usize,
    ) -> (TokenBatch, usize) {
        let context_length = context_length.min(MAX_CONTEXT_LENGTH);
        let mut ids = Vec::new();
        let mut truncated = 0;
        for text in texts {
            let row = self.tokenize_row(text.as_ref(), context_length);
            truncated += usize::from(row.truncated);
            ids.extend(row.ids);
        }
        let batch = TokenBatch::from_rows(ids, texts.len(), context_length);
        (batch, truncated)
    }

    /// Decodes ids to text up to the first end of text, without special tokens, for error messages
    /// and reports. Words are joined by single spaces, so the original spacing is lost.
    pub fn decode(&self, ids: &[u32]) -> String {
        let mut bytes = Vec::new();
        for &id in ids.iter().take_while(|&&id| id != END_OF_TEXT) {
            self.vocabulary.append_bytes(id, &mut bytes);
        }
        String::from_utf8_lossy(&bytes)
            .trim_end_matches(' ')
            .to_owned()
    }

    /// Splits a row of ids into words and returns the ids of each. Special tokens separate words,
    /// and a truncated last word is omitted.
    pub fn words<'a>(&'a self, ids: &'a [u32]) -> impl Iterator<Item = &'a [u32]> {
        let text = ids
            .split(|&id| id == END_OF_TEXT)
            .next()
            .unwrap_or_default();
        let between_starts = text.split(|&id| id == START_OF_TEXT);
        let ends_word = |id: &u32| self.vocabulary.ends_word(*id);
        between_starts
            .flat_map(move |part| part.split_inclusive(ends_word))
            .filter(move |word| word.last().is_some_and(ends_word))
    }

    /// Encodes the cleaned text word by word and stops after the word that reaches `limit` ids.
    fn encode_words(&self, text: &str, limit: usize) -> Vec<u32> {
        let text = clean(text);
        let mut ids = Vec::new();
        let mut merger = BpeMerger::new(&self.vocabulary);
        for word in self.words.find_iter(&text) {
            match word.as_str() {
                "<start_of_text>" => ids.push(START_OF_TEXT),
                "<end_of_text>" => ids.push(END_OF_TEXT),
                word => merger.encode_word(word, &mut ids),
            }
            if ids.len() >= limit {
                break;
            }
        }
        ids
    }
}
