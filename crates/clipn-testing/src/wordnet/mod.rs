//! Generator of `clipn-text`'s word list from the database files of WordNet 3.0, as Debian's package
//! `wordnet-base` has them. `scripts/wordnet.sh` downloads the package and runs it.

mod asset;
mod source;

use std::path::{Path, PathBuf};

pub use asset::encode;
pub use source::{Adjective, NounSynset, Source, sha256};

/// Directory of WordNet's database files: `CLIPN_WORDNET`, or else `/usr/share/wordnet`. If it does
/// not contain the files of Debian's package, prints the reason and returns `None`.
pub fn database() -> Option<PathBuf> {
    let directory = std::env::var_os("CLIPN_WORDNET")
        .map_or_else(|| PathBuf::from("/usr/share/wordnet"), PathBuf::from);
    match Source::check(&directory) {
        Ok(()) => Some(directory),
        Err(reason) => {
            eprintln!(
                "skipped: {reason}; set CLIPN_WORDNET to the directory that \
                 `scripts/wordnet.sh fetch DIR` prints"
            );
            None
        }
    }
}

/// Generates the word list from the database files in a directory.
///
/// # Errors
/// A file is missing or is not that of Debian's package.
pub fn generate(directory: &Path) -> Result<Vec<u8>, String> {
    Source::read(directory).map(|source| encode(&source))
}
