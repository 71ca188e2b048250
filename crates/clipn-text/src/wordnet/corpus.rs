use std::fmt;
use std::str::FromStr;

use clipn_base::random::{RandomSource, Xoshiro256};
use serde::{Deserialize, Serialize};

use super::{Candidates, LexFile, WordNet, WordNetError};
use crate::prompts::Template;

/// Template of class names and nouns in NegLabel's program; the paper has `The nice {}.`
pub const NEGLABEL_CODE_NOUN_TEMPLATE: &str = "the nice {}";
/// Template of adjectives in NegLabel's program; the paper has `This is a {} photo.`
pub const NEGLABEL_CODE_ADJECTIVE_TEMPLATE: &str = "This is a {} photo";

/// Superclasses of CSP, one of them drawn for each adjective.
pub const SUPERCLASSES: [&str; 14] = [
    "environment",
    "space",
    "object",
    "scene",
    "place",
    "item",
    "area",
    "view",
    "thing",
    "pattern",
    "structure",
    "landscape",
    "vista",
    "creature",
];

const NEGLABEL_NOUN_TEMPLATES: [&str; 1] = ["The nice {}."];
const NEGLABEL_ADJECTIVE_TEMPLATES: [&str; 1] = ["This is a {} photo."];
const CSP_NOUN_TEMPLATES: [&str; 8] = [
    "a close-up photo of the nice {}.",
    "a photo with the nice {}.",
    "a good photo with the nice {}.",
    "a photo of the nice {}.",
    "{}",
    "the {}",
    "the good {}",
    "the nice {}",
];
const CSP_ADJECTIVE_TEMPLATES: [&str; 4] = [
    "{}",
    "a nice photo of {}",
    "a good photo of {}",
    "a close-up photo of {}",
];

/// Rule that selects the candidates for negative labels from WordNet.
///
/// All of them take the first lemma of each synset, nouns before adjectives, lexicographer files in
/// the order of their names, and count a word once, in the first file that has it. Within a file,
/// nouns are in depth-first order of the hypernym tree, adjectives in alphabetical order. The
/// published programs have a random order, which matters only to words with equal similarity.
///
/// ```
/// use clipn_text::wordnet::Corpus;
///
/// let corpus: Corpus = "csp".parse()?;
/// let candidates = corpus.candidates(0);
/// assert!(candidates.adjectives.iter().all(|phrase| phrase.contains(' ')));
/// assert_eq!((corpus.noun_templates().len(), corpus.adjective_templates().len()), (8, 4));
/// # Ok::<(), clipn_text::wordnet::WordNetError>(())
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
#[non_exhaustive]
pub enum Corpus {
    /// Default of clipn: all 29 files, with animals and food, without instances.
    ///
    /// Instances are the names of single persons, places and works. They do not describe what an
    /// image shows. Remove what describes the classes with [`Candidates::exclude`], which replaces
    /// the two files that the published corpora leave out. Templates are NegLabel's, one per word.
    #[default]
    WordNet,
    /// NegLabel's corpus: 27 files, without `noun.animal` and `noun.food`, which ImageNet's classes
    /// come from. Names of persons and places are in it ("Negative Label Guided OOD Detection with
    /// Pretrained Vision-Language Models", ICLR 2024, <https://arxiv.org/abs/2403.20078>).
    NegLabel,
    /// Conjugated semantic pool: NegLabel's corpus without `noun.person`, `noun.quantity`,
    /// `noun.group` and `adj.pert`, and each adjective with a drawn superclass, such as
    /// `striped pattern` ("Conjugated Semantic Pool Improves OOD Detection with Pre-trained
    /// Vision-Language Models", NeurIPS 2024, <https://arxiv.org/abs/2410.08611>).
    ///
    /// The draws are clipn's own. The published program draws with Python's generator, in a random
    /// order of the words.
    Csp,
}

impl Corpus {
    /// All corpora.
    pub const ALL: [Self; 3] = [Self::WordNet, Self::NegLabel, Self::Csp];

    /// Name on the command line and in files.
    pub fn name(self) -> &'static str {
        match self {
            Self::WordNet => "wordnet",
            Self::NegLabel => "neglabel",
            Self::Csp => "csp",
        }
    }

    /// Lexicographer files that it takes, in their order.
    pub fn lex_files(self) -> impl Iterator<Item = LexFile> {
        LexFile::all().filter(move |file| self.has(*file))
    }

    /// Candidates of the corpus. The seed chooses the superclasses of [`Corpus::Csp`]; the others do
    /// not depend on it. The first call decompresses the word list ([`WordNet::get`]).
    pub fn candidates(self, seed: u64) -> Candidates {
        let wordnet = WordNet::get();
        let mut by_file: Vec<(LexFile, Vec<&str>)> = self
            .lex_files()
            .map(|file| (file, wordnet.adjectives(file).collect()))
            .collect();
        for synset in wordnet.synsets() {
            if self == Self::WordNet && synset.is_instance() {
                continue;
            }
            let file = synset.lex_file();
            // `lex_files` is in the order of the enum.
            if let Ok(i) = by_file.binary_search_by_key(&file, |(file, _)| *file) {
                by_file[i].1.push(synset.first_lemma());
            }
        }
        let mut candidates = Candidates::from_lists(by_file);
        if self == Self::Csp {
            let mut random = Xoshiro256::new(seed);
            for adjective in &mut candidates.adjectives {
                let superclass = SUPERCLASSES[random.below(SUPERCLASSES.len() as u64) as usize];
                adjective.push(' ');
                adjective.push_str(superclass);
            }
        }
        candidates
    }

    /// Templates of class names and nouns. The feature of a word is the mean over them, for
    /// [`Corpus::Csp`] before normalization.
    pub fn noun_templates(self) -> Vec<Template> {
        templates(match self {
            Self::WordNet | Self::NegLabel => &NEGLABEL_NOUN_TEMPLATES,
            Self::Csp => &CSP_NOUN_TEMPLATES,
        })
    }

    /// Templates of adjectives and adjective phrases.
    pub fn adjective_templates(self) -> Vec<Template> {
        templates(match self {
            Self::WordNet | Self::NegLabel => &NEGLABEL_ADJECTIVE_TEMPLATES,
            Self::Csp => &CSP_ADJECTIVE_TEMPLATES,
        })
    }

    fn has(self, file: LexFile) -> bool {
        let published = !matches!(file, LexFile::Animal | LexFile::Food);
        match self {
            Self::WordNet => true,
            Self::NegLabel => published,
            Self::Csp => {
                published
                    && !matches!(
                        file,
                        LexFile::Person
                            | LexFile::Quantity
                            | LexFile::Group
                            | LexFile::AdjectivePertainym
                    )
            }
        }
    }
}

fn templates(lines: &[&'static str]) -> Vec<Template> {
    lines
        .iter()
        .map(|line| Template::from_static(line))
        .collect()
}

impl fmt::Display for Corpus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Corpus {
    type Err = WordNetError;

    fn from_str(name: &str) -> Result<Self, WordNetError> {
        let mut all = Self::ALL.into_iter();
        all.find(|corpus| corpus.name() == name)
            .ok_or_else(|| WordNetError::UnknownCorpus {
                name: name.to_owned(),
                known: Self::ALL.map(Self::name).join(", "),
            })
    }
}

impl TryFrom<String> for Corpus {
    type Error = WordNetError;

    fn try_from(name: String) -> Result<Self, WordNetError> {
        name.parse()
    }
}

impl From<Corpus> for String {
    fn from(corpus: Corpus) -> Self {
        corpus.name().to_owned()
    }
}
