//! Recipe files: commands of this program that build on each other, in TOML.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use toml::Value;

use crate::common::error::CliError;

/// Steps in the order in which they run.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    /// What it is for, in a sentence or two.
    #[serde(default)]
    pub description: String,
    /// Values that steps refer to as `{name}` and that `--set` changes.
    #[serde(default)]
    variables: toml::Table,
    pub steps: Vec<Step>,
    #[serde(skip)]
    path: PathBuf,
}

/// One command.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Step {
    /// What other steps call it; the run's name where it trains.
    pub name: String,
    /// What it does, told when it begins.
    #[serde(default)]
    pub about: String,
    /// A command of this program.
    pub command: String,
    /// What stands after the command without a flag before it.
    #[serde(default)]
    pub arguments: Vec<String>,
    /// Options without their dashes; `true` for those that take no value, a list for those that are given again.
    #[serde(default)]
    pub flags: toml::Table,
}

/// What placeholders stand for.
#[derive(Debug, Clone)]
pub struct Places {
    values: BTreeMap<String, String>,
    /// The names of all steps.
    steps: Vec<String>,
    origin: String,
}

impl Recipe {
    /// Reads a recipe.
    pub fn read(path: &Path) -> Result<Self, CliError> {
        let text = std::fs::read_to_string(path).map_err(|source| CliError::ReadRecipe {
            path: path.to_owned(),
            source,
        })?;
        let mut recipe: Self = toml::from_str(&text)
            .map_err(|error| bad(path, error.to_string().trim_end().replace('\n', " ")))?;
        path.clone_into(&mut recipe.path);
        if recipe.steps.is_empty() {
            return Err(bad(path, "it has no steps".to_owned()));
        }
        for (index, step) in recipe.steps.iter().enumerate() {
            if step.name.is_empty() || step.name.contains(['/', '\\', '{', '}']) {
                return Err(bad(
                    path,
                    format!(
                        "`{}` is no name for a step; use letters and dashes",
                        step.name
                    ),
                ));
            }
            if recipe.steps[..index]
                .iter()
                .any(|other| other.name == step.name)
            {
                return Err(bad(
                    path,
                    format!(
                        "two steps are called `{}`; give each its own name",
                        step.name
                    ),
                ));
            }
        }
        Ok(recipe)
    }

    /// What `{recipe}`, `{data}`, `{output}` and the variables stand for; `set` changes variables, as `name=value`.
    pub fn places(&self, data: &Path, output: &Path, set: &[String]) -> Result<Places, CliError> {
        let folder = self.path.parent().unwrap_or(Path::new(""));
        let folder = if folder.as_os_str().is_empty() {
            Path::new(".")
        } else {
            folder
        };
        let own = [("recipe", folder), ("data", data), ("output", output)];
        let values = own
            .into_iter()
            .map(|(name, path)| (name.to_owned(), path.display().to_string()))
            .collect();
        let steps = self.steps.iter().map(|step| step.name.clone()).collect();
        let mut places = Places {
            values,
            steps,
            origin: self.path.display().to_string(),
        };
        let mut changes = BTreeMap::new();
        for change in set {
            match change.split_once('=') {
                Some((name, value)) if self.variables.contains_key(name) => {
                    changes.insert(name, value.to_owned());
                }
                Some((name, _)) => {
                    let known: Vec<&str> = self.variables.keys().map(String::as_str).collect();
                    return Err(CliError::Usage(format!(
                        "--set {name}: the recipe has no such variable; it has: {}",
                        known.join(", ")
                    )));
                }
                None => {
                    return Err(CliError::Usage(format!(
                        "--set {change}: write it as name=value"
                    )));
                }
            }
        }
        for (name, default) in &self.variables {
            if places.values.contains_key(name) {
                return Err(bad(
                    &self.path,
                    format!("the variable `{name}` has a name that is taken; choose another"),
                ));
            }
            let value = match changes.remove(name.as_str()) {
                Some(value) => value,
                None => places.fill(&plain(default).ok_or_else(|| {
                    bad(
                        &self.path,
                        format!("the variable `{name}` must be a text, a number or true or false"),
                    )
                })?)?,
            };
            places.values.insert(name.clone(), value);
        }
        Ok(places)
    }
}

impl Places {
    /// Lets later steps refer to what a step has made, as `{name}`.
    pub fn learn(&mut self, step: &str, path: &Path) {
        self.values
            .insert(step.to_owned(), path.display().to_string());
    }

