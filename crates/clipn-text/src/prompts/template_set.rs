use std::path::Path;

use clipn_base::count::count;
use serde::{Deserialize, Serialize};

use super::template_forms::{TemplateContent, content, with_own_placeholder};
use super::text_file::{has_extension, read_text};
use super::{ClassSentences, PromptError, Template};

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
    #[serde(skip_serializing_if = "Option::is_none")]
    sentences: Option<ClassSentences>,
}

/// Deserialized set, before its pairing is validated.
#[derive(Deserialize)]
struct UncheckedTemplateSet {
    name: String,
    yes: Vec<Template>,
    no: Option<Vec<Template>>,
    sentences: Option<ClassSentences>,
}

impl TryFrom<UncheckedTemplateSet> for TemplateSet {
    type Error = PromptError;

    fn try_from(set: UncheckedTemplateSet) -> Result<Self, PromptError> {
        let sentences = set.sentences;
        let set = Self::new(set.name, set.yes, set.no)?;
        Ok(Self { sentences, ..set })
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
        Ok(Self {
            name,
            yes,
            no,
            sentences: None,
        })
    }

    /// Creates a set in which every class has its own sentences. Names that are no class, such as
    /// negative labels, use the template `a photo of a {}.`
    pub fn per_class(name: impl Into<String>, sentences: ClassSentences) -> Self {
        Self {
            name: name.into(),
            yes: vec![Template::from_static("a photo of a {}.")],
            no: None,
            sentences: Some(sentences),
        }
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
    /// A `.toml` file has an array `yes` and optionally an array `no` of the same length, whose texts
    /// are kept literally. Any other file has:
    ///
    /// - one `yes` template per line. White space around a line is trimmed, and blank lines and lines
    ///   that begin with `#` are skipped. A template that itself begins with `#` is escaped with a
    ///   backslash: `\#{} photo`. If all lines are quoted, as in a notebook, quotes and commas are
    ///   removed;
    /// - or a list of templates in JSON or Python;
    /// - or an object from class names to lists of sentences in JSON: see [`ClassSentences`].
    ///
    /// Other usual placeholders, such as `{c}`, count as `{}`.
    ///
    /// # Errors
    /// A [`PromptError`] that names the file, and the line or the list element if there is one:
    /// [`Read`](PromptError::Read), [`TooLarge`](PromptError::TooLarge),
    /// [`NotUtf8`](PromptError::NotUtf8), [`Malformed`](PromptError::Malformed) TOML or JSON,
    /// [`NoTemplates`](PromptError::NoTemplates), [`InvalidTemplate`](PromptError::InvalidTemplate),
    /// [`UnequalTemplateCounts`](PromptError::UnequalTemplateCounts),
    /// [`UnclearTemplates`](PromptError::UnclearTemplates) or
    /// [`InvalidSentences`](PromptError::InvalidSentences).
    pub fn load(path: impl AsRef<Path>) -> Result<Self, PromptError> {
        Ok(Self::load_described(path.as_ref())?.0)
    }

    /// Resolves the name of a built-in set, or else the path of a template file.
    ///
    /// # Errors
    /// [`PromptError::UnresolvedTemplateSet`] if it is neither, and the errors of
    /// [`TemplateSet::load`].
    pub fn resolve(name_or_path: &str) -> Result<Self, PromptError> {
        Ok(Self::resolve_described(name_or_path)?.0)
    }

    /// Same as [`resolve`](Self::resolve), and describes in one line what was recognized in a file;
    /// `None` if it has one template per line or is TOML.
    ///
    /// # Errors
    /// Same as [`resolve`](Self::resolve).
    pub fn resolve_described(name_or_path: &str) -> Result<(Self, Option<String>), PromptError> {
        if BUILT_IN_NAMES.contains(&name_or_path) {
            return Ok((Self::built_in(name_or_path)?, None));
        }
        if Path::new(name_or_path).exists() {
            return Self::load_described(Path::new(name_or_path));
        }
        Err(PromptError::UnresolvedTemplateSet {
            input: name_or_path.to_owned(),
            known: BUILT_IN_NAMES.join(", "),
        })
    }

    fn load_described(path: &Path) -> Result<(Self, Option<String>), PromptError> {
        let text = read_text(path)?;
        let name = path
            .file_stem()
            .map_or_else(String::new, |stem| stem.to_string_lossy().into_owned());
        let origin = path.display().to_string();
        if has_extension(path, "toml") {
            return Ok((Self::from_toml(&name, &text, &origin)?, None));
        }
        match content(&text, &origin)? {
            TemplateContent::PerClass(sentences) => {
                let description = format!(
                    "read {} for {} from {origin}",
                    count(sentences.sentences(), "sentence"),
                    count(sentences.len(), "class")
                );
                Ok((Self::per_class(name, sentences), Some(description)))
            }
            TemplateContent::Templates { lines, form } => {
                let mut placeholder = None;
                let mut yes = Vec::new();
                for line in lines {
                    let own = with_own_placeholder(&line.text);
                    placeholder = placeholder.or(own.as_ref().map(|(_, other)| *other));
                    let text = own.map_or(line.text, |(text, _)| text);
                    yes.push(parse_at(&text, &origin, line.location)?);
                }
                let templates = yes.len();
                let set = Self::new(name, yes, None).map_err(|e| e.with_origin(&origin))?;
                let parts = [
                    form.map(str::to_owned),
                    placeholder.map(|other| format!("with `{other}` for the class name")),
                ];
                let parts: Vec<String> = parts.into_iter().flatten().collect();
                let description = (!parts.is_empty()).then(|| {
                    format!(
                        "read {} from {origin}: {}",
                        count(templates, "template"),
                        parts.join(", ")
                    )
                });
                Ok((set, description))
            }
        }
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

    /// Sentences of each class, if the classes have their own. Then [`yes`](Self::yes) are the
    /// templates of names that are no class.
    pub fn sentences(&self) -> Option<&ClassSentences> {
        self.sentences.as_ref()
    }

    /// Checks that the sentences, if there are any, are those of these classes.
    ///
    /// # Errors
    /// [`PromptError::MissingSentences`] and [`PromptError::ExtraSentences`] if the classes with
    /// sentences are not `class_names`.
    pub fn check_classes<S: AsRef<str>>(&self, class_names: &[S]) -> Result<(), PromptError> {
        match &self.sentences {
            Some(sentences) => sentences.for_classes(class_names).map(|_| ()),
            None => Ok(()),
        }
    }

    /// Returns the set with the sentences of `other` added, which has sentences for further classes.
    /// Sets without sentences are returned unchanged.
    ///
    /// # Errors
    /// [`PromptError::InvalidSentences`] if the sentences of both do not go together.
    pub fn with_sentences_of(self, other: &Self) -> Result<Self, PromptError> {
        let sentences = match (&self.sentences, &other.sentences) {
            (Some(own), Some(others)) => Some(own.merged(others)?),
            _ => return Ok(self),
        };
        Ok(Self { sentences, ..self })
    }

    /// Returns the set with the sentences of these classes only.
    #[must_use]
    pub fn with_sentences_only_of<S: AsRef<str>>(self, class_names: &[S]) -> Self {
        let sentences = self
            .sentences
            .as_ref()
            .and_then(|sentences| sentences.only(class_names));
        Self { sentences, ..self }
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
