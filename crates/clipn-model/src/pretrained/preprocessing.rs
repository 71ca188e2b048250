use crate::ModelError;
use clipn_image::Preprocessing;

/// Returns the preprocessing if it is valid.
pub(super) fn checked(
    origin: &str,
    preprocessing: Preprocessing,
) -> Result<Preprocessing, ModelError> {
    match preprocessing.validate() {
        Ok(()) => Ok(preprocessing),
        Err(error) => Err(ModelError::BadConfig {
            origin: origin.to_owned(),
            reason: error.to_string(),
        }),
    }
}
