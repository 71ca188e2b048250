use std::path::PathBuf;

use clipn_checkpoint::CheckpointError;
use clipn_model::ModelError;
use clipn_text::tokenizer::TokenizerError;
use thiserror::Error;

/// Error of choosing, encoding, storing or reading negatives.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum NegativesError {
    /// There are no words, or none is left.
    #[error("no negative words: {candidates} candidates, {chosen} chosen")]
    NoWords {
        /// Number of candidates.
        candidates: usize,
        /// Number of chosen words, 0.
        chosen: usize,
    },
    /// Every text of a user's list names a class.
    #[error("every text to reject names a class, such as `{first}`")]
    OnlyClassNames {
        /// The first text.
        first: String,
    },
    /// Another text tower encoded the words of a file.
    #[error("the negatives in {} were encoded by the text tower of other weights", path.display())]
    OtherTower {
        /// The file.
        path: PathBuf,
    },
    /// There are no classes to compare the candidates with.
    #[error("no classes")]
    NoClasses,
    /// There are no templates.
    #[error("no templates for the words")]
    NoTemplates,
    /// The values do not form one row per word.
    #[error("expected {rows} rows of dimension {dim} for {what}, got {found} values")]
    InvalidShape {
        /// What the values are.
        what: &'static str,
        /// Number of rows.
        rows: usize,
        /// Dimension of a row.
        dim: usize,
        /// Number of values.
        found: usize,
    },
    /// The groups are no partition of the negatives into groups of equal size.
    #[error("invalid groups of {words} negatives: {reason}")]
    InvalidGroups {
        /// Number of negatives.
        words: usize,
        /// The rule that is violated, with the values.
        reason: String,
    },
    /// A setting is out of range.
    #[error("{name} must be {expected}, got {value}")]
    InvalidSetting {
        /// Name of the setting.
        name: &'static str,
        /// Its range.
        expected: &'static str,
        /// The given value.
        value: String,
    },
    /// The text features of a word are NaN, infinite or zero.
    #[error("text features of the word `{word}` are not finite or zero")]
    NotFinite {
        /// The first such word.
        word: String,
    },
    /// A similarity of a candidate is NaN.
    #[error("similarities of {what} {index} are NaN or infinite")]
    SimilarityNotFinite {
        /// `noun` or `adjective`.
        what: &'static str,
        /// Index of the first such candidate.
        index: usize,
    },
    /// The name of a source is empty.
    #[error("the name of the negatives is empty")]
    EmptySource,
    /// The file does not contain negatives.
    #[error("no negatives in {}", path.display())]
    NotNegatives {
        /// The file.
        path: PathBuf,
    },
    /// The negatives have an unsupported format version.
    #[error("unsupported version of negatives in {}: expected {supported}, got {found}", path.display())]
    UnsupportedVersion {
        /// The file.
        path: PathBuf,
        /// Version in the file.
        found: u64,
        /// Supported version.
        supported: u64,
    },
    /// The content of the file is inconsistent.
    #[error("negatives in {} are corrupt: {reason}", path.display())]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// Description of the problem.
        reason: String,
    },
    /// The description of the negatives cannot be written as JSON.
    #[error("cannot serialize the description of the negatives")]
    Serialize {
        /// Error of the serializer.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The cache of word features cannot be read or written.
    #[error("cannot {action} the cache of word features {}", path.display())]
    Cache {
        /// What failed, such as `open`.
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// Error of the operating system.
        source: std::io::Error,
    },
    /// A file cannot be read or written.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The text tower rejected its input, or the dimensions differ.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The token ids do not form whole rows.
    #[error(transparent)]
    Tokens(#[from] TokenizerError),
    /// The work was cancelled.
    #[error("encoding the negative words was cancelled")]
    Cancelled,
}

impl NegativesError {
    /// What a caller can do about the error, if anything.
    pub fn hint(&self) -> Option<&'static str> {
        Some(match self {
            Self::NoWords { .. } => {
                "use a longer word list, or a larger fraction of it (`Choice::with_fraction`)"
            }
            Self::NotFinite { .. } | Self::SimilarityNotFinite { .. } => {
                "the weights are damaged; download or save them again"
            }
            Self::OnlyClassNames { .. } => "reject texts that name none of the classes",
            Self::OtherTower { .. } => "choose the negatives again, with these weights",
            Self::NotNegatives { .. } => "`Negatives::save` writes such a file",
            Self::UnsupportedVersion { .. } => "use a later version of clipn",
            Self::Corrupt { .. } => "choose the negatives again",
            Self::Cache { .. } => "use another cache directory, or none",
            _ => return None,
        })
    }
}
