//! Texts of names in templates, in the order in which a text tower encodes them fastest.

use std::collections::{BTreeMap, HashMap};

use clipn_text::prompts::Template;
use clipn_text::tokenizer::{TokenBatch, Tokenizer, TokenizerError, end_of_text_position};
use rayon::prelude::*;

/// Text of a name, as token ids up to the end of the text.
pub(crate) struct Text {
    ids: Vec<u32>,
    /// Index of the name.
    pub(crate) name: usize,
    /// Index of the text among those of the name.
    index: usize,
    /// Whether the end of the text is lost, as it exceeds the context length.
    pub(crate) truncated: bool,
}

/// Tokenizes all names in all templates, sorted by token ids. Texts with a common prefix are
/// adjacent, so a tower that caches prefixes computes each once.
pub(crate) fn texts(names: &[String], templates: &[Template], context_length: usize) -> Vec<Text> {
    let texts_of_name = |name: usize| {
        let filled = templates
            .iter()
            .map(move |template| template.fill(&names[name]));
        filled.collect()
    };
    sorted_texts(names.len(), texts_of_name, context_length)
}

/// Same as [`texts`] for sentences that each name has of its own.
pub(crate) fn own_texts(sentences: &[&[String]], context_length: usize) -> Vec<Text> {
    let texts_of_name = |name: usize| sentences[name].to_vec();
    sorted_texts(sentences.len(), texts_of_name, context_length)
}

fn sorted_texts(
    names: usize,
    texts_of_name: impl Fn(usize) -> Vec<String> + Sync,
    context_length: usize,
) -> Vec<Text> {
    let tokenized = |name: usize| {
        let text = move |(index, text): (usize, String)| {
            let row = Tokenizer::clip().tokenize_row(&text, context_length);
            let (mut ids, truncated) = (row.ids, row.truncated);
            ids.truncate(end_of_text_position(&ids) + 1);
            Text {
                ids,
                name,
                index,
                truncated,
            }
        };
        texts_of_name(name)
            .into_iter()
            .enumerate()
            .map(text)
            .collect::<Vec<_>>()
    };
    let mut texts: Vec<Text> = (0..names)
        .into_par_iter()
        .flat_map_iter(tokenized)
        .collect();
    texts.par_sort_by(|a, b| a.ids.cmp(&b.ids));
    texts
}

/// Groups the names whose texts are all equal, among the names for which `is_candidate`; groups have
/// at least two and are in the order of the names.
pub(crate) fn equal_texts(texts: &[Text], is_candidate: impl Fn(usize) -> bool) -> Vec<Vec<usize>> {
    let mut by_name: BTreeMap<usize, Vec<&Text>> = BTreeMap::new();
    for text in texts.iter().filter(|text| is_candidate(text.name)) {
        by_name.entry(text.name).or_default().push(text);
    }
    let mut groups: HashMap<Vec<&[u32]>, Vec<usize>> = HashMap::new();
    for (name, mut texts) in by_name {
        texts.sort_by_key(|text| text.index);
        let ids = texts.iter().map(|text| text.ids.as_slice()).collect();
        groups.entry(ids).or_default().push(name);
    }
    let mut groups: Vec<Vec<usize>> = groups.into_values().filter(|g| g.len() > 1).collect();
    groups.sort();
    groups
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

/// Shortens a long name for a message. The end stays, by which long names often differ.
pub(crate) fn shortened(name: &str) -> String {
    const BEGINNING: usize = 30;
    const END: usize = 12;
    let characters: Vec<char> = name.chars().collect();
    if characters.len() <= BEGINNING + END {
        return name.to_owned();
    }
    let beginning = &characters[..BEGINNING];
    let end = &characters[characters.len() - END..];
    beginning.iter().chain(['…'].iter()).chain(end).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_names_keep_their_ends() {
        assert_eq!(shortened("school bus"), "school bus");
        let long = format!("{}{}", "a".repeat(50), "é: the end");
        assert_eq!(shortened(&long), format!("{}…aaé: the end", "a".repeat(30)));
    }
}
