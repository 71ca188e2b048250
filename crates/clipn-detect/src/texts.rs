//! Texts of names in templates, in the order in which a text tower encodes them fastest.

use clipn_text::prompts::Template;
use clipn_text::tokenizer::{TokenBatch, Tokenizer, TokenizerError, end_of_text_position};
use rayon::prelude::*;

/// Name in a template, as token ids up to the end of the text.
pub(crate) struct Text {
    ids: Vec<u32>,
    /// Index of the name.
    pub(crate) name: usize,
}

/// Tokenizes all names in all templates, sorted by token ids. Texts with a common prefix are
/// adjacent, so a tower that caches prefixes computes each once.
pub(crate) fn texts(names: &[String], templates: &[Template], context_length: usize) -> Vec<Text> {
    let texts_of_name = |(index, name): (usize, &String)| {
        let text = move |template: &Template| {
            let mut ids = Tokenizer::clip().tokenize(&template.fill(name), context_length);
            ids.truncate(end_of_text_position(&ids) + 1);
            Text { ids, name: index }
        };
        templates.iter().map(text).collect::<Vec<_>>()
    };
    let mut texts: Vec<Text> = names
        .par_iter()
        .enumerate()
        .flat_map_iter(texts_of_name)
        .collect();
    texts.par_sort_by(|a, b| a.ids.cmp(&b.ids));
    texts
}

/// Pads a batch of texts to the length of the longest one.
pub(crate) fn token_batch(batch: &[Text]) -> Result<TokenBatch, TokenizerError> {
    let lengths = batch.iter().map(|text| text.ids.len());
    let length = lengths.max().unwrap_or_default();
    let padded = |text: &Text| {
        let mut ids = text.ids.clone();
        ids.resize(length, 0);
        ids
    };
    TokenBatch::new(batch.iter().flat_map(padded).collect(), length)
}
