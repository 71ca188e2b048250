//! Decoder of the built-in word list; `assets/wordnet/README.md` describes the format.

use std::io::Read;
use std::ops::Range;

use ppmd_rust::Ppmd7Decoder;

use super::LexFile;

const MAGIC: &[u8] = b"clipn-wn";
const VERSION: u32 = 1;
/// Memory of the decoder's model in bytes, the same as the encoder's.
const MEMORY: u32 = 16 << 20;
/// Maximum size of a decoded stream in bytes.
const MAX_STREAM_SIZE: u32 = 4 << 20;

/// Contents of the word list. Synsets are numbered in the depth-first order of the hypernym tree.
#[derive(Debug)]
pub(super) struct WordList {
    pub(super) lemmas: Lemmas,
    pub(super) files: Vec<LexFile>,
    pub(super) is_instance: Vec<bool>,
    /// Pairs (synset, hypernym), sorted by synset, with the first hypernym of a synset first.
    pub(super) parents: Vec<(u32, u32)>,
    /// Adjectives by lexicographer file, sorted.
    pub(super) adjectives: Vec<(LexFile, Vec<String>)>,
}

/// Lemmas of all synsets in one text.
#[derive(Debug)]
pub(super) struct Lemmas {
    text: String,
    /// Start of each lemma in the text, and the end of the last.
    starts: Vec<u32>,
    /// First lemma of each synset, and the number of lemmas.
    pub(super) of_synset: Vec<u32>,
}

impl Lemmas {
    pub(super) fn len(&self) -> usize {
        self.starts.len() - 1
    }

    pub(super) fn get(&self, lemma: usize) -> &str {
        &self.text[self.starts[lemma] as usize..self.starts[lemma + 1] as usize]
    }
}

#[derive(Debug, thiserror::Error)]
pub(super) enum AssetError {
    #[error("expected the magic bytes of a word list, got {found:?}")]
    NotAWordList { found: Vec<u8> },
    #[error("expected version {VERSION}, got {found}")]
    UnknownVersion { found: u32 },
    #[error("expected {expected} more bytes at offset {offset}, got {found}")]
    Truncated {
        offset: usize,
        expected: usize,
        found: usize,
    },
    #[error("expected CRC-32 {expected:08x}, got {found:08x}")]
    WrongChecksum { expected: u32, found: u32 },
    #[error("stream `{stream}` of {size} bytes exceeds the limit of {MAX_STREAM_SIZE} bytes")]
    TooLarge { stream: &'static str, size: u32 },
    #[error("cannot decompress stream `{stream}`")]
    Decompress {
        stream: &'static str,
        source: ppmd_rust::Error,
    },
    #[error("invalid {what} in stream `{stream}`, record {record}")]
    Malformed {
        stream: &'static str,
        what: &'static str,
        record: usize,
    },
    #[error("{found} bytes after the last stream")]
    TrailingBytes { found: usize },
}

/// Decodes a word list.
pub(super) fn decode(asset: &[u8]) -> Result<WordList, AssetError> {
    let mut reader = Reader { asset, offset: 0 };
    let magic = reader.take(MAGIC.len())?;
    if magic != MAGIC {
        return Err(AssetError::NotAWordList {
            found: magic.to_vec(),
        });
    }
    let version = reader.number()?;
    if version != VERSION {
        return Err(AssetError::UnknownVersion { found: version });
    }
    let expected = reader.number()?;
    let found = crc32fast::hash(&asset[reader.offset..]);
    if found != expected {
        return Err(AssetError::WrongChecksum { expected, found });
    }
    let text = reader.stream("text")?;
    let depths = reader.stream("depths")?;
    let files = reader.stream("files")?;
    let further = reader.stream("parents")?;
    let adjectives = reader.stream("adjectives")?;
    let rest = asset.len() - reader.offset;
    if rest > 0 {
        return Err(AssetError::TrailingBytes { found: rest });
    }

    let first_parents = first_parents(&depths)?;
    let (files, is_instance) = parse_files(&files, depths.len())?;
    Ok(WordList {
        lemmas: parse_text(&text, &first_parents)?,
        files,
        is_instance,
        parents: merge_parents(&first_parents, &further)?,
        adjectives: parse_adjectives(&adjectives)?,
    })
}

struct Reader<'a> {
    asset: &'a [u8],
    offset: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8], AssetError> {
        let rest = &self.asset[self.offset..];
        let bytes = rest.get(..length).ok_or(AssetError::Truncated {
            offset: self.offset,
            expected: length,
            found: rest.len(),
        })?;
        self.offset += length;
        Ok(bytes)
    }

    fn number(&mut self) -> Result<u32, AssetError> {
        let bytes = self.take(4)?;
        Ok(bytes
            .iter()
            .rev()
            .fold(0, |number, &byte| number << 8 | u32::from(byte)))
    }

    /// Reads one stream: order of the model, size, compressed size, compressed bytes.
    fn stream(&mut self, stream: &'static str) -> Result<Vec<u8>, AssetError> {
        let (order, size, packed) = (self.number()?, self.number()?, self.number()?);
        if size > MAX_STREAM_SIZE {
            return Err(AssetError::TooLarge { stream, size });
        }
        let packed = self.take(packed as usize)?;
        let decompress = |source| AssetError::Decompress { stream, source };
        let mut decoder = Ppmd7Decoder::new(packed, order, MEMORY).map_err(decompress)?;
        let mut raw = vec![0; size as usize];
        decoder
            .read_exact(&mut raw)
            .map_err(|source| decompress(ppmd_rust::Error::IoError(source)))?;
        Ok(raw)
    }
}

