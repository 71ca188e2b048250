//! Where the weights of a bundle are.

use std::path::{Path, PathBuf};

use super::DetectorError;
use crate::bundle::Bundle;
use clipn_model::{Pretrained, Weights};

/// Where the weights of a bundle at `at` are on this machine: `clipn-mini` for the built-in ones, the path that the bundle
/// names, or that path or file beside the bundle; `None` where there is nothing.
pub fn weights_path(bundle: &Bundle, at: &Path) -> Option<PathBuf> {
    let source = bundle.identity().source.as_deref()?;
    let given = PathBuf::from(source);
    let folder = at.parent().unwrap_or(Path::new(""));
    let beside = given.file_name().map(|name| folder.join(name));
    let found = [Some(given.clone()), Some(folder.join(&given)), beside]
        .into_iter()
        .flatten();
    found
        .into_iter()
        .find(|path| path.exists())
        .or_else(|| (source == Pretrained::MINI).then_some(given))
}

/// The weights that a bundle names.
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
