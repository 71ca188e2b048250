//! The model that is built in.

use std::path::Path;

use super::Pretrained;
use crate::checkpoint::Checkpoint;
use crate::model::ModelError;

static MINI: &[u8] = include_bytes!("../../../../../assets/models/clipn-mini.safetensors");

impl Pretrained {
    /// The name of [`Pretrained::mini`].
    pub const MINI: &str = "clipn-mini";

    /// Whether the path is that name, which gives way to a file or folder so called.
    pub fn is_mini(path: &Path) -> bool {
        path == Path::new(Self::MINI) && !path.exists()
    }

    /// A small CLIPN that is built in, to begin with: it knows some two hundred everyday things and animals, see
    /// `assets/models/README.md`.
    ///
    /// # Errors
    /// None but what a damaged build would give.
    pub fn mini() -> Result<Self, ModelError> {
        let path = Path::new(Self::MINI);
        Ok(Self::of(Checkpoint::from_bytes(path, MINI.to_vec())?, path))
    }
}
