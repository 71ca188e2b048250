use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::PromptError;

const PLACEHOLDER: &str = "{}";

/// Prompt template: a sentence with `{}` in place of the class name.
///
/// Every `{}` is filled, and there is at least one. Other braces are plain text, and nothing in the
/// class name is interpreted.
///
/// ```
/// use clipn_text::prompts::Template;
///
/// let template = Template::parse("a photo of a {}.")?;
/// assert_eq!(template.fill("great white shark"), "a photo of a great white shark.");
/// # Ok::<(), clipn_text::prompts::PromptError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Template(String);

impl Template {
    /// Parses a template. Leading and trailing white space is kept here, but the tokenizer strips
    /// it.
    ///
    /// # Errors
    /// [`PromptError::MissingPlaceholder`] if there is no `{}`.
    pub fn parse(line: &str) -> Result<Self, PromptError> {
        if !line.contains(PLACEHOLDER) {
            return Err(PromptError::MissingPlaceholder {
                template: line.to_owned(),
            });
        }
        Ok(Self(line.to_owned()))
    }

    /// Creates a template from a constant of this crate, which has a placeholder.
    pub(crate) fn from_static(line: &'static str) -> Self {
        debug_assert!(line.contains(PLACEHOLDER), "{line}");
        Self(line.to_owned())
    }

    /// Returns the prompt for a class.
    pub fn fill(&self, class_name: &str) -> String {
        self.0.replace(PLACEHOLDER, class_name)
    }

    /// Text before the first `{}`, a common prefix of all prompts of the template.
    pub fn prefix(&self) -> &str {
        self.0
            .split_once(PLACEHOLDER)
            .map_or("", |(prefix, _)| prefix)
    }

    /// Text after the last `{}`, a common suffix of all prompts of the template.
    pub fn suffix(&self) -> &str {
        self.0
            .rsplit_once(PLACEHOLDER)
            .map_or("", |(_, suffix)| suffix)
    }

    /// Template text with its placeholders.
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
    fn fills_every_placeholder_and_keeps_other_braces() {
        let template = Template::parse("a {weird} {} beside another {}}").unwrap();
        assert_eq!(template.fill("c{}t"), "a {weird} c{}t beside another c{}t}");
        assert_eq!((template.prefix(), template.suffix()), ("a {weird} ", "}"));
    }

    #[test]
    fn a_template_may_be_a_bare_placeholder() {
        let template = Template::parse("{}").unwrap();
        assert_eq!(
            (template.prefix(), template.suffix(), template.fill("x")),
            ("", "", "x".to_owned())
        );
    }

    #[test]
    fn rejects_templates_without_placeholder() {
        for line in ["", "a photo", "a { } photo", "a {0} photo"] {
            let error = Template::parse(line).unwrap_err().to_string();
            assert_eq!(
                error,
                format!("template {line:?} has no `{{}}` for the class name")
            );
        }
    }
}
