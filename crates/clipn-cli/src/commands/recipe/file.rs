//! Recipe files: commands of this program that build on each other, in TOML.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clipn::content::ContentKind;
use clipn::files::{MAX_TEXT, read_at_most};
use clipn::text::at_line;
use serde::Deserialize;
use toml::Value;

use crate::common::error::CliError;

/// Placeholders that every recipe has.
const RESERVED: [&str; 3] = ["recipe", "data", "output"];

/// A recipe: variables, and steps in the order in which they run.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Recipe {
    /// Purpose, in a sentence or two; printed at the start.
    #[serde(default)]
    pub description: String,
    /// Values that steps refer to as `{name}` and that `--set` overrides.
    #[serde(default)]
    variables: toml::Table,
    pub steps: Vec<Step>,
    #[serde(skip)]
    path: PathBuf,
}

/// One command of a recipe.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Step {
    /// Name for `{name}` in later steps, and of the run if the step trains.
    pub name: String,
    /// Description, printed when the step starts.
    #[serde(default)]
    pub about: String,
    /// Command of this program, such as `train`.
    pub command: String,
    /// Positional arguments.
    #[serde(default)]
    pub arguments: Vec<String>,
    /// Flags without their dashes; `true` for those without a value, a list for repeated ones.
    #[serde(default)]
    pub flags: toml::Table,
}

/// Values of the placeholders `{name}`.
#[derive(Debug, Clone)]
pub(crate) struct Placeholders {
    values: BTreeMap<String, String>,
    /// Names of all steps.
    steps: Vec<String>,
    origin: String,
}

impl Recipe {
    /// Reads and checks a recipe file.
    pub(crate) fn read(path: &Path) -> Result<Self, CliError> {
        let unreadable = |source| CliError::ReadRecipe {
            path: path.to_owned(),
            source,
        };
        let bytes = read_at_most(path, MAX_TEXT).map_err(unreadable)?;
        if let Some(kind) =
            ContentKind::other_than(&bytes, &[ContentKind::Text, ContentKind::Empty])
        {
            return Err(invalid(path, format!("expected TOML, got {kind}")));
        }
        let text = String::from_utf8(bytes)
            .map_err(|_| invalid(path, "expected UTF-8 text".to_owned()))?;
        let mut recipe: Self = toml::from_str(&text)
            .map_err(|error| invalid(path, at_line(&text, error.span(), error.message())))?;
        path.clone_into(&mut recipe.path);
        if recipe.steps.is_empty() {
            return Err(invalid(path, "no steps".to_owned()));
        }
        for (index, step) in recipe.steps.iter().enumerate() {
            if step.name.is_empty() || step.name.contains(['/', '\\', '{', '}']) {
                return Err(invalid(
                    path,
                    format!(
                        "invalid step name `{}`, expected letters and dashes",
                        step.name
                    ),
                ));
            }
            let is_own = RESERVED.contains(&step.name.as_str());
            if is_own || recipe.variables.contains_key(&step.name) {
                let taken = if is_own {
                    "reserved"
                } else {
                    "that of a variable"
                };
                return Err(invalid(
                    path,
                    format!("the step name `{}` is {taken}", step.name),
                ));
            }
            if recipe.steps[..index]
                .iter()
                .any(|other| other.name == step.name)
            {
                return Err(invalid(
                    path,
                    format!("duplicate step name `{}`", step.name),
                ));
            }
        }
        Ok(recipe)
    }