    /// A text with its placeholders filled. Braces that hold no name, as those of `train-{000..039}.tar`, stay.
    fn fill(&self, text: &str) -> Result<String, CliError> {
        let mut filled = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(start) = rest.find('{') {
            let (before, braced) = rest.split_at(start);
            filled.push_str(before);
            let Some(end) = braced.find('}') else {
                rest = braced;
                break;
            };
            let name = &braced[1..end];
            let is_name = !name.is_empty()
                && name
                    .chars()
                    .all(|c| c.is_alphanumeric() || "-_".contains(c));
            match self.values.get(name) {
                Some(value) => filled.push_str(value),
                None if is_name => {
                    let reason = match self.steps.iter().any(|step| step == name) {
                        true => format!(
                            "`{{{name}}}` in `{text}` is a step that has made nothing yet; run it first"
                        ),
                        false => format!(
                            "`{{{name}}}` in `{text}` is neither a variable nor a step, nor recipe, data or output"
                        ),
                    };
                    return Err(CliError::BadRecipe {
                        origin: self.origin.clone(),
                        reason,
                    });
                }
                None => filled.push_str(&braced[..=end]),
            }
            rest = &braced[end + 1..];
        }
        filled.push_str(rest);
        Ok(filled)
    }

    /// A step as arguments of the program.
    pub fn arguments(&self, step: &Step) -> Result<Vec<String>, CliError> {
        let mut arguments = vec![step.command.clone()];
        for (flag, value) in &step.flags {
            let values = match value {
                Value::Array(values) => &values[..],
                one => std::slice::from_ref(one),
            };
            for value in values {
                match value {
                    Value::Boolean(true) => arguments.push(format!("--{flag}")),
                    Value::Boolean(false) => {}
                    value => {
                        let text = plain(value).ok_or_else(|| CliError::BadRecipe {
                            origin: self.origin.clone(),
                            reason: format!(
                                "`{flag}` of the step `{}` must be a text, a number, true or a list of them",
                                step.name
                            ),
                        })?;
                        arguments.extend([format!("--{flag}"), self.fill(&text)?]);
                    }
                }
            }
        }
        for argument in &step.arguments {
            arguments.push(self.fill(argument)?);
        }
        Ok(arguments)
    }
}

/// A value that an option can have.
fn plain(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Integer(_) | Value::Float(_) | Value::Boolean(_) => Some(value.to_string()),
        _ => None,
    }
}

fn bad(path: &Path, reason: String) -> CliError {
    CliError::BadRecipe {
        origin: path.display().to_string(),
        reason,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recipe(text: &str) -> Result<Recipe, CliError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("r.toml");
        std::fs::write(&path, text).unwrap();
        Recipe::read(&path)
    }

    const SMALL: &str = r#"
        [variables]
        epochs = 3
        shards = "{data}/train-{000..039}.tar"
        [[steps]]
        name = "clip"
        command = "train"
        flags = { train-data = "{shards}", lr = 1e-3, epochs = "{epochs}", no = [1, "a{output}"], yes = true, off = false }
        arguments = ["{recipe}/x"]
    "#;

    #[test]
    fn placeholders_are_filled() {
        let recipe = recipe(SMALL).unwrap();
        let places = recipe
            .places(Path::new("D"), Path::new("O"), &["epochs=7".to_owned()])
            .unwrap();
        let folder = recipe.path.parent().unwrap().display();
        assert_eq!(
            places.arguments(&recipe.steps[0]).unwrap().join(" "),
            format!(
                "train --epochs 7 --lr 0.001 --no 1 --no aO --train-data D/train-{{000..039}}.tar --yes {folder}/x"
            )
        );
    }

    #[test]
    fn what_a_step_made_is_known_after_it() {
        let text =
            "[[steps]]\nname = \"b\"\ncommand = \"eval\"\nflags = { pretrained = \"{clip}\" }";
        let recipe = recipe(text).unwrap();
        let mut places = recipe.places(Path::new(""), Path::new(""), &[]).unwrap();
        let error = places.arguments(&recipe.steps[0]).unwrap_err().to_string();
        assert!(
            error.contains("neither a variable nor a step") && error.contains("r.toml"),
            "{error}"
        );
        places.learn("clip", Path::new("w.safetensors"));
        assert_eq!(
            places.arguments(&recipe.steps[0]).unwrap(),
            ["eval", "--pretrained", "w.safetensors"]
        );
    }

    #[test]
    fn mistakes_are_told() {
        for (text, part) in [
            ("", "steps"),
            ("steps = []", "no steps"),
            ("steps = [{ name = \"a/b\", command = \"eval\" }]", "a/b"),
            (
                "[[steps]]\nname='a'\ncommand='x'\n[[steps]]\nname='a'\ncommand='x'",
                "two steps",
            ),
            ("[[steps]]\nname='a'\ncommand='x'\nflag=1", "flag"),
        ] {
            let error = recipe(text).unwrap_err().to_string();
            assert!(error.contains(part) && !error.contains('\n'), "{error}");
        }
        let small = recipe(SMALL).unwrap();
        for (set, part) in [("epoch=1", "epochs"), ("epochs", "name=value")] {
            let error = small
                .places(Path::new(""), Path::new(""), &[set.to_owned()])
                .unwrap_err()
                .to_string();
            assert!(error.contains(part), "{error}");
        }
    }
}
