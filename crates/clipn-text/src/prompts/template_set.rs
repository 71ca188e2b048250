use std::path::Path;

use serde::{Deserialize, Serialize};

use super::text_file::{has_extension, read_text};
use super::{PromptError, Template};

/// Built-in template sets: name and file content.
const BUILT_IN: [(&str, &str); 4] = [
    ("clipn", include_str!("../../assets/templates/clipn.toml")),
    (
        "clipn-clean",
        include_str!("../../assets/templates/clipn-clean.toml"),
    ),
    ("plain", include_str!("../../assets/templates/plain.toml")),
    ("simple", include_str!("../../assets/templates/simple.toml")),
];

const BUILT_IN_NAMES: [&str; 4] = [BUILT_IN[0].0, BUILT_IN[1].0, BUILT_IN[2].0, BUILT_IN[3].0];

/// Named set of templates, over which the text features of each class are averaged.
///
/// The learnable variant of CLIPN uses the `yes` templates for both text towers. The hand-crafted
/// variant uses the `no` template with the same index for the "no" tower.
///
/// ```
/// use clipn_text::prompts::TemplateSet;
///
/// let set = TemplateSet::built_in("clipn")?;
/// assert_eq!((set.len(), set.pairs().map(|pairs| pairs.len())), (128, Some(128)));
/// # Ok::<(), clipn_text::prompts::PromptError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "UncheckedTemplateSet")]
pub struct TemplateSet {
    name: String,
    yes: Vec<Template>,
    #[serde(skip_serializing_if = "Option::is_none")]
    no: Option<Vec<Template>>,
}

/// Deserialized set, before its pairing is validated.
#[derive(Deserialize)]
struct UncheckedTemplateSet {
    name: String,
    yes: Vec<Template>,
    no: Option<Vec<Template>>,
}

impl TryFrom<UncheckedTemplateSet> for TemplateSet {
    type Error = PromptError;

    fn try_from(set: UncheckedTemplateSet) -> Result<Self, PromptError> {
        Self::new(set.name, set.yes, set.no)
    }
}

impl TemplateSet {
    /// Name of the published set, the default.
    pub const DEFAULT_NAME: &str = "clipn";

    /// Creates a set from templates.
    ///
    /// # Errors
    /// [`PromptError::NoTemplates`] if `yes` is empty, and [`PromptError::UnequalTemplateCounts`]
    /// if `no` has another length.
    pub fn new(
        name: impl Into<String>,
        yes: Vec<Template>,
        no: Option<Vec<Template>>,
    ) -> Result<Self, PromptError> {
        let name = name.into();
        if yes.is_empty() {
            return Err(PromptError::NoTemplates {
                origin: format!("the template set `{name}`"),
            });
        }
        if let Some(no) = &no
            && no.len() != yes.len()
        {
            let origin = format!("the template set `{name}`");
            return Err(PromptError::UnequalTemplateCounts {
                origin,
                yes: yes.len(),
                no: no.len(),
            });
        }
        Ok(Self { name, yes, no })
    }

    /// Returns a built-in set:
    ///
    /// - `clipn`: the 128 published lines, character for character, quotes included.
    /// - `clipn-clean`: the same without quotes and stray commas.
    /// - `plain`: twelve short templates.
    /// - `simple`: the single template `a photo of a {}.`
    ///
    /// # Errors
    /// [`PromptError::UnknownTemplateSet`] for any other name.
    pub fn built_in(name: &str) -> Result<Self, PromptError> {
        match BUILT_IN.iter().find(|(known, _)| *known == name) {
            Some((name, text)) => {
                Self::from_toml(name, text, &format!("the template set `{name}`"))
            }
            None => Err(PromptError::UnknownTemplateSet {
                name: name.to_owned(),
                known: BUILT_IN_NAMES.join(", "),
            }),
        }
    }

