//! Reader of WordNet's database files; their format is described in WordNet's `wndb(5WN)`.

use std::collections::{HashMap, HashSet};
use std::fmt::Write;
use std::path::Path;

use sha2::{Digest, Sha256};

/// The files that are read, with the SHA-256 that they have in `wordnet-base` 1:3.0-37.
const FILES: [(&str, &str); 4] = [
    (
        "data.noun",
        "fea17d2f9656611334eac790e5d69e47645fa180c4aa481fb4cd9b3520754ca2",
    ),
    (
        "data.adj",
        "c89120dfc1f046ddff4a631bf9b7e9fa1a36b5e86565a23bf82dbe14f30b88a7",
    ),
    (
        "index.noun",
        "a490d99d93d017bf4822fe2f0ffa51fd73911ce271dc7535fade21f8814b5a04",
    ),
    (
        "cntlist.rev",
        "a198580b8f705fa02797bba8b13e5cbe4a9f9f40cb1697e774c7fc6a5865b035",
    ),
];

/// Noun synset of `data.noun`.
pub struct NounSynset {
    /// Byte offset in the file, WordNet's name of the synset.
    pub offset: u32,
    /// Number of the lexicographer file, 3 to 28.
    pub file: u8,
    /// Lemmas as spelled there, with underscores.
    pub lemmas: Vec<String>,
    /// Offsets of the hypernyms, the first one first.
    pub parents: Vec<u32>,
    /// Whether a hypernym is of the kind "instance", as for `Paris`.
    pub is_instance: bool,
}

/// First lemma of an adjective synset of `data.adj`, without its syntactic marker.
pub struct Adjective {
    /// Number of the lexicographer file: 0, 1 or 44.
    pub file: u8,
    /// Lemma as spelled there, with underscores.
    pub lemma: String,
}

/// What the word list is made from.
pub struct Source {
    /// Noun synsets in the order of `data.noun`.
    pub nouns: Vec<NounSynset>,
    /// Adjective synsets in the order of `data.adj`.
    pub adjectives: Vec<Adjective>,
    /// Offset of the most frequent sense of each lower-case lemma (`index.noun`).
    pub first_sense: HashMap<String, u32>,
    /// Lower-case noun lemmas that occur in WordNet's sense-tagged texts (`cntlist.rev`).
    pub tagged: HashSet<String>,
}

/// Hexadecimal SHA-256.
pub fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes)
        .iter()
        .fold(String::new(), |mut text, byte| {
            write!(text, "{byte:02x}").unwrap();
            text
        })
}

fn read(directory: &Path, name: &str, expected: &str) -> Result<String, String> {
    let path = directory.join(name);
    let bytes = std::fs::read(&path).map_err(|e| format!("{}: {e}", path.display()))?;
    let found = sha256(&bytes);
    if found != expected {
        return Err(format!(
            "{} is not the file of wordnet-base 1:3.0-37: expected SHA-256 {expected}, got {found}",
            path.display()
        ));
    }
    String::from_utf8(bytes).map_err(|e| format!("{}: {e}", path.display()))
}

impl Source {
    /// Checks that a directory contains the files of Debian's package.
    ///
    /// # Errors
    /// A file is missing or has other contents.
    pub fn check(directory: &Path) -> Result<(), String> {
        FILES
            .iter()
            .try_for_each(|(name, expected)| read(directory, name, expected).map(drop))
    }

    /// Reads the database files.
    ///
    /// # Errors
    /// As [`Source::check`].
    pub fn read(directory: &Path) -> Result<Self, String> {
        let mut texts = Vec::new();
        for (name, expected) in FILES {
            texts.push(read(directory, name, expected)?);
        }
        // Lines that begin with two blanks are the license.
        let records = |file: usize| {
            texts[file]
                .lines()
                .filter(|line| !line.starts_with("  "))
                .map(|line| {
                    let record = line.split('|').next().unwrap();
                    record.split_whitespace().collect::<Vec<_>>()
                })
        };
        Ok(Self {
            nouns: records(0).map(|fields| noun(&fields)).collect(),
            adjectives: records(1).map(|fields| adjective(&fields)).collect(),
            first_sense: records(2).map(|fields| first_sense(&fields)).collect(),
            // `lemma%type:…`, type 1 is noun.
            tagged: records(3)
                .filter_map(|fields| {
                    fields[0]
                        .split_once("%1:")
                        .map(|(lemma, _)| lemma.to_owned())
                })
                .collect(),
        })
    }
}

/// Fields: offset, file, type, number of lemmas in hexadecimal, (lemma, lexical id) each, number of
/// pointers, (symbol, offset, part of speech, source and target) each.
fn noun(fields: &[&str]) -> NounSynset {
    let count = usize::from_str_radix(fields[3], 16).unwrap();
    let pointers = &fields[5 + 2 * count..];
    let parents = || {
        pointers
            .chunks_exact(4)
            .filter(|p| p[0] == "@" || p[0] == "@i")
    };
    NounSynset {
        offset: fields[0].parse().unwrap(),
        file: fields[1].parse().unwrap(),
        lemmas: (0..count).map(|i| fields[4 + 2 * i].to_owned()).collect(),
        parents: parents().map(|p| p[1].parse().unwrap()).collect(),
        is_instance: parents().any(|p| p[0] == "@i"),
    }
}

fn adjective(fields: &[&str]) -> Adjective {
    // `(a)`, `(p)` and `(ip)` restrict where the adjective may be in a sentence.
    let lemma = fields[4].split('(').next().unwrap();
    Adjective {
        file: fields[1].parse().unwrap(),
        lemma: lemma.to_owned(),
    }
}

/// Fields: lemma, part of speech, number of synsets, number of pointer symbols, symbols, number of
/// senses, number of tagged senses, offsets with the most frequent sense first.
fn first_sense(fields: &[&str]) -> (String, u32) {
    let symbols: usize = fields[3].parse().unwrap();
    (fields[0].to_owned(), fields[6 + symbols].parse().unwrap())
}