    /// The values of `{recipe}`, `{data}`, `{output}` and the variables. `set` overrides variables,
    /// as `name=value`.
    pub(crate) fn placeholders(
        &self,
        data: &Path,
        output: &Path,
        set: &[String],
    ) -> Result<Placeholders, CliError> {
        let parent = self.path.parent().unwrap_or(Path::new(""));
        let directory = if parent.as_os_str().is_empty() {
            Path::new(".")
        } else {
            parent
        };
        let values = RESERVED
            .into_iter()
            .zip([directory, data, output])
            .map(|(name, path)| (name.to_owned(), path.display().to_string()))
            .collect();
        let steps = self.steps.iter().map(|step| step.name.clone()).collect();
        let mut placeholders = Placeholders {
            values,
            steps,
            origin: self.path.display().to_string(),
        };
        let mut overrides = BTreeMap::new();
        for change in set {
            match change.split_once('=') {
                Some((name, value)) if self.variables.contains_key(name) => {
                    overrides.insert(name, value.to_owned());
                }
                Some((name, _)) => {
                    let known: Vec<&str> = self.variables.keys().map(String::as_str).collect();
                    return Err(CliError::usage(format!(
                        "--set {name}: unknown variable; the recipe has: {}",
                        known.join(", ")
                    )));
                }
                None => {
                    return Err(CliError::usage(format!(
                        "--set {change}: expected name=value"
                    )));
                }
            }
        }
        let mut pending = BTreeMap::new();
        for (name, default) in &self.variables {
            if placeholders.values.contains_key(name) {
                return Err(invalid(
                    &self.path,
                    format!("the variable name `{name}` is reserved"),
                ));
            }
            let text = match overrides.remove(name.as_str()) {
                Some(value) => value,
                None => scalar(default).ok_or_else(|| {
                    invalid(
                        &self.path,
                        format!("expected a string, number or boolean for the variable `{name}`"),
                    )
                })?,
            };
            pending.insert(name.clone(), text);
        }
        placeholders.add_variables(pending)?;
        Ok(placeholders)
    }
}

impl Placeholders {
    /// Fills the values of variables, which may refer to one another, and adds them.
    fn add_variables(&mut self, mut pending: BTreeMap<String, String>) -> Result<(), CliError> {
        while !pending.is_empty() {
            let is_ready = |text: &String| {
                pending
                    .keys()
                    .all(|other| !text.contains(&format!("{{{other}}}")))
            };
            let ready: Vec<String> = (pending.iter())
                .filter(|(_, text)| is_ready(text))
                .map(|(name, _)| name.clone())
                .collect();
            if ready.is_empty() {
                let names: Vec<&str> = pending.keys().map(String::as_str).collect();
                return Err(CliError::InvalidRecipe {
                    origin: self.origin.clone(),
                    reason: format!("variables refer to themselves: {}", names.join(", ")),
                });
            }
            for name in ready {
                if let Some(text) = pending.remove(&name) {
                    let value = self.fill(&text)?;
                    self.values.insert(name, value);
                }
            }
        }
        Ok(())
    }

    /// Sets the path that `{step}` stands for in later steps.
    pub(crate) fn set_step_output(&mut self, step: &str, path: &Path) {
        self.values
            .insert(step.to_owned(), path.display().to_string());
    }