    /// Reads a template file, UTF-8.
    ///
    /// A `.toml` file has an array `yes` and optionally an array `no` of the same length. Any other
    /// file has one `yes` template per line. White space around a line is trimmed, and blank lines
    /// and lines that begin with `#` are skipped. A template that itself begins with `#` is escaped
    /// with a backslash: `\#{} photo`.
    ///
    /// # Errors
    /// A [`PromptError`] that names the file, and the line or the list element if there is one:
    /// [`Read`](PromptError::Read), [`TooLarge`](PromptError::TooLarge),
    /// [`NotUtf8`](PromptError::NotUtf8), [`Malformed`](PromptError::Malformed) TOML,
    /// [`NoTemplates`](PromptError::NoTemplates), [`InvalidTemplate`](PromptError::InvalidTemplate)
    /// or [`UnequalTemplateCounts`](PromptError::UnequalTemplateCounts).
    pub fn load(path: impl AsRef<Path>) -> Result<Self, PromptError> {
        let path = path.as_ref();
        let text = read_text(path)?;
        let name = path
            .file_stem()
            .map_or_else(String::new, |stem| stem.to_string_lossy().into_owned());
        let origin = path.display().to_string();
        if has_extension(path, "toml") {
            Self::from_toml(&name, &text, &origin)
        } else {
            Self::from_lines(&name, &text, &origin)
        }
    }

    /// Resolves the name of a built-in set, or else the path of a template file.
    ///
    /// # Errors
    /// [`PromptError::UnresolvedTemplateSet`] if it is neither, and the errors of
    /// [`TemplateSet::load`].
    pub fn resolve(name_or_path: &str) -> Result<Self, PromptError> {
        if BUILT_IN_NAMES.contains(&name_or_path) {
            return Self::built_in(name_or_path);
        }
        if Path::new(name_or_path).exists() {
            return Self::load(name_or_path);
        }
        Err(PromptError::UnresolvedTemplateSet {
            input: name_or_path.to_owned(),
            known: BUILT_IN_NAMES.join(", "),
        })
    }

    /// Names of the built-in sets.
    pub fn built_in_names() -> &'static [&'static str] {
        &BUILT_IN_NAMES
    }

    /// Name of the set; for a file, the file name without extension.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Templates of the "yes" tower and, in the learnable variant, of both towers.
    pub fn yes(&self) -> &[Template] {
        &self.yes
    }

    /// Templates of the "no" tower in the hand-crafted variant, paired with [`TemplateSet::yes`].
    pub fn no(&self) -> Option<&[Template]> {
        self.no.as_deref()
    }

    /// Iterates over the pairs of `yes` and `no` templates; `None` for a set without `no`.
    pub fn pairs(&self) -> Option<impl ExactSizeIterator<Item = (&Template, &Template)>> {
        self.no.as_ref().map(|no| self.yes.iter().zip(no))
    }

    /// Number of `yes` templates, at least one.
    #[expect(
        clippy::len_without_is_empty,
        reason = "a set without templates does not exist"
    )]
    pub fn len(&self) -> usize {
        self.yes.len()
    }

    fn from_toml(name: &str, text: &str, origin: &str) -> Result<Self, PromptError> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct TemplateFile {
            yes: Vec<String>,
            no: Option<Vec<String>>,
        }
        let file: TemplateFile = toml::from_str(text).map_err(|source| PromptError::Malformed {
            origin: origin.to_owned(),
            format: "TOML",
            expected: "an array `yes = [\"a photo of a {}.\"]` and optionally an array `no` of the \
                       same length",
            source: Box::new(source),
        })?;
        let parse = |list: Vec<String>, key: &str| {
            let numbered = list.iter().enumerate();
            numbered
                .map(|(i, line)| parse_at(line, origin, format!("`{key}` template {}", i + 1)))
                .collect()
        };
        let yes: Vec<Template> = parse(file.yes, "yes")?;
        let no: Option<Vec<Template>> = file.no.map(|no| parse(no, "no")).transpose()?;
        Self::new(name, yes, no).map_err(|e| e.with_origin(origin))
    }

    fn from_lines(name: &str, text: &str, origin: &str) -> Result<Self, PromptError> {
        let mut yes = Vec::new();
        for (i, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let line = if line.starts_with("\\#") {
                &line[1..]
            } else {
                line
            };
            yes.push(parse_at(line, origin, format!("line {}", i + 1))?);
        }
        Self::new(name, yes, None).map_err(|e| e.with_origin(origin))
    }
}

fn parse_at(line: &str, origin: &str, location: String) -> Result<Template, PromptError> {
    Template::parse(line).map_err(|source| PromptError::InvalidTemplate {
        origin: origin.to_owned(),
        location,
        source: Box::new(source),
    })
}

impl PromptError {
    /// Replaces the name of the set with that of its file.
    fn with_origin(mut self, file: &str) -> Self {
        if let Self::NoTemplates { origin } | Self::UnequalTemplateCounts { origin, .. } = &mut self
        {
            file.clone_into(origin);
        }
        self
    }
}
