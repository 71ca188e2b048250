use std::path::Path;

use serde::{Deserialize, Serialize};

use super::text_file::has_extension;
use super::{ClassList, PromptError};

/// Built-in class lists: name and file content.
const BUILT_IN: [(&str, &str); 2] = [
    (
        "imagenet-1k",
        include_str!("../../assets/classes/imagenet-1k.txt"),
    ),
    ("cifar10", include_str!("../../assets/classes/cifar10.txt")),
];

const BUILT_IN_NAMES: [&str; 2] = [BUILT_IN[0].0, BUILT_IN[1].0];

/// Class names in class order, at least one.
///
/// Duplicates are allowed here, as ImageNet has two classes `missile` and two `sunglasses`;
/// [`ClassList::check_names`] finds them.
///
/// ```
/// use clipn_text::prompts::ClassNames;
///
/// let classes = ClassNames::parse_inline("cat, dog, great white shark")?;
/// assert_eq!((classes.len(), classes.get(2)), (3, Some("great white shark")));
/// assert_eq!(ClassNames::built_in("imagenet-1k")?.len(), 1000);
/// # Ok::<(), clipn_text::prompts::PromptError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<String>", into = "Vec<String>")]
pub struct ClassNames(Vec<String>);

impl ClassNames {
    /// Creates a list of names and trims white space around each.
    ///
    /// # Errors
    /// [`PromptError::NoClasses`] if the list is empty, and [`PromptError::EmptyName`] if a name
    /// is.
    pub fn new(names: Vec<String>) -> Result<Self, PromptError> {
        Self::validated(names, "the list of class names", |i| {
            format!("name {}", i + 1)
        })
    }

    /// Returns a built-in list: `imagenet-1k`, the 1000 names of the published results, or
    /// `cifar10`.
    ///
    /// # Errors
    /// [`PromptError::UnknownClassList`] for any other name.
    pub fn built_in(name: &str) -> Result<Self, PromptError> {
        match BUILT_IN.iter().find(|(known, _)| *known == name) {
            Some((name, text)) => Self::from_lines(text, &format!("the class list `{name}`")),
            None => Err(PromptError::UnknownClassList {
                name: name.to_owned(),
                known: BUILT_IN_NAMES.join(", "),
            }),
        }
    }

    /// Returns the synset ids of a built-in list, one per line in class order, if its classes have them.
    pub(super) fn built_in_synset_ids(name: &str) -> Option<&'static str> {
        (name == "imagenet-1k")
            .then_some(include_str!("../../assets/classes/imagenet-1k-synsets.txt"))
    }

    /// Reads a UTF-8 file of class names, in any form that [`ClassList`] recognizes.
    ///
    /// # Errors
    /// Same as [`ClassList::load`].
    pub fn load(path: impl AsRef<Path>) -> Result<Self, PromptError> {
        Ok(ClassList::load(path)?.into_names())
    }

    /// Parses names on a command line, such as `cat, dog, great white shark`.
    ///
    /// # Errors
    /// Same as [`ClassList::parse_inline`].
    pub fn parse_inline(text: &str) -> Result<Self, PromptError> {
        Ok(ClassList::parse_inline(text)?.into_names())
    }

    /// Resolves the name of a built-in list, or else the path of a file, or else names on a command
    /// line. [`ClassList`] also has the form in which they were written.
    ///
    /// # Errors
    /// Same as [`ClassList::resolve`].
    pub fn resolve(input: &str) -> Result<Self, PromptError> {
        Ok(ClassList::resolve(input)?.into_names())
    }

    /// Names of the built-in lists.
    pub fn built_in_names() -> &'static [&'static str] {
        &BUILT_IN_NAMES
    }

    /// Names in class order.
    pub fn names(&self) -> &[String] {
        &self.0
    }

    /// Number of classes, at least one.
    #[expect(
        clippy::len_without_is_empty,
        reason = "a list without names does not exist"
    )]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Name of the class with an index, or `None` if there are fewer classes.
    pub fn get(&self, class: usize) -> Option<&str> {
        self.0.get(class).map(String::as_str)
    }

    /// Iterates over the names in class order.
    pub fn iter(&self) -> std::slice::Iter<'_, String> {
        self.0.iter()
    }

    fn from_lines(text: &str, origin: &str) -> Result<Self, PromptError> {
        let names = text.trim_end().lines().map(str::to_owned).collect();
        Self::validated(names, origin, |i| format!("line {}", i + 1))
    }

    pub(super) fn validated(
        mut names: Vec<String>,
        origin: &str,
        location: impl Fn(usize) -> String,
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
                    location: location(i),
                });
            }
            if trimmed.len() != name.len() {
                *name = trimmed.to_owned();
            }
        }
        Ok(Self(names))
    }
}

/// Whether text is more likely a file path than a list of names: it ends in the extension of a list, or
/// begins like a path.
///
/// ```
/// use clipn_text::prompts::looks_like_path;
///
/// assert!(looks_like_path("names.txt") && looks_like_path("data.yaml") && looks_like_path("./names"));
/// assert!(!looks_like_path("a hand, an empty table"));
/// ```
pub fn looks_like_path(input: &str) -> bool {
    let path = Path::new(input.trim());
    ["txt", "json", "csv", "tsv", "toml", "yaml", "yml"]
        .iter()
        .any(|extension| has_extension(path, extension))
        || ["/", "./", "../", "~/"]
            .iter()
            .any(|start| input.trim_start().starts_with(start))
}

impl<'a> IntoIterator for &'a ClassNames {
    type Item = &'a String;
    type IntoIter = std::slice::Iter<'a, String>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl IntoIterator for ClassNames {
    type Item = String;
    type IntoIter = std::vec::IntoIter<String>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl AsRef<[String]> for ClassNames {
    fn as_ref(&self) -> &[String] {
        &self.0
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
