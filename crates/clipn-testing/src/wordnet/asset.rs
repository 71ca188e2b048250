//! Encoder of the word list; `crates/clipn-text/assets/wordnet/README.md` describes the format.

use std::collections::{HashMap, HashSet};
use std::io::Write;

use ppmd_rust::Ppmd7Encoder;

use super::{NounSynset, Source};

const MAGIC: &[u8; 8] = b"clipn-wn";
const VERSION: u32 = 1;
/// Memory of the model; the decoder must use the same.
const MEMORY: u32 = 16 << 20;

/// Lexicographer files of things that are seen, with common names only: every lemma is kept.
const ALL_LEMMAS: [u8; 3] = [6, 8, 13]; // noun.artifact, noun.body, noun.food
const ANIMAL: u8 = 5;
/// Lexicographer files of what cannot be seen: no synonym is kept. noun.act, noun.attribute,
/// noun.cognition, noun.communication, noun.feeling, noun.motive, noun.relation, noun.state
const ABSTRACT: [u8; 8] = [4, 7, 9, 10, 12, 16, 24, 26];

/// Generates the word list.
pub fn encode(source: &Source) -> Vec<u8> {
    let tree = Tree::new(source);
    let streams = [
        (4, text(source, &tree)),
        (4, tree.depths.clone()),
        (4, files(source, &tree)),
        (4, further_parents(source, &tree)),
        (4, adjectives(source)),
    ];
    let mut payload = Vec::new();
    for (order, raw) in streams {
        let mut encoder = Ppmd7Encoder::new(Vec::new(), order, MEMORY).unwrap();
        encoder.write_all(&raw).unwrap();
        let packed = encoder.finish(false).unwrap();
        for number in [order, raw.len() as u32, packed.len() as u32] {
            payload.extend(number.to_le_bytes());
        }
        payload.extend(packed);
    }
    let mut asset = MAGIC.to_vec();
    asset.extend(VERSION.to_le_bytes());
    asset.extend(crc32fast::hash(&payload).to_le_bytes());
    asset.extend(payload);
    asset
}

fn spelled(lemma: &str) -> String {
    lemma.to_lowercase().replace('_', " ")
}

fn first_lemma(synset: &NounSynset) -> String {
    spelled(&synset.lemmas[0])
}

/// Depth-first order of the hypernym tree.
struct Tree {
    /// Index in `Source::nouns` of each synset in this order.
    order: Vec<usize>,
    /// Depth of each, 0 for the root.
    depths: Vec<u8>,
    /// Position of the first hypernym of each in this order; its own for the root.
    parents: Vec<usize>,
    /// Position in this order by offset.
    positions: HashMap<u32, usize>,
}

impl Tree {
    fn new(source: &Source) -> Self {
        let mut children: HashMap<u32, Vec<usize>> = HashMap::new();
        let mut roots = Vec::new();
        for (i, synset) in source.nouns.iter().enumerate() {
            match synset.parents.first() {
                Some(&parent) => children.entry(parent).or_default().push(i),
                None => roots.push(i),
            }
        }
        // Leaves first, and proper names together: long runs of one depth.
        let inner: HashSet<u32> = children.keys().copied().collect();
        for list in children.values_mut() {
            list.sort_by_cached_key(|&i| {
                let synset = &source.nouns[i];
                (
                    inner.contains(&synset.offset),
                    synset.is_instance,
                    first_lemma(synset),
                    synset.offset,
                )
            });
        }
        assert_eq!(roots.len(), 1, "expected one root");
        let mut tree = Self {
            order: Vec::new(),
            depths: Vec::new(),
            parents: Vec::new(),
            positions: HashMap::new(),
        };
        let mut stack = vec![(roots[0], 0, 0)];
        while let Some((i, depth, parent)) = stack.pop() {
            let position = tree.order.len();
            let offset = source.nouns[i].offset;
            tree.order.push(i);
            tree.depths.push(depth);
            tree.parents.push(parent);
            tree.positions.insert(offset, position);
            let list = children.get(&offset).map_or(&[][..], Vec::as_slice);
            stack.extend(list.iter().rev().map(|&child| (child, depth + 1, position)));
        }
        assert_eq!(
            tree.order.len(),
            source.nouns.len(),
            "a synset is in a cycle"
        );
        tree
    }
}

/// One line per synset: the first lemma and the kept synonyms, separated by `|`.
fn text(source: &Source, tree: &Tree) -> Vec<u8> {
    let by_offset: HashMap<u32, &NounSynset> = source
        .nouns
        .iter()
        .map(|synset| (synset.offset, synset))
        .collect();
    let mut lines = Vec::new();
    let mut before = String::new();
    for (position, &i) in tree.order.iter().enumerate() {
        let synset = &source.nouns[i];
        let first = first_lemma(synset);
        let parent = first_lemma(&source.nouns[tree.order[tree.parents[position]]]);
        let mut line = if position == 0 {
            first.clone()
        } else {
            with_markers(&first, &before, &[(1, &parent)])
        };
        let mut kept = HashSet::from([first.clone()]);
        for lemma in &synset.lemmas[1..] {
            let lemma_is_kept = is_kept(lemma, synset, source, &by_offset);
            let lemma = spelled(lemma);
            if lemma_is_kept && kept.insert(lemma.clone()) {
                line.push('|');
                line.push_str(&with_markers(&lemma, &first, &[(4, &first), (1, &parent)]));
            }
        }
        lines.push(line);
        before = first;
    }
    let text = lines.join("\n");
    assert!(text.is_ascii());
    text.into_bytes()
}

