use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use super::SeenWords;
use clipn_checkpoint::Checkpoint;

// Keys in the metadata of a safetensors file.
const TEMPLATES: &str = "templates";
const LOGIT_SCALE: &str = "logit_scale";
const SEEN_WORDS: &str = "seen_words";

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
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        match name {
            "published" => Ok(Self::Published),
            "trained" => Ok(Self::Trained),
            _ => Err(format!(
                "unknown logit scale `{name}`; expected published or trained"
            )),
        }
    }
}

/// Metadata that this project stores in its safetensors weights.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WeightsMetadata {
    /// Name of the embedded template set that suits the model; `None` means the published set.
    pub templates: Option<String>,
    /// Logit scale that suits the model; `None` means the published scale.
    pub logit_scale: Option<LogitScale>,
    /// Words that occurred in training, for a model trained from scratch; `None` if unknown.
    pub seen_words: Option<SeenWords>,
}

impl WeightsMetadata {
    /// Reads the metadata of a file; missing or unknown values become `None`.
    pub fn of(checkpoint: &Checkpoint) -> Self {
        let text = |key: &str| checkpoint.metadata().get(key);
        Self {
            templates: text(TEMPLATES).map(str::to_owned),
            logit_scale: text(LOGIT_SCALE).and_then(|name| name.parse().ok()),
            seen_words: text(SEEN_WORDS).map(SeenWords::parse),
        }
    }

    /// Returns the metadata to write to a safetensors file.
    pub fn to_metadata(&self) -> BTreeMap<String, String> {
        let seen_words = self.seen_words.as_ref().map(SeenWords::to_text);
        let notes = [
            (TEMPLATES, self.templates.clone()),
            (LOGIT_SCALE, self.logit_scale.map(|scale| scale.to_string())),
            (SEEN_WORDS, seen_words),
        ];
        notes
            .into_iter()
            .filter_map(|(key, note)| Some((key.to_owned(), note?)))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use clipn_checkpoint::write_safetensors;

    #[test]
    fn metadata_survives_a_round_trip() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.safetensors");
        let reopened = |notes: &WeightsMetadata| {
            write_safetensors(&path, [], &notes.to_metadata()).unwrap();
            let bytes = std::fs::read(&path).unwrap();
            WeightsMetadata::of(&Checkpoint::from_bytes(Path::new("a.safetensors"), bytes).unwrap())
        };
        let notes = WeightsMetadata {
            templates: Some("simple".to_owned()),
            logit_scale: Some(LogitScale::Trained),
            seen_words: Some(SeenWords::parse("a goldfish .")),
        };
        assert_eq!(reopened(&notes), notes);
        assert_eq!(
            reopened(&WeightsMetadata::default()),
            WeightsMetadata::default()
        );
    }
}
