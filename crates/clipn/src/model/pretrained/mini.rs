//! The built-in model.

use std::path::Path;

use super::Pretrained;
use crate::checkpoint::Checkpoint;
use crate::model::ModelError;

static MINI: &[u8] = include_bytes!("../../../../../assets/models/clipn-mini.safetensors");

impl Pretrained {
    /// Name of the built-in model, see [`Pretrained::mini`].
    pub const MINI: &str = "clipn-mini";

    /// Returns whether the path is [`Pretrained::MINI`] and no file or directory has that name.
    pub fn is_mini(path: &Path) -> bool {
        path == Path::new(Self::MINI) && !path.exists()
    }

    /// Opens the built-in model, a small CLIPN for first experiments. It knows about two hundred
    /// everyday objects and animals; see `assets/models/README.md`.
    ///
    /// # Errors
    /// [`ModelError::Checkpoint`] only if the build is damaged.
    pub fn mini() -> Result<Self, ModelError> {
        let path = Path::new(Self::MINI);
        Ok(Self::of(Checkpoint::from_bytes(path, MINI.to_vec())?, path))
    }
}
