//! Search for the weights that a bundle names.

use std::path::{Path, PathBuf};

use super::DetectorError;
use crate::bundle::Bundle;
use clipn_model::{Pretrained, Weights};

/// Finds the weights of a bundle that was read from `at`. Candidates are the path that the bundle
/// names, that path relative to the directory of the bundle, and a file of that name in that
/// directory. Returns `clipn-mini` for the built-in weights, and `None` if there are no weights.
pub fn weights_path(bundle: &Bundle, at: &Path) -> Option<PathBuf> {
    let source = bundle.identity().source.as_deref()?;
    let named = PathBuf::from(source);
    let folder = at.parent().unwrap_or(Path::new(""));
    let sibling = named.file_name().map(|name| folder.join(name));
    let candidates = [Some(named.clone()), Some(folder.join(&named)), sibling]
        .into_iter()
        .flatten();
    candidates
        .into_iter()
        .find(|path| path.exists())
        .or_else(|| (source == Pretrained::MINI).then_some(named))
}

/// Opens the weights that a bundle names.
pub(super) fn find(bundle: &Bundle, at: &Path) -> Result<Weights, DetectorError> {
    let config = bundle.identity().config.clone();
    let Some(path) = weights_path(bundle, at) else {
        let source_name = bundle.identity().source.clone();
        return Err(DetectorError::NoModel {
            bundle: at.to_owned(),
            source_name,
        });
    };
    let pretrained = Pretrained::open(&path)?;
    Ok(pretrained.weights(Some(config))?)
}
