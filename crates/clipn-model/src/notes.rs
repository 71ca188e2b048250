use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use super::SeenWords;
use clipn_checkpoint::Checkpoint;

/// The keys in a safetensors file's metadata.
const TEMPLATES: &str = "templates";
const LOGIT_SCALE: &str = "logit_scale";
const SEEN_WORDS: &str = "seen_words";

/// Which factor stands between cosines and logits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogitScale {
    /// 100, as the published evaluation has it for every model.
    Published,
    /// exp(logit_scale) of the model, with which it was trained.
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
                "`{name}` is no scale of logits; give published or trained"
            )),
        }
    }
}

/// What a weights file of this project tells beside its tensors, in the metadata of the safetensors file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WeightsNotes {
    /// The embedded set of templates that suits the model; none means the published one.
    pub templates: Option<String>,
    /// The factor between cosines and logits that suits the model; none means the published one.
    pub logit_scale: Option<LogitScale>,
    /// The words that it has read, where it was trained from nothing; none where nobody knows.
    pub seen_words: Option<SeenWords>,
}

impl WeightsNotes {
    /// Reads the notes of a file; empty ones where it has none.
    pub fn of(checkpoint: &Checkpoint) -> Self {
        let text = |key: &str| checkpoint.metadata().get(key);
        Self {
            templates: text(TEMPLATES).cloned(),
            logit_scale: text(LOGIT_SCALE).and_then(|name| name.parse().ok()),
            seen_words: text(SEEN_WORDS).map(|words| SeenWords::parse(words)),
        }
    }

    /// The notes as a safetensors file's metadata.
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
    fn notes_come_back_as_they_were_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.safetensors");
        let reopened = |notes: &WeightsNotes| {
            write_safetensors(&path, [], &notes.to_metadata()).unwrap();
            let bytes = std::fs::read(&path).unwrap();
            WeightsNotes::of(&Checkpoint::from_bytes(Path::new("a.safetensors"), bytes).unwrap())
        };
        let notes = WeightsNotes {
            templates: Some("simple".to_owned()),
            logit_scale: Some(LogitScale::Trained),
            seen_words: Some(SeenWords::parse("a goldfish .")),
        };
        assert_eq!(reopened(&notes), notes);
        assert_eq!(reopened(&WeightsNotes::default()), WeightsNotes::default());
    }
}
