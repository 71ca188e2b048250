//! The demonstration model, which the feature `mini` embeds.

use std::path::Path;

use crate::error::ModelError;
use crate::pretrained::PretrainedWeights;

impl PretrainedWeights {
    /// Name of the demonstration model.
    pub const MINI: &str = "clipn-mini";

    /// Whether this build contains the demonstration model.
    pub const HAS_MINI: bool = cfg!(feature = "mini");

    /// Returns whether the path is [`MINI`](Self::MINI) and names the embedded model: a file or
    /// directory of that name has precedence. A build without the feature `mini` knows the name too,
    /// but [`open`](Self::open) then returns [`ModelError::MiniNotEmbedded`].
    pub fn is_builtin_name(path: impl AsRef<Path>) -> bool {
        let path = path.as_ref();
        path == Path::new(Self::MINI) && !path.exists()
    }

    /// Opens the embedded demonstration model. It knows some two hundred everyday things and
    /// animals; its card is the README of the crate `clipn-mini`. The weights are for research only.
    ///
    /// # Errors
    /// [`ModelError::MiniNotEmbedded`] in a build without the feature `mini`,
    /// [`ModelError::Checkpoint`] if the build is damaged.
    #[cfg(feature = "mini")]
    pub fn mini() -> Result<Self, ModelError> {
        let path = Path::new(Self::MINI);
        let bytes = clipn_mini::SAFETENSORS.to_vec();
        Ok(Self::from_checkpoint(
            clipn_checkpoint::Checkpoint::from_bytes(path, bytes)?,
            path,
        ))
    }

    /// Returns [`ModelError::MiniNotEmbedded`]: the feature `mini` embeds the demonstration model.
    ///
    /// # Errors
    /// Always.
    #[cfg(not(feature = "mini"))]
    pub fn mini() -> Result<Self, ModelError> {
        Err(ModelError::MiniNotEmbedded { name: Self::MINI })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::ModelConfig;

    #[test]
    fn the_name_of_the_demonstration_model_opens_it_or_says_that_it_is_missing() {
        assert!(PretrainedWeights::is_builtin_name("clipn-mini"));
        let opened = PretrainedWeights::open(PretrainedWeights::MINI);
        let config = ModelConfig::resolve(PretrainedWeights::MINI);
        if PretrainedWeights::HAS_MINI {
            assert_eq!(opened.unwrap().config().unwrap(), Some(config.unwrap()));
            return;
        }
        for error in [opened.unwrap_err(), config.unwrap_err()] {
            assert!(
                matches!(error, ModelError::MiniNotEmbedded { name: "clipn-mini" }),
                "{error}"
            );
            assert_eq!(
                error.to_string(),
                "the model `clipn-mini` is not in this build, \
                 which was compiled without the feature `mini`"
            );
        }
    }
}
