use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use clipn_checkpoint::Checkpoint;

use crate::unknown_name::UnknownName;
use crate::weights::TrainingVocabulary;

// Keys in the metadata of a safetensors file.
const TEMPLATES: &str = "templates";
const LOGIT_SCALE: &str = "logit_scale";
const TRAINING_VOCABULARY: &str = "seen_words";
const NO_SCALE: &str = "no_scale";

/// Factor from cosine similarities to logits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogitScale {
    /// 100, as in the published evaluation of every model.
    Published,
    /// `exp(logit_scale)` of the model, the factor of its training.
    Trained,
}

impl fmt::Display for LogitScale {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Published => "published",
            Self::Trained => "trained",
        })
    }
}

impl FromStr for LogitScale {
    type Err = UnknownName;

    fn from_str(name: &str) -> Result<Self, UnknownName> {
        match name {
            "published" => Ok(Self::Published),
            "trained" => Ok(Self::Trained),
            _ => Err(UnknownName::new(
                "logit scale",
                name,
                "published or trained",
            )),
        }
    }
}

/// Metadata that this project stores in its safetensors weights.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct WeightsMetadata {
    /// Name of the embedded template set that suits the model; `None` means the published set.
    pub templates: Option<String>,
    /// Logit scale that suits the model; `None` means the published scale.
    pub logit_scale: Option<LogitScale>,
    /// Words that occurred in training, for a model trained from scratch; `None` if unknown.
    pub training_vocabulary: Option<TrainingVocabulary>,
    /// Factor of the "no" logits over "yes" logits of the same cosine, with which "no" was trained;
    /// positive and finite. `None` means 1, as published.
    pub no_scale: Option<f64>,
}

impl WeightsMetadata {
    /// Reads the metadata of a file; missing or unknown values become `None`.
    pub fn from_checkpoint(checkpoint: &Checkpoint) -> Self {
        let text = |key: &str| checkpoint.metadata().get(key);
        Self {
            templates: text(TEMPLATES).map(str::to_owned),
            logit_scale: text(LOGIT_SCALE).and_then(|name| name.parse().ok()),
            training_vocabulary: text(TRAINING_VOCABULARY).map(TrainingVocabulary::parse),
            no_scale: text(NO_SCALE)
                .and_then(|value| value.parse().ok())
                .filter(|&factor: &f64| factor.is_finite() && factor > 0.0),
        }
    }

    /// Returns the metadata to write to a safetensors file.
    pub fn to_metadata(&self) -> BTreeMap<String, String> {
        let training_vocabulary = self
            .training_vocabulary
            .as_ref()
            .map(TrainingVocabulary::to_text);
        let entries = [
            (TEMPLATES, self.templates.clone()),
            (LOGIT_SCALE, self.logit_scale.map(|scale| scale.to_string())),
            (TRAINING_VOCABULARY, training_vocabulary),
            (NO_SCALE, self.no_scale.map(|factor| factor.to_string())),
        ];
        entries
            .into_iter()
            .filter_map(|(key, value)| Some((key.to_owned(), value?)))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use clipn_checkpoint::write_safetensors;

    use super::*;

    #[test]
    fn metadata_survives_a_round_trip() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.safetensors");
        let reopened = |metadata: &WeightsMetadata| {
            write_safetensors(&path, [], &metadata.to_metadata()).unwrap();
            let bytes = std::fs::read(&path).unwrap();
            WeightsMetadata::from_checkpoint(
                &Checkpoint::from_bytes(Path::new("a.safetensors"), bytes).unwrap(),
            )
        };
        let metadata = WeightsMetadata {
            templates: Some("simple".to_owned()),
            logit_scale: Some(LogitScale::Trained),
            training_vocabulary: Some(TrainingVocabulary::parse("a goldfish .")),
            no_scale: Some(2.3),
        };
        assert_eq!(reopened(&metadata), metadata);
        assert_eq!(
            reopened(&WeightsMetadata::default()),
            WeightsMetadata::default()
        );
    }
}
