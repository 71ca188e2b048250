//! Where the weights of a bundle are.

use std::path::{Path, PathBuf};

use super::DetectorError;
use crate::bundle::Bundle;
use crate::model::{Pretrained, Weights};

/// The weights that a bundle names: the built-in ones, a path, or that path beside the bundle.
pub(super) fn find(bundle: &Bundle, at: &Path) -> Result<Weights, DetectorError> {
    let config = bundle.identity().config.clone();
    let source = bundle.identity().source.as_deref();
    let pretrained = match source {
        Some(Pretrained::MINI) => Pretrained::mini()?,
        _ => match source.and_then(|source| existing(source, at)) {
            Some(path) => Pretrained::open(&path)?,
            None => {
                let source_name = source.map(str::to_owned);
                return Err(DetectorError::NoModel { bundle: at.to_owned(), source_name });
            }
        },
    };
    Ok(pretrained.weights(Some(config))?)
}

fn existing(source: &str, bundle: &Path) -> Option<PathBuf> {
    let given = PathBuf::from(source);
    let folder = bundle.parent().unwrap_or(Path::new(""));
    let name = given.file_name().map(|name| folder.join(name));
    [Some(given.clone()), Some(folder.join(&given)), name].into_iter().flatten().find(|path| path.exists())
}
