//! What rows depend on, kept beside them, so that a run goes on only under the settings that it was begun with.

use std::io;
use std::path::Path;

use serde_json::{Map, Value, json};

use super::outputs::Target;
use crate::common::error::CliError;

/// The version of the file of settings.
const FORMAT: u64 = 1;

/// How much of a value a message shows.
const SHOWN: usize = 60;

/// Settings by name.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings(Map<String, Value>);

impl Settings {
    pub fn new(settings: Map<String, Value>) -> Self {
        Self(settings)
    }

    /// Writes them, all or nothing.
    pub fn write(&self, path: &Path) -> Result<(), CliError> {
        let failed = |source| CliError::WriteRows {
            path: path.to_owned(),
            source,
        };
        let partial = super::outputs::beside(path, ".partial");
        let text = serde_json::to_string_pretty(&json!({ "format": FORMAT, "settings": self.0 }))?;
        std::fs::write(&partial, text + "\n").map_err(failed)?;
        std::fs::rename(&partial, path).map_err(failed)
    }

    /// Holds them against those that the output was begun with.
    pub fn check(&self, target: &Target) -> Result<(), CliError> {
        let refuse = |problem: String| {
            CliError::Usage(format!(
                "--resume: {}: {problem}, or begin anew with --force",
                target.path.display()
            ))
        };
        let stored = match std::fs::read(&target.settings) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(refuse(format!(
                    "{}, which tells what its rows depend on, is not there: put it back",
                    target.settings.display()
                )));
            }
            Err(source) => {
                return Err(CliError::ReadList {
                    path: target.settings.clone(),
                    source,
                });
            }
        };
        let stored: Value = serde_json::from_slice(&stored).map_err(|error| {
            refuse(format!(
                "{} is damaged ({error})",
                target.settings.display()
            ))
        })?;
        let Some(stored) = stored["settings"]
            .as_object()
            .filter(|_| stored["format"] == FORMAT)
        else {
            return Err(refuse(format!(
                "{} is of another version of clipn",
                target.settings.display()
            )));
        };
        let differing = self.differing(stored);
        if differing.is_empty() {
            return Ok(());
        }
        Err(refuse(format!(
            "it was begun with other settings ({}): give the same",
            differing.join("; ")
        )))
    }

    /// What is otherwise, in words.
    fn differing(&self, stored: &Map<String, Value>) -> Vec<String> {
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

fn difference(name: &str, was: Option<&Value>, is: Option<&Value>) -> String {
    let shown = |value: Option<&Value>| {
        let text = value.map_or_else(|| "not there".to_owned(), Value::to_string);
        match text.char_indices().nth(SHOWN) {
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

    fn settings(value: &Value) -> Settings {
        Settings(value.as_object().unwrap().clone())
    }

    #[test]
    fn what_differs_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let target = Target::new(folder.path().join("a.csv"), None).unwrap();
        let was = settings(
            &json!({ "threshold": 0.3, "classes": ["a", "b"], "names": "x".repeat(99) + "a" }),
        );
        assert!(
            was.check(&target)
                .unwrap_err()
                .to_string()
                .contains("is not there")
        );
        was.write(&target.settings).unwrap();
        was.check(&target).unwrap();
        let is = settings(
            &json!({ "threshold": 0.5, "classes": ["a", "b"], "names": "x".repeat(99) + "b", "more": 1 }),
        );
        let message = is.check(&target).unwrap_err().to_string();
        for difference in [
            "threshold was 0.3 and is 0.5",
            "names differs",
            "more was not there and is 1",
        ] {
            assert!(message.contains(difference), "{message}");
        }
        assert!(!message.contains("classes"), "{message}");
        std::fs::write(&target.settings, "{").unwrap();
        assert!(
            was.check(&target)
                .unwrap_err()
                .to_string()
                .contains("damaged")
        );
        std::fs::write(&target.settings, "{\"format\": 9}").unwrap();
        assert!(
            was.check(&target)
                .unwrap_err()
                .to_string()
                .contains("another version")
        );
    }
}
