use std::path::Path;

use serde::{Deserialize, Serialize};

use super::PromptError;
use super::source::{has_extension, read_text};

/// The lists that are built in, with the text of their files.
const BUILT_IN: [(&str, &str); 2] = [
    (
        "imagenet-1k",
        include_str!("../../assets/classes/imagenet-1k.txt"),
    ),
    (
        "cifar10",
        include_str!("../../assets/classes/cifar10.txt"),
    ),
];

const LISTS: [&str; 2] = [BUILT_IN[0].0, BUILT_IN[1].0];

/// The names of the classes, in their order. A name may stand twice: ImageNet has two `missile` and two
/// `sunglasses`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<String>", into = "Vec<String>")]
pub struct ClassNames(Vec<String>);

impl ClassNames {
    /// Takes names as they come; white space around a name is dropped.
    ///
    /// # Errors
    /// [`PromptError::NoClasses`] when there is none, [`PromptError::EmptyName`] when one is empty.
    pub fn new(names: Vec<String>) -> Result<Self, PromptError> {
        Self::checked(names, "the list of class names", |i| {
            format!("name {}", i + 1)
        })
    }

    /// A built-in list: `imagenet-1k`, the 1000 names that the published results use, or `cifar10`.
    ///
    /// # Errors
    /// [`PromptError::UnknownClasses`] for any other name.
    pub fn named(name: &str) -> Result<Self, PromptError> {
        match BUILT_IN.iter().find(|(known, _)| *known == name) {
            Some((name, text)) => Self::from_lines(text, &format!("the class list `{name}`")),
            None => Err(PromptError::UnknownClasses {
                name: name.to_owned(),
                known: LISTS.join(", "),
            }),
        }
    }

    /// Reads a file of class names, UTF-8: a list of strings where the file ends in `.json`, otherwise one
    /// name a line.
    ///
    /// Lines are taken as they stand, so that a name may begin with `#`, and a blank line between names is an
    /// error, as it would shift the classes after it. Blank lines at the end are not.
    ///
    /// # Errors
    /// A [`PromptError`] that names the file and the line when the file cannot be read, is not UTF-8, holds
    /// no name, or holds an empty one.
    pub fn load(path: impl AsRef<Path>) -> Result<Self, PromptError> {
        let path = path.as_ref();
        let text = read_text(path)?;
        let origin = path.display().to_string();
        if has_extension(path, "json") {
            Self::from_json(&text, &origin)
        } else {
            Self::from_lines(&text, &origin)
        }
    }

    /// Names written out, separated by commas: `cat, dog, great white shark`. One comma may follow the last
    /// name.
    ///
    /// # Errors
    /// [`PromptError::NoClasses`] when there is no name, [`PromptError::EmptyName`] when one is empty.
    pub fn parse_inline(text: &str) -> Result<Self, PromptError> {
        let origin = "the list of class names";
        let text = text.trim();
        let list = text.strip_suffix(',').unwrap_or(text);
        if list.trim().is_empty() {
            return Err(PromptError::NoClasses {
                origin: origin.to_owned(),
            });
        }
        Self::checked(list.split(',').map(str::to_owned).collect(), origin, |i| {
            format!("name {}", i + 1)
        })
    }

    /// A built-in list by its name, or else a file by its path, or else names written out with commas.
    ///
    /// A single word that is none of these is taken for a mistake; a single class is written with a comma
    /// after it.
    ///
    /// # Errors
    /// [`PromptError::UnresolvedClasses`] when it is nothing of the kind, and the errors of
    /// [`ClassNames::load`] and [`ClassNames::parse_inline`].
    pub fn resolve(spec: &str) -> Result<Self, PromptError> {
        if LISTS.contains(&spec) {
            return Self::named(spec);
        }
        if Path::new(spec).exists() {
            return Self::load(spec);
        }
        if !spec.contains(',') || looks_like_path(spec) {
            return Err(PromptError::UnresolvedClasses {
                spec: spec.to_owned(),
                known: LISTS.join(", "),
            });
        }
        Self::parse_inline(spec)
    }

    /// The names of the built-in lists.
    pub fn lists() -> &'static [&'static str] {
        &LISTS
    }

    /// The names, in the order of the classes.
    pub fn names(&self) -> &[String] {
        &self.0
    }

    /// How many classes there are: at least one.
    #[allow(clippy::len_without_is_empty)]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// The name of a class, or `None` past the last.
    pub fn get(&self, class: usize) -> Option<&str> {
        self.0.get(class).map(String::as_str)
    }

    /// The names, in the order of the classes.
    pub fn iter(&self) -> std::slice::Iter<'_, String> {
        self.0.iter()
    }

    fn from_lines(text: &str, origin: &str) -> Result<Self, PromptError> {
        let names = text.trim_end().lines().map(str::to_owned).collect();
        Self::checked(names, origin, |i| format!("line {}", i + 1))
    }

    fn from_json(text: &str, origin: &str) -> Result<Self, PromptError> {
        let names = serde_json::from_str(text).map_err(|e| PromptError::Malformed {
            origin: origin.to_owned(),
            format: "JSON",
            message: e.to_string(),
            expected: "a list of names such as [\"cat\", \"dog\"]",
        })?;
        Self::checked(names, origin, |i| format!("name {}", i + 1))
    }

    fn checked(
        mut names: Vec<String>,
        origin: &str,
        place: impl Fn(usize) -> String,
    ) -> Result<Self, PromptError> {
        if names.is_empty() {
            return Err(PromptError::NoClasses {
                origin: origin.to_owned(),
            });
        }
        for (i, name) in names.iter_mut().enumerate() {
            let trimmed = name.trim();
            if trimmed.is_empty() {
                return Err(PromptError::EmptyName {
                    origin: origin.to_owned(),
                    place: place(i),
                });
            }
            if trimmed.len() != name.len() {
                *name = trimmed.to_owned();
            }
        }
        Ok(Self(names))
    }
}

/// Whether a text with commas is more likely the path of a file than names.
fn looks_like_path(spec: &str) -> bool {
    let path = Path::new(spec.trim());
    ["txt", "json", "csv", "tsv", "toml"]
        .iter()
        .any(|extension| has_extension(path, extension))
        || ["/", "./", "../", "~/"]
            .iter()
            .any(|start| spec.trim_start().starts_with(start))
}

impl<'a> IntoIterator for &'a ClassNames {
    type Item = &'a String;
    type IntoIter = std::slice::Iter<'a, String>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl TryFrom<Vec<String>> for ClassNames {
    type Error = PromptError;

    fn try_from(names: Vec<String>) -> Result<Self, PromptError> {
        Self::new(names)
    }
}

impl From<ClassNames> for Vec<String> {
    fn from(names: ClassNames) -> Self {
        names.0
    }
}