/// First hypernym of each synset, from their depths in depth-first order; `None` for the root.
fn first_parents(depths: &[u8]) -> Result<Vec<Option<u32>>, AssetError> {
    let mut path: Vec<u32> = Vec::new();
    let mut parents = Vec::with_capacity(depths.len());
    for (i, &depth) in depths.iter().enumerate() {
        let depth = usize::from(depth);
        if depth > path.len() || (depth == 0) != (i == 0) {
            return Err(AssetError::Malformed {
                stream: "depths",
                what: "depth",
                record: i,
            });
        }
        path.truncate(depth);
        parents.push(path.last().copied());
        path.push(i as u32);
    }
    Ok(parents)
}

fn parse_files(bytes: &[u8], synsets: usize) -> Result<(Vec<LexFile>, Vec<bool>), AssetError> {
    const INSTANCE: u8 = 64;
    let malformed = |what, record| AssetError::Malformed {
        stream: "files",
        what,
        record,
    };
    if bytes.len() != synsets {
        return Err(malformed("length", bytes.len()));
    }
    let files = bytes.iter().enumerate().map(|(i, &byte)| {
        LexFile::from_number(byte & !INSTANCE)
            .filter(|file| file.is_noun())
            .ok_or_else(|| malformed("lexicographer file", i))
    });
    let files = files.collect::<Result<_, _>>()?;
    Ok((
        files,
        bytes.iter().map(|byte| byte & INSTANCE != 0).collect(),
    ))
}

/// Parses one line per synset: lemmas separated by `|`, each with markers for words that it shares
/// with another lemma.
fn parse_text(text: &[u8], parents: &[Option<u32>]) -> Result<Lemmas, AssetError> {
    let malformed = |what, record| AssetError::Malformed {
        stream: "text",
        what,
        record,
    };
    let mut expanded: Vec<u8> = Vec::with_capacity(2 * text.len());
    let mut starts = vec![0u32];
    let mut of_synset: Vec<u32> = Vec::with_capacity(parents.len() + 1);
    if !text.is_ascii() {
        return Err(malformed("character", 0));
    }
    for (i, line) in text.split(|&byte| byte == b'\n').enumerate() {
        let parent = *parents.get(i).ok_or_else(|| malformed("line", i))?;
        of_synset.push(starts.len() as u32 - 1);
        for (synonym, lemma) in line.split(|&byte| byte == b'|').enumerate() {
            if lemma.is_empty() {
                return Err(malformed("empty lemma", i));
            }
            let references = References {
                starts: &starts,
                of_synset: &of_synset,
                parent,
                synset: i as u32,
                is_first: synonym == 0,
            };
            push_lemma(&mut expanded, lemma, &references).ok_or_else(|| malformed("marker", i))?;
            // Each marker copies words, which may be long themselves.
            if expanded.len() > MAX_STREAM_SIZE as usize {
                return Err(malformed("length", i));
            }
            starts.push(expanded.len() as u32);
        }
    }
    if of_synset.len() != parents.len() {
        return Err(malformed("number of lines", of_synset.len()));
    }
    of_synset.push(starts.len() as u32 - 1);
    let text = String::from_utf8(expanded).map_err(|_| malformed("character", 0))?;
    Ok(Lemmas {
        text,
        starts,
        of_synset,
    })
}

/// Lemmas that the markers of a lemma refer to.
struct References<'a> {
    starts: &'a [u32],
    of_synset: &'a [u32],
    parent: Option<u32>,
    synset: u32,
    is_first: bool,
}

impl References<'_> {
    /// Range of the first lemma of a synset; `None` if it is not yet complete.
    fn first_lemma(&self, synset: u32) -> Option<Range<usize>> {
        let lemma = *self.of_synset.get(synset as usize)? as usize;
        Some(self.starts[lemma] as usize..*self.starts.get(lemma + 1)? as usize)
    }

    /// Lemma with the first word that a marker stands for: the first one of the synset, or of the
    /// synset before.
    fn before(&self) -> Option<Range<usize>> {
        self.first_lemma(self.synset.checked_sub(u32::from(self.is_first))?)
    }
}

