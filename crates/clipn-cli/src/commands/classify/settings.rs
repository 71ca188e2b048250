//! The settings that rows depend on. They are kept beside the rows, so that a run resumes only with
//! the settings that it started with.

use std::io;
use std::path::Path;

use serde_json::{Map, Value, json};

use crate::common::error::CliError;

/// Version of the settings file.
const FORMAT: u64 = 1;

/// Maximum number of characters of a value in a message.
const MAX_VALUE_CHARS: usize = 60;

/// Settings by name.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct RunSettings(Map<String, Value>);

impl RunSettings {
    pub(crate) fn new(settings: Map<String, Value>) -> Self {
        Self(settings)
    }

    /// Writes the settings atomically.
    pub(crate) fn write(&self, path: &Path) -> Result<(), CliError> {
        let failed = |source| CliError::WriteFile {
            path: path.to_owned(),
            source,
        };
        let text = serde_json::to_string_pretty(&json!({ "format": FORMAT, "settings": self.0 }))?;
        clipn::files::replace(path, text + "\n").map_err(failed)
    }

    /// Compares the settings with those in the file `settings`, with which the output was started.
    pub(crate) fn check(&self, output: &Path, settings: &Path) -> Result<(), CliError> {
        let mismatch = |problem: String, advice: &str| {
            CliError::usage_with_hint(
                format!("cannot resume {}: {problem}", output.display()),
                format!("{advice}start over with --force"),
            )
        };
        let stored = match std::fs::read(settings) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(mismatch(
                    format!("its settings file {} is missing", settings.display()),
                    "put the file back, or ",
                ));
            }
            Err(source) => {
                return Err(CliError::ReadFile {
                    path: settings.to_owned(),
                    source,
                });
            }
        };
        let stored: Value = serde_json::from_slice(&stored).map_err(|error| {
            mismatch(format!("{} is damaged ({error})", settings.display()), "")
        })?;
        let Some(stored) = stored["settings"]
            .as_object()
            .filter(|_| stored["format"] == FORMAT)
        else {
            return Err(mismatch(
                format!("{} is of another version of clipn", settings.display()),
                "",
            ));
        };
        let differences = self.differences(stored);
        if differences.is_empty() {
            return Ok(());
        }
        Err(mismatch(
            format!(
                "it was started with other settings: {}",
                differences.join("; ")
            ),
            "give the same settings, or ",
        ))
    }

    /// The differences, in words.
    fn differences(&self, stored: &Map<String, Value>) -> Vec<String> {
        let names = self
            .0
            .keys()
            .chain(stored.keys().filter(|name| !self.0.contains_key(*name)));
        let (was, is) = (
            |name: &String| stored.get(name),
            |name: &String| self.0.get(name),
        );
        names
            .filter(|name| was(name) != is(name))
            .map(|name| difference(name, was(name), is(name)))
            .collect()
    }
}

/// Names of settings that are part of the file format, and the words that messages have for them.
const SHOWN: [(&str, &str); 2] = [
    ("classes told", "--top"),
    ("calibration pictures", "number of calibration images"),
];

fn difference(name: &str, was: Option<&Value>, is: Option<&Value>) -> String {
    let shown = SHOWN.iter().find(|(stored, _)| *stored == name);
    let name = shown.map_or(name, |(_, shown)| *shown);
    let shown = |value: Option<&Value>| {
        let text = value.map_or_else(|| "not set".to_owned(), Value::to_string);
        match text.char_indices().nth(MAX_VALUE_CHARS) {
            Some((end, _)) => format!("{}…", &text[..end]),
            None => text,
        }
    };
    let (was, is) = (shown(was), shown(is));
    if was == is {
        format!("{name} differs")
    } else {
        format!("{name} was {was} and is {is}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::classify::outputs::Target;

    fn settings(value: &Value) -> RunSettings {
        RunSettings(value.as_object().unwrap().clone())
    }

    #[test]
    fn names_the_settings_that_differ() {
        let folder = tempfile::tempdir().unwrap();
        let target = Target::new(folder.path().join("a.csv"), None).unwrap();
        let was = settings(
            &json!({ "threshold": 0.3, "classes": ["a", "b"], "names": "x".repeat(99) + "a" }),
        );
        assert!(
            was.check(&target.path, &target.settings)
                .unwrap_err()
                .to_string()
                .contains("is missing")
        );
        was.write(&target.settings).unwrap();
        was.check(&target.path, &target.settings).unwrap();
        let is = settings(
            &json!({ "threshold": 0.5, "classes": ["a", "b"], "names": "x".repeat(99) + "b", "more": 1 }),
        );
        let message = is
            .check(&target.path, &target.settings)
            .unwrap_err()
            .to_string();
        for difference in [
            "threshold was 0.3 and is 0.5",
            "names differs",
            "more was not set and is 1",
        ] {
            assert!(message.contains(difference), "{message}");
        }
        assert!(!message.contains("classes"), "{message}");
        std::fs::write(&target.settings, "{").unwrap();
        assert!(
            was.check(&target.path, &target.settings)
                .unwrap_err()
                .to_string()
                .contains("damaged")
        );
        std::fs::write(&target.settings, "{\"format\": 9}").unwrap();
        assert!(
            was.check(&target.path, &target.settings)
                .unwrap_err()
                .to_string()
                .contains("another version")
        );
    }
}
