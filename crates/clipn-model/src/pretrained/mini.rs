//! The demonstration model that is embedded with the feature `mini`.

use std::path::Path;

use super::Pretrained;
#[cfg(feature = "mini")]
use crate::ModelError;

impl Pretrained {
    /// Name of the demonstration model.
    pub const MINI: &str = "clipn-mini";

    /// Whether this build contains the demonstration model.
    pub const HAS_MINI: bool = cfg!(feature = "mini");

    /// Whether the path is [`MINI`](Self::MINI) and names the embedded model: a file or directory of
    /// that name has precedence, and a build without the feature `mini` has none.
    pub fn is_builtin_name(path: &Path) -> bool {
        Self::HAS_MINI && path == Path::new(Self::MINI) && !path.exists()
    }

    /// Opens the embedded demonstration model. It knows some two hundred everyday things and animals;
    /// its card is the README of the crate `clipn-mini`. The weights are for research only.
    ///
    /// # Errors
    /// [`ModelError::Checkpoint`] if the build is damaged.
    #[cfg(feature = "mini")]
    pub fn mini() -> Result<Self, ModelError> {
        let path = Path::new(Self::MINI);
        let bytes = clipn_mini::SAFETENSORS.to_vec();
        Ok(Self::of(
            clipn_checkpoint::Checkpoint::from_bytes(path, bytes)?,
            path,
        ))
    }
}
