use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use crate::negatives::NegativesError;

/// Name of a source of negatives.
///
/// ```
/// use clipn_detect::negatives::NegativeSource;
///
/// let source: NegativeSource = "wordnet".parse()?;
/// assert_eq!((source.to_string(), source), ("wordnet".to_owned(), NegativeSource::WordNet));
/// let list = NegativeSource::list("a hand, an empty table");
/// assert_eq!(list, NegativeSource::List(vec!["a hand".into(), "an empty table".into()]));
/// # Ok::<(), clipn_detect::negatives::NegativesError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum NegativeSource {
    /// No negatives.
    None,
    /// The nouns and adjectives of WordNet that the classes do not cover: the default.
    WordNet,
    /// The published word list and rule of NegLabel.
    NegLabel,
    /// The published word list and rule of CSP.
    Csp,
    /// A file: one word a line, or negatives that [`Negatives::save`](super::Negatives::save) wrote.
    File(PathBuf),
    /// A user's own texts, each of them a negative.
    List(Vec<String>),
}

impl NegativeSource {
    /// Parses a user's own list: texts separated by commas. White space around a text, empty texts
    /// and repeated texts are dropped.
    pub fn list(texts: &str) -> Self {
        let mut list: Vec<String> = Vec::new();
        for text in texts.split(',').map(str::trim) {
            if !text.is_empty() && !list.iter().any(|known| known == text) {
                list.push(text.to_owned());
            }
        }
        Self::List(list)
    }
}

impl fmt::Display for NegativeSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("none"),
            Self::WordNet => f.write_str("wordnet"),
            Self::NegLabel => f.write_str("neglabel"),
            Self::Csp => f.write_str("csp"),
            Self::File(path) => path.display().fmt(f),
            Self::List(texts) => f.write_str(&texts.join(", ")),
        }
    }
}

impl FromStr for NegativeSource {
    type Err = NegativesError;

    /// Parses a name; any other text is the path of a file. [`list`](Self::list) parses a user's own
    /// list.
    fn from_str(name: &str) -> Result<Self, NegativesError> {
        Ok(match name {
            "" => return Err(NegativesError::EmptySource),
            "none" => Self::None,
            "wordnet" => Self::WordNet,
            "neglabel" => Self::NegLabel,
            "csp" => Self::Csp,
            path => Self::File(path.into()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_parsed_and_printed() {
        for name in ["none", "wordnet", "neglabel", "csp", "words/shop.txt"] {
            assert_eq!(name.parse::<NegativeSource>().unwrap().to_string(), name);
        }
        assert_eq!(
            "./csp".parse::<NegativeSource>().unwrap(),
            NegativeSource::File("./csp".into())
        );
        assert!("".parse::<NegativeSource>().is_err());
    }

    #[test]
    fn a_list_has_each_text_once() {
        let list = NegativeSource::list(" a hand,, packaging ,a hand");
        assert_eq!(list.to_string(), "a hand, packaging");
    }
}
