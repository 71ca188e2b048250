/// Errors for names that WordNet or clipn does not have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WordNetError {
    /// No corpus has this name.
    #[error("unknown corpus `{name}`; expected one of {known}")]
    UnknownCorpus {
        /// Unknown name.
        name: String,
        /// Known names, separated by commas.
        known: String,
    },
    /// No lexicographer file of nouns or adjectives has this name.
    #[error("unknown lexicographer file `{name}`; expected a name such as `noun.animal`")]
    UnknownLexFile {
        /// Unknown name.
        name: String,
    },
}
