//! The embedded architectures: open_clip's `model_configs`, as JSON.

use crate::config::ModelConfig;
use crate::error::ModelError;

/// Pairs each name with the config in `assets/model_configs`.
macro_rules! embedded {
    ($($name:literal)*) => {
        &[$(($name, include_str!(concat!("../../assets/model_configs/", $name, ".json")))),*]
    };
}

/// Name and open_clip config of each embedded architecture.
const EMBEDDED: &[(&str, &str)] = embedded![
    "ViT-S-32"
    "ViT-S-32-alt"
    "ViT-S-16"
    "ViT-S-16-alt"
    "ViT-M-32"
    "ViT-M-32-alt"
    "ViT-M-16"
    "ViT-B-32"
    "ViT-B-32-quickgelu"
    "ViT-B-32-256"
    "ViT-B-32-plus-256"
    "ViT-B-16"
    "ViT-B-16-quickgelu"
    "ViT-B-16-plus"
    "ViT-B-16-plus-240"
    "ViT-L-14"
    "ViT-L-14-quickgelu"
    "ViT-L-14-280"
    "ViT-L-14-336"
    "ViT-L-14-336-quickgelu"
    "ViT-L-16"
    "ViT-L-16-320"
    "ViT-L-16-384"
    "ViT-H-14"
    "ViT-H-14-quickgelu"
    "ViT-H-14-378"
    "ViT-H-14-378-quickgelu"
    "ViT-H-16"
    "ViT-g-14"
    "ViT-bigG-14"
    "ViT-bigG-14-quickgelu"
    "ViT-e-14"
    "RN50"
    "RN50-quickgelu"
    "RN101"
    "RN101-quickgelu"
    "RN50x4"
    "RN50x4-quickgelu"
    "RN50x16"
    "RN50x16-quickgelu"
    "RN50x64"
    "RN50x64-quickgelu"
];

impl ModelConfig {
    /// Returns the names of the embedded architectures, such as `ViT-B-32`.
    pub fn embedded_names() -> impl Iterator<Item = &'static str> {
        EMBEDDED.iter().map(|(name, _)| *name)
    }

    /// Returns an embedded architecture by open_clip's name; `ViT-B-16` and `ViT-B/16` are both
    /// accepted.
    ///
    /// # Errors
    /// [`ModelError::UnknownModel`] if no embedded architecture has this name.
    pub fn embedded(name: &str) -> Result<Self, ModelError> {
        let wanted = name.replace('/', "-");
        match EMBEDDED
            .iter()
            .find(|(known, _)| known.eq_ignore_ascii_case(&wanted))
        {
            Some((known, json)) => Self::from_json(known, known, json),
            None => Err(ModelError::UnknownModel {
                name: name.to_owned(),
                known: Self::embedded_names().collect::<Vec<_>>().join(", "),
            }),
        }
    }

    /// Renames the config to the embedded architecture that equals it, if there is one.
    pub(crate) fn with_embedded_name(mut self) -> Self {
        let same = |name: &&str| {
            Self::embedded(name).is_ok_and(|known| {
                Self {
                    name: self.name.clone(),
                    ..known
                } == self
            })
        };
        if let Some(name) = Self::embedded_names().find(same) {
            name.clone_into(&mut self.name);
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Activation;

    #[test]
    fn every_embedded_architecture_parses() {
        for name in ModelConfig::embedded_names() {
            let config = ModelConfig::embedded(name).unwrap();
            assert_eq!(
                config.activation == Activation::QuickGelu,
                name.ends_with("quickgelu"),
                "{name}"
            );
            let v = &config.vision;
            let width = if v.stages.is_some() {
                v.pooled_width()
            } else {
                v.width
            };
            assert_eq!(width % v.heads, 0, "{name}");
            assert_eq!(v.stages.is_some(), name.starts_with("RN"), "{name}");
        }
        let giant = ModelConfig::embedded("ViT-g-14").unwrap();
        assert_eq!((giant.vision.heads, giant.vision.mlp_width), (16, 6144));
    }

    #[test]
    fn resnet_configs_have_the_published_sizes() {
        let sizes = |name| {
            let ModelConfig {
                embed_dim,
                vision: v,
                ..
            } = ModelConfig::embedded(name).unwrap();
            (
                v.stages.unwrap(),
                v.width,
                v.heads,
                v.grid(),
                v.pooled_width(),
                embed_dim,
            )
        };
        assert_eq!(sizes("RN50"), ([3, 4, 6, 3], 64, 32, 7, 2048, 1024));
        assert_eq!(
            sizes("RN50x4-quickgelu"),
            ([4, 6, 10, 6], 80, 40, 9, 2560, 640)
        );
        assert_eq!(sizes("RN50x64"), ([3, 15, 36, 10], 128, 64, 14, 4096, 1024));
    }

    #[test]
    fn accepts_a_slash_in_a_name() {
        assert_eq!(ModelConfig::embedded("ViT-B/16").unwrap().name, "ViT-B-16");
    }

    #[test]
    fn the_error_for_an_unknown_name_lists_the_known_ones() {
        let error = ModelConfig::embedded("ViT-X").unwrap_err().to_string();
        assert!(
            error.contains("ViT-X") && error.contains("ViT-B-32"),
            "{error}"
        );
    }
}
