use std::fmt;
use std::sync::LazyLock;

use super::LexFile;
use super::asset::{self, WordList};
use super::morphology::{normalize, singulars};

static ASSET: &[u8] = include_bytes!("../../assets/wordnet/wordnet.bin");

/// Nouns and adjectives of WordNet 3.0, built in.
///
/// It has all 82,115 noun synsets with their hypernyms, and the first lemma of all 18,156 adjective
/// synsets. Words are in lower case, with blanks. The first lemma of a synset is always present;
/// `assets/wordnet/README.md` describes which of its synonyms are. Source: "WordNet: A Lexical
/// Database for English" (Miller, 1995, <https://doi.org/10.1145/219717.219748>).
///
/// ```
/// use clipn_text::wordnet::{LexFile, WordNet};
///
/// let sofa = WordNet::get().lookup("sofas").next().unwrap();
/// assert_eq!(sofa.lemmas().collect::<Vec<_>>(), ["sofa", "couch", "lounge"]);
/// assert_eq!(sofa.lex_file(), LexFile::Artifact);
/// assert_eq!(sofa.parents().next().unwrap().first_lemma(), "seat");
/// ```
pub struct WordNet {
    list: WordList,
    /// Synset of each lemma.
    synset_of_lemma: Vec<u32>,
    /// Lemmas sorted by spelling, then by synset.
    sorted: Vec<u32>,
    parents: Adjacency,
    children: Adjacency,
}

/// Neighbors of each synset in one list.
struct Adjacency {
    starts: Vec<u32>,
    neighbors: Vec<u32>,
}

impl Adjacency {
    /// From pairs (synset, neighbor); the order of a synset's neighbors is kept.
    fn new(synsets: usize, pairs: impl Iterator<Item = (u32, u32)> + Clone) -> Self {
        let mut starts = vec![0u32; synsets + 1];
        for (synset, _) in pairs.clone() {
            starts[synset as usize + 1] += 1;
        }
        for i in 0..synsets {
            starts[i + 1] += starts[i];
        }
        let mut next = starts.clone();
        let mut neighbors = vec![0; starts[synsets] as usize];
        for (synset, neighbor) in pairs {
            let slot = &mut next[synset as usize];
            neighbors[*slot as usize] = neighbor;
            *slot += 1;
        }
        Self { starts, neighbors }
    }

    fn of(&self, synset: u32) -> &[u32] {
        let synset = synset as usize;
        &self.neighbors[self.starts[synset] as usize..self.starts[synset + 1] as usize]
    }

    /// Synsets that can be reached from a start, without the start, in depth-first order.
    fn closure(&self, start: u32) -> Vec<u32> {
        let mut seen = vec![false; self.starts.len() - 1];
        seen[start as usize] = true;
        let mut found = Vec::new();
        let mut stack: Vec<u32> = self.of(start).iter().rev().copied().collect();
        while let Some(synset) = stack.pop() {
            if !std::mem::replace(&mut seen[synset as usize], true) {
                found.push(synset);
                stack.extend(self.of(synset).iter().rev());
            }
        }
        found
    }
}

impl fmt::Debug for WordNet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WordNet")
            .field("synsets", &self.len())
            .field("lemmas", &self.list.lemmas.len())
            .finish_non_exhaustive()
    }
}

