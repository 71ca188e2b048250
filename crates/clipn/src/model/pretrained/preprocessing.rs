use std::path::Path;

use crate::image::Preprocessing;
use crate::model::ModelError;

/// The preprocessing, where it can be carried out.
pub(super) fn checked(path: &Path, preprocessing: Preprocessing) -> Result<Preprocessing, ModelError> {
    match preprocessing.check() {
        Ok(()) => Ok(preprocessing),
        Err(error) => {
            Err(ModelError::BadConfig { origin: path.display().to_string(), reason: error.to_string() })
        }
    }
}