    /// Fills the placeholders of a text. Braces around anything but a name, as in
    /// `train-{000..039}.tar`, stay.
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
                    let reason = if self.steps.iter().any(|step| step == name) {
                        format!(
                            "`{{{name}}}` in `{text}` is a step without output yet; run it first"
                        )
                    } else {
                        format!(
                            "unknown placeholder `{{{name}}}` in `{text}`: expected a variable, a \
                             step, `recipe`, `data` or `output`"
                        )
                    };
                    return Err(CliError::InvalidRecipe {
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

    /// The arguments of a step, starting with its command.
    pub(crate) fn arguments(&self, step: &Step) -> Result<Vec<String>, CliError> {
        // A command of a command has two words, as `results show`.
        let words = step.command.split_whitespace();
        let mut arguments: Vec<String> = words.map(str::to_owned).collect();
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
                        let text = scalar(value).ok_or_else(|| CliError::InvalidRecipe {
                            origin: self.origin.clone(),
                            reason: format!(
                                "expected a string, number, boolean or a list of them for `{flag}` of \
                                 the step `{}`",
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

/// Formats the value of a flag, or `None` if a flag cannot have it.
fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Integer(_) | Value::Float(_) | Value::Boolean(_) => Some(value.to_string()),
        _ => None,
    }
}

fn invalid(path: &Path, reason: String) -> CliError {
    CliError::InvalidRecipe {
        origin: path.display().to_string(),
        reason,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recipe(text: &str) -> Result<Recipe, CliError> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("r.toml");
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
    fn fills_placeholders() {
        let recipe = recipe(SMALL).unwrap();
        let placeholders = recipe
            .placeholders(Path::new("D"), Path::new("O"), &["epochs=7".to_owned()])
            .unwrap();
        let directory = recipe.path.parent().unwrap().display();
        assert_eq!(
            placeholders.arguments(&recipe.steps[0]).unwrap().join(" "),
            format!(
                "train --epochs 7 --lr 0.001 --no 1 --no aO --train-data D/train-{{000..039}}.tar --yes {directory}/x"
            )
        );
    }

    #[test]
    fn variables_refer_to_one_another_in_any_order() {
        let text = r#"
            [variables]
            images = "{root}/one"
            root = "{base}/.."
            base = "{data}"
            [[steps]]
            name = "a"
            command = "eval"
            arguments = ["{images}"]
        "#;
        let recipe = recipe(text).unwrap();
        let arguments = |set: &[&str]| {
            let set: Vec<String> = set.iter().map(|&change| change.to_owned()).collect();
            let filled = recipe.placeholders(Path::new("D"), Path::new("O"), &set)?;
            filled.arguments(&recipe.steps[0])
        };
        assert_eq!(arguments(&[]).unwrap(), ["eval", "D/../one"]);
        let set = ["images={output}/{base}"];
        assert_eq!(arguments(&set).unwrap(), ["eval", "O/D"]);
        let error = arguments(&["base={images}"]).unwrap_err().to_string();
        assert!(
            error.contains("variables refer to themselves: base, images, root"),
            "{error}"
        );
    }

    #[test]
    fn step_names_are_no_other_placeholders() {
        for name in ["data", "output", "recipe", "epochs"] {
            let text = format!(
                "[variables]\nepochs = 1\n[[steps]]\nname = \"{name}\"\ncommand = \"eval\""
            );
            let error = recipe(&text).unwrap_err().to_string();
            let taken = if name == "epochs" {
                "that of a variable"
            } else {
                "reserved"
            };
            let expected = format!("the step name `{name}` is {taken}");
            assert!(error.contains(&expected), "{error}");
        }
    }

    #[test]
    fn knows_the_output_of_a_step_after_it() {
        let text =
            "[[steps]]\nname = \"b\"\ncommand = \"eval\"\nflags = { pretrained = \"{clip}\" }";
        let recipe = recipe(text).unwrap();
        let mut placeholders = recipe
            .placeholders(Path::new(""), Path::new(""), &[])
            .unwrap();
        let error = placeholders
            .arguments(&recipe.steps[0])
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("unknown placeholder `{clip}`") && error.contains("r.toml"),
            "{error}"
        );
        placeholders.set_step_output("clip", Path::new("w.safetensors"));
        assert_eq!(
            placeholders.arguments(&recipe.steps[0]).unwrap(),
            ["eval", "--pretrained", "w.safetensors"]
        );
    }

    #[test]
    fn reports_mistakes() {
        for (text, part) in [
            ("", "steps"),
            ("steps = []", "no steps"),
            ("steps = [{ name = \"a/b\", command = \"eval\" }]", "a/b"),
            (
                "[[steps]]\nname='a'\ncommand='x'\n[[steps]]\nname='a'\ncommand='x'",
                "duplicate step",
            ),
            ("[[steps]]\nname='a'\ncommand='x'\nflag=1", "flag"),
        ] {
            let error = recipe(text).unwrap_err().to_string();
            assert!(error.contains(part) && !error.contains('\n'), "{error}");
        }
        let small = recipe(SMALL).unwrap();
        for (set, part) in [("epoch=1", "epochs"), ("epochs", "name=value")] {
            let error = small
                .placeholders(Path::new(""), Path::new(""), &[set.to_owned()])
                .unwrap_err()
                .to_string();
            assert!(error.contains(part), "{error}");
        }
    }
}
