use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::WordNetError;

/// Lexicographer file: the 26 topics of WordNet's nouns and the 3 kinds of its adjectives, with
/// the names and the order of WordNet (`lexnames(5WN)`).
///
/// ```
/// use clipn_text::wordnet::LexFile;
///
/// let file: LexFile = "noun.animal".parse()?;
/// assert_eq!((file, file.number(), file.is_noun()), (LexFile::Animal, 5, true));
/// # Ok::<(), clipn_text::wordnet::WordNetError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
#[expect(missing_docs, reason = "the names are WordNet's")]
pub enum LexFile {
    Tops,
    Act,
    Animal,
    Artifact,
    Attribute,
    Body,
    Cognition,
    Communication,
    Event,
    Feeling,
    Food,
    Group,
    Location,
    Motive,
    Object,
    Person,
    Phenomenon,
    Plant,
    Possession,
    Process,
    Quantity,
    Relation,
    Shape,
    State,
    Substance,
    Time,
    AdjectiveAll,
    AdjectivePertainym,
    AdjectiveParticiple,
}

/// Files with WordNet's name and number.
const FILES: [(LexFile, &str, u8); 29] = [
    (LexFile::Tops, "noun.Tops", 3),
    (LexFile::Act, "noun.act", 4),
    (LexFile::Animal, "noun.animal", 5),
    (LexFile::Artifact, "noun.artifact", 6),
    (LexFile::Attribute, "noun.attribute", 7),
    (LexFile::Body, "noun.body", 8),
    (LexFile::Cognition, "noun.cognition", 9),
    (LexFile::Communication, "noun.communication", 10),
    (LexFile::Event, "noun.event", 11),
    (LexFile::Feeling, "noun.feeling", 12),
    (LexFile::Food, "noun.food", 13),
    (LexFile::Group, "noun.group", 14),
    (LexFile::Location, "noun.location", 15),
    (LexFile::Motive, "noun.motive", 16),
    (LexFile::Object, "noun.object", 17),
    (LexFile::Person, "noun.person", 18),
    (LexFile::Phenomenon, "noun.phenomenon", 19),
    (LexFile::Plant, "noun.plant", 20),
    (LexFile::Possession, "noun.possession", 21),
    (LexFile::Process, "noun.process", 22),
    (LexFile::Quantity, "noun.quantity", 23),
    (LexFile::Relation, "noun.relation", 24),
    (LexFile::Shape, "noun.shape", 25),
    (LexFile::State, "noun.state", 26),
    (LexFile::Substance, "noun.substance", 27),
    (LexFile::Time, "noun.time", 28),
    (LexFile::AdjectiveAll, "adj.all", 0),
    (LexFile::AdjectivePertainym, "adj.pert", 1),
    (LexFile::AdjectiveParticiple, "adj.ppl", 44),
];

impl LexFile {
    /// All files: nouns, then adjectives, each in the order of their names.
    pub fn all() -> impl ExactSizeIterator<Item = Self> {
        FILES.iter().map(|&(file, _, _)| file)
    }

    /// WordNet's number of the file.
    pub fn number(self) -> u8 {
        FILES[self as usize].2
    }

    /// WordNet's name of the file, such as `noun.animal`.
    pub fn name(self) -> &'static str {
        FILES[self as usize].1
    }

    /// Whether the file contains nouns; else it contains adjectives.
    pub fn is_noun(self) -> bool {
        self <= Self::Time
    }

    pub(super) fn from_number(number: u8) -> Option<Self> {
        FILES
            .iter()
            .find(|(_, _, known)| *known == number)
            .map(|&(file, _, _)| file)
    }
}

impl fmt::Display for LexFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for LexFile {
    type Err = WordNetError;

    fn from_str(name: &str) -> Result<Self, WordNetError> {
        Self::all()
            .find(|file| file.name() == name)
            .ok_or_else(|| WordNetError::UnknownLexFile {
                name: name.to_owned(),
            })
    }
}

impl TryFrom<String> for LexFile {
    type Error = WordNetError;

    fn try_from(name: String) -> Result<Self, WordNetError> {
        name.parse()
    }
}

impl From<LexFile> for String {
    fn from(file: LexFile) -> Self {
        file.name().to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_in_the_order_of_the_variants_and_of_the_names() {
        for (i, (file, name, number)) in FILES.into_iter().enumerate() {
            assert_eq!(file as usize, i);
            assert_eq!(LexFile::from_number(number), Some(file));
            assert_eq!(name.parse(), Ok(file));
            assert_eq!(file.is_noun(), name.starts_with("noun."));
        }
        let names: Vec<&str> = LexFile::all().map(LexFile::name).collect();
        assert!(names[..26].is_sorted() && names[26..].is_sorted());
    }

    #[test]
    fn rejects_unknown_names() {
        let error = "noun.tops".parse::<LexFile>().unwrap_err().to_string();
        assert_eq!(
            error,
            "unknown lexicographer file `noun.tops`; expected a name such as `noun.animal`"
        );
    }
}