/// Adds a lemma without its markers; `None` if a marker refers to words that do not exist.
fn push_lemma(text: &mut Vec<u8>, lemma: &[u8], references: &References<'_>) -> Option<()> {
    const FIRST_WORD: u8 = 7;
    let mut rest = lemma;
    if let Some(after) = rest.strip_prefix(&[FIRST_WORD]) {
        let range = references.before()?;
        let length = text[range.clone()].iter().position(|&byte| byte == b' ');
        let end = length.map_or(range.end, |length| range.start + length);
        text.extend_from_within(range.start..end);
        rest = after;
        if !matches!(rest, [1..=6, ..]) {
            text.push(b' ');
        }
    }
    match rest.split_last() {
        Some((&marker @ 1..=6, rest)) => {
            let synset = if marker <= 3 {
                references.parent?
            } else {
                references.synset
            };
            let range = references.first_lemma(synset)?;
            let words = skip_words(text, range, (marker - 1) % 3)?;
            text.extend_from_slice(rest);
            text.push(b' ');
            text.extend_from_within(words);
        }
        _ => text.extend_from_slice(rest),
    }
    Some(())
}

/// Range of a lemma without its first words.
fn skip_words(text: &[u8], range: Range<usize>, skipped: u8) -> Option<Range<usize>> {
    let mut start = range.start;
    for _ in 0..skipped {
        start += 1 + text[start..range.end]
            .iter()
            .position(|&byte| byte == b' ')?;
    }
    Some(start..range.end)
}

/// Adds the further hypernyms: difference of the synset from the one before, and the hypernym.
fn merge_parents(first: &[Option<u32>], further: &[u8]) -> Result<Vec<(u32, u32)>, AssetError> {
    let mut pairs: Vec<(u32, u32)> = (0u32..)
        .zip(first)
        .filter_map(|(synset, parent)| parent.map(|parent| (synset, parent)))
        .collect();
    let mut bytes = further.iter();
    let mut synset = 0u32;
    for record in 0.. {
        if bytes.as_slice().is_empty() {
            break;
        }
        let pair = varint(&mut bytes).and_then(|difference| {
            synset = synset.checked_add(difference)?;
            let parent = varint(&mut bytes)?;
            ((synset.max(parent) as usize) < first.len()).then_some((synset, parent))
        });
        pairs.push(pair.ok_or(AssetError::Malformed {
            stream: "parents",
            what: "hypernym",
            record,
        })?);
    }
    // Stable: the first hypernym of a synset remains before its further ones.
    pairs.sort_by_key(|&(synset, _)| synset);
    Ok(pairs)
}

/// Reads a number of up to 28 bits (LEB128).
fn varint(bytes: &mut std::slice::Iter<'_, u8>) -> Option<u32> {
    let mut number = 0;
    for shift in [0, 7, 14, 21] {
        let byte = *bytes.next()?;
        number |= u32::from(byte & 127) << shift;
        if byte < 128 {
            return Some(number);
        }
    }
    None
}

/// Parses the front-coded adjectives of three files, which are spelled backward.
fn parse_adjectives(bytes: &[u8]) -> Result<Vec<(LexFile, Vec<String>)>, AssetError> {
    const FILES: [LexFile; 3] = [
        LexFile::AdjectiveAll,
        LexFile::AdjectivePertainym,
        LexFile::AdjectiveParticiple,
    ];
    let malformed = |what, record| AssetError::Malformed {
        stream: "adjectives",
        what,
        record,
    };
    let mut files = Vec::new();
    let mut rest = bytes;
    for file in FILES {
        let end = rest
            .iter()
            .position(|&byte| byte == b'\n')
            .ok_or_else(|| malformed("end of a file", files.len()))?;
        let mut words: Vec<String> = Vec::new();
        let mut list = &rest[..end];
        while let Some((&prefix, tail)) = list.split_first() {
            let length = tail
                .iter()
                .position(|&byte| byte >= 128)
                .unwrap_or(tail.len());
            let record = words.len();
            let before = words.last().map_or("", String::as_str);
            let mut word = prefix
                .checked_sub(128)
                .and_then(|common| before.get(..usize::from(common)))
                .ok_or_else(|| malformed("prefix", record))?
                .to_owned();
            word.extend(tail[..length].iter().map(|&byte| char::from(byte)));
            words.push(word);
            list = &tail[length..];
        }
        for word in &mut words {
            *word = word.chars().rev().collect();
        }
        words.sort_unstable();
        files.push((file, words));
        rest = &rest[end + 1..];
    }
    if rest.is_empty() {
        Ok(files)
    } else {
        Err(malformed("bytes after the last file", rest.len()))
    }
}

#[cfg(test)]
mod tests;
