use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::PromptError;

const PLACEHOLDER: &str = "{}";

/// A sentence with `{}` where the class name goes.
///
/// Every `{}` is filled (there is at least one); any other brace is plain text, and nothing in the class name
/// is interpreted.
///
/// ```
/// use clipn_text::prompts::Template;
/// let template = Template::parse("a photo of a {}.")?;
/// assert_eq!(template.fill("great white shark"), "a photo of a great white shark.");
/// # Ok::<(), clipn_text::prompts::PromptError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Template(String);

impl Template {
    /// Takes a template as it stands; white space at its ends is kept, though the tokenizer drops it later.
    ///
    /// # Errors
    /// [`PromptError::NoPlaceholder`] when there is no `{}`.
    pub fn parse(line: &str) -> Result<Self, PromptError> {
        if !line.contains(PLACEHOLDER) {
            return Err(PromptError::NoPlaceholder {
                template: line.to_owned(),
            });
        }
        Ok(Self(line.to_owned()))
    }

    /// The prompt for a class.
    pub fn fill(&self, class_name: &str) -> String {
        self.0.replace(PLACEHOLDER, class_name)
    }

    /// What stands before the first `{}`, the same in all prompts of the template.
    pub fn prefix(&self) -> &str {
        self.0
            .split_once(PLACEHOLDER)
            .map_or("", |(prefix, _)| prefix)
    }

    /// What stands after the last `{}`, the same in all prompts of the template.
    pub fn suffix(&self) -> &str {
        self.0
            .rsplit_once(PLACEHOLDER)
            .map_or("", |(_, suffix)| suffix)
    }

    /// The template as it was written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Template {
    type Err = PromptError;

    fn from_str(line: &str) -> Result<Self, PromptError> {
        Self::parse(line)
    }
}

impl TryFrom<String> for Template {
    type Error = PromptError;

    fn try_from(line: String) -> Result<Self, PromptError> {
        Self::parse(&line)
    }
}

impl From<Template> for String {
    fn from(template: Template) -> Self {
        template.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_placeholder_is_filled_and_other_braces_are_text() {
        let template = Template::parse("a {weird} {} beside another {}}").unwrap();
        assert_eq!(template.fill("c{}t"), "a {weird} c{}t beside another c{}t}");
        assert_eq!((template.prefix(), template.suffix()), ("a {weird} ", "}"));
    }

    #[test]
    fn a_template_may_be_the_name_alone() {
        let template = Template::parse("{}").unwrap();
        assert_eq!(
            (template.prefix(), template.suffix(), template.fill("x")),
            ("", "", "x".to_owned())
        );
    }

    #[test]
    fn a_template_needs_a_place_for_the_name() {
        for line in ["", "a photo", "a { } photo", "a {0} photo"] {
            let error = Template::parse(line).unwrap_err().to_string();
            assert!(
                error.contains("has no `{}`") && error.contains("a photo of a {}."),
                "{error}"
            );
        }
    }
}