/// Whether a lemma after the first is in the word list: all would exceed its size limit.
fn is_kept(
    lemma: &str,
    synset: &NounSynset,
    source: &Source,
    by_offset: &HashMap<u32, &NounSynset>,
) -> bool {
    if synset.is_instance {
        return false;
    }
    let has_capital = lemma.chars().any(char::is_uppercase);
    let last_word = |lemma: &str| lemma.to_lowercase().rsplit('_').next().unwrap().to_owned();
    match synset.file {
        file if ALL_LEMMAS.contains(&file) => true,
        // Lemmas with capitals are scientific names, except those such as `Boston terrier`.
        ANIMAL if !has_capital => true,
        ANIMAL => {
            let mut relatives = vec![synset];
            relatives.extend(synset.parents.iter().map(|offset| by_offset[offset]));
            let last = last_word(lemma);
            lemma.contains('_')
                && relatives
                    .iter()
                    .any(|relative| last_word(&relative.lemmas[0]) == last)
        }
        file if ABSTRACT.contains(&file) => false,
        _ => {
            let lower = lemma.to_lowercase();
            !has_capital
                && source.tagged.contains(&lower)
                && source.first_sense[&lower] == synset.offset
        }
    }
}

/// Replaces the last and the first words of a lemma by markers.
///
/// Last words: `m` if they are all of a reference, `m + 1` for all but its first word, `m + 2` for all
/// but its first two. The first word: 7 if it is that of the lemma before.
fn with_markers(lemma: &str, before: &str, references: &[(u8, &str)]) -> String {
    let lemma = with_suffix_marker(lemma, references);
    let first_word = before.split(' ').next().unwrap();
    match lemma.strip_prefix(first_word) {
        // A blank is implied, and a marker of last words implies one of its own.
        Some(rest) if rest.starts_with(' ') => format!("{FIRST_WORD}{}", &rest[1..]),
        Some(rest) if rest.starts_with(|c| ('\x01'..='\x06').contains(&c)) => {
            format!("{FIRST_WORD}{rest}")
        }
        _ => lemma,
    }
}

const FIRST_WORD: char = '\x07';

fn with_suffix_marker(lemma: &str, references: &[(u8, &str)]) -> String {
    for &(marker, reference) in references {
        let mut words = reference;
        for skipped in 0..3 {
            if let Some(rest) = lemma
                .strip_suffix(words)
                .and_then(|rest| rest.strip_suffix(' '))
            {
                return format!("{rest}{}", char::from(marker + skipped));
            }
            let Some((_, rest)) = words.split_once(' ') else {
                break;
            };
            words = rest;
        }
    }
    lemma.to_owned()
}

/// One byte per synset: lexicographer file, plus 64 for an instance.
fn files(source: &Source, tree: &Tree) -> Vec<u8> {
    tree.order
        .iter()
        .map(|&i| source.nouns[i].file + 64 * u8::from(source.nouns[i].is_instance))
        .collect()
}

/// Hypernyms after the first: position of the synset, as the difference from the one before, and
/// position of the hypernym, as varints (LEB128).
fn further_parents(source: &Source, tree: &Tree) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut before = 0;
    for (position, &i) in tree.order.iter().enumerate() {
        for parent in source.nouns[i].parents.iter().skip(1) {
            push_varint(&mut bytes, position - before);
            push_varint(&mut bytes, tree.positions[parent]);
            before = position;
        }
    }
    bytes
}

fn push_varint(bytes: &mut Vec<u8>, mut value: usize) {
    while value > 127 {
        bytes.push((value & 127) as u8 | 128);
        value >>= 7;
    }
    bytes.push(value as u8);
}

/// Adjectives of each lexicographer file, spelled backward, sorted and front-coded: 128 plus the
/// number of bytes in common with the word before, then the other bytes. A line feed ends a file.
fn adjectives(source: &Source) -> Vec<u8> {
    let mut bytes = Vec::new();
    for file in [0, 1, 44] {
        let mut words: Vec<String> = source
            .adjectives
            .iter()
            .filter(|adjective| adjective.file == file)
            .map(|adjective| spelled(&adjective.lemma).chars().rev().collect())
            .collect();
        words.sort_unstable();
        let mut before = "";
        for word in &words {
            assert!(word.is_ascii());
            let common = word
                .bytes()
                .zip(before.bytes())
                .take_while(|(a, b)| a == b)
                .count();
            bytes.push(128 + u8::try_from(common).unwrap());
            bytes.extend(word.as_bytes()[common..].iter());
            before = word;
        }
        bytes.push(b'\n');
    }
    bytes
}