impl WordNet {
    /// Returns the shared word list. The first call decompresses it, which takes 0.1 to 0.2 s.
    pub fn get() -> &'static Self {
        static WORDNET: LazyLock<WordNet> = LazyLock::new(|| match asset::decode(ASSET) {
            Ok(list) => WordNet::new(list),
            Err(error) => unreachable!("the built-in word list is damaged: {error}"),
        });
        &WORDNET
    }

    fn new(list: WordList) -> Self {
        let lemmas = &list.lemmas;
        let synsets = list.files.len();
        let mut synset_of_lemma = Vec::with_capacity(lemmas.len());
        for (synset, range) in (0u32..).zip(lemmas.of_synset.windows(2)) {
            synset_of_lemma.resize(range[1] as usize, synset);
        }
        let mut sorted: Vec<u32> = (0..lemmas.len() as u32).collect();
        sorted.sort_unstable_by_key(|&lemma| (lemmas.get(lemma as usize), lemma));
        let pairs = list.parents.iter().copied();
        Self {
            parents: Adjacency::new(synsets, pairs.clone()),
            children: Adjacency::new(synsets, pairs.map(|(synset, parent)| (parent, synset))),
            list,
            synset_of_lemma,
            sorted,
        }
    }

    /// Number of noun synsets.
    #[expect(
        clippy::len_without_is_empty,
        reason = "the word list always has synsets"
    )]
    pub fn len(&self) -> usize {
        self.list.files.len()
    }

    /// Iterates over the noun synsets in depth-first order of the hypernym tree, with `entity`
    /// first.
    pub fn synsets(&self) -> impl ExactSizeIterator<Item = Synset<'_>> {
        (0..self.len()).map(|index| self.synset(index as u32))
    }

    /// Noun synsets that have a word as a lemma, in depth-first order of the hypernym tree.
    ///
    /// Case does not matter, underscores count as blanks, and a remark in parentheses at the end is
    /// ignored. If no synset has the word, its regular singular is looked up.
    pub fn lookup(&self, word: &str) -> impl ExactSizeIterator<Item = Synset<'_>> + Clone {
        let word = normalize(word);
        let found = match self.lemmas_spelled(&word) {
            [] => singulars(&word)
                .map(|singular| self.lemmas_spelled(&singular))
                .find(|lemmas| !lemmas.is_empty())
                .unwrap_or(&[]),
            lemmas => lemmas,
        };
        found
            .iter()
            .map(|&lemma| self.synset(self.synset_of_lemma[lemma as usize]))
    }

    /// First lemmas of the adjective synsets of a lexicographer file, sorted. A word is repeated
    /// for each synset that begins with it. A file of nouns has none.
    pub fn adjectives(&self, file: LexFile) -> impl ExactSizeIterator<Item = &str> {
        let mut files = self.list.adjectives.iter();
        let words = files
            .find(|(known, _)| *known == file)
            .map_or(&[][..], |(_, words)| words);
        words.iter().map(String::as_str)
    }

    fn lemmas_spelled(&self, word: &str) -> &[u32] {
        let spelling = |lemma: &u32| self.list.lemmas.get(*lemma as usize);
        let start = self.sorted.partition_point(|lemma| spelling(lemma) < word);
        let rest = &self.sorted[start..];
        &rest[..rest.partition_point(|lemma| spelling(lemma) == word)]
    }

    fn synset(&self, index: u32) -> Synset<'_> {
        Synset {
            wordnet: self,
            index,
        }
    }
}

/// Noun synset: words with one meaning.
#[derive(Clone, Copy)]
pub struct Synset<'a> {
    wordnet: &'a WordNet,
    index: u32,
}

impl<'a> Synset<'a> {
    /// Position in [`WordNet::synsets`].
    pub fn index(self) -> usize {
        self.index as usize
    }

    /// Words of the synset, the first one first, at least one.
    pub fn lemmas(self) -> impl ExactSizeIterator<Item = &'a str> {
        let lemmas = &self.wordnet.list.lemmas;
        let range = &lemmas.of_synset[self.index()..];
        (range[0] as usize..range[1] as usize).map(|lemma| lemmas.get(lemma))
    }

    /// First word of the synset in WordNet.
    pub fn first_lemma(self) -> &'a str {
        let lemmas = &self.wordnet.list.lemmas;
        lemmas.get(lemmas.of_synset[self.index()] as usize)
    }

    /// Lexicographer file, a file of nouns.
    pub fn lex_file(self) -> LexFile {
        self.wordnet.list.files[self.index()]
    }

    /// Whether it is a single person, place or work, such as `Amazon`, rather than a kind.
    pub fn is_instance(self) -> bool {
        self.wordnet.list.is_instance[self.index()]
    }

    /// Direct hypernyms; only `entity` has none.
    pub fn parents(self) -> impl ExactSizeIterator<Item = Self> {
        let parents = self.wordnet.parents.of(self.index).iter();
        parents.map(move |&index| self.wordnet.synset(index))
    }

    /// Direct hyponyms and instances.
    pub fn children(self) -> impl ExactSizeIterator<Item = Self> {
        let children = self.wordnet.children.of(self.index).iter();
        children.map(move |&index| self.wordnet.synset(index))
    }

    /// All synsets below this one, each once, in depth-first order. O(number of synsets).
    pub fn hyponyms(self) -> impl ExactSizeIterator<Item = Self> {
        let closure = self.wordnet.children.closure(self.index).into_iter();
        closure.map(move |index| self.wordnet.synset(index))
    }

    /// All synsets above this one, each once, the nearest first along each branch. O(number of
    /// synsets).
    pub fn hypernyms(self) -> impl ExactSizeIterator<Item = Self> {
        let closure = self.wordnet.parents.closure(self.index).into_iter();
        closure.map(move |index| self.wordnet.synset(index))
    }
}

impl PartialEq for Synset<'_> {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq(self.wordnet, other.wordnet) && self.index == other.index
    }
}

impl Eq for Synset<'_> {}

impl fmt::Debug for Synset<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Synset")
            .field("index", &self.index)
            .field("lex_file", &self.lex_file())
            .field("lemmas", &self.lemmas().collect::<Vec<_>>())
            .finish()
    }
}
