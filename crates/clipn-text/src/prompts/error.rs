use std::path::PathBuf;

use clipn_base::content::ContentKind;

/// Errors for templates and class names.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PromptError {
    /// No built-in template set has this name.
    #[error("unknown template set `{name}`; expected one of {known}")]
    UnknownTemplateSet {
        /// Unknown name.
        name: String,
        /// Known names, separated by commas.
        known: String,
    },
    /// The text is neither a built-in template set nor an existing file.
    #[error("`{input}` is neither a template set ({known}) nor an existing file")]
    UnresolvedTemplateSet {
        /// Unresolved text.
        input: String,
        /// Known names, separated by commas.
        known: String,
    },
    /// No built-in class list has this name.
    #[error("unknown class list `{name}`; expected one of {known}")]
    UnknownClassList {
        /// Unknown name.
        name: String,
        /// Known names, separated by commas.
        known: String,
    },
    /// The text is neither a built-in class list, nor an existing file, nor an inline list.
    #[error(
        "`{input}` is neither a class list ({known}), nor an existing file, \
         nor a comma-separated list of names"
    )]
    UnresolvedClassList {
        /// Unresolved text.
        input: String,
        /// Known names, separated by commas.
        known: String,
    },
    /// No [`PromptVariant`](super::PromptVariant) has this name.
    #[error("unknown prompt variant `{name}`; expected learnable or hand-crafted")]
    UnknownVariant {
        /// Unknown name.
        name: String,
    },
    /// A file cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// Path of the file.
        path: PathBuf,
        /// Cause.
        source: std::io::Error,
    },
    /// A file exceeds the size limit for lists of names or templates.
    #[error("{} exceeds the limit of {limit} bytes for names or templates", path.display())]
    TooLarge {
        /// Path of the file.
        path: PathBuf,
        /// Maximum size in bytes.
        limit: u64,
    },
    /// A file is not UTF-8.
    #[error("{} is not UTF-8: invalid byte at offset {offset}", path.display())]
    NotUtf8 {
        /// Path of the file.
        path: PathBuf,
        /// Offset of the first invalid byte.
        offset: usize,
    },
    /// A file is an image, an archive or another kind of data, or text in UTF-16.
    #[error("{} is {kind}; expected UTF-8 text", path.display())]
    NotText {
        /// Path of the file.
        path: PathBuf,
        /// Detected kind.
        kind: ContentKind,
    },
    /// A TOML or JSON file is malformed or has unexpected content.
    #[error("{origin} is not valid {format}; expected {expected}")]
    Malformed {
        /// File or template set.
        origin: String,
        /// `TOML` or `JSON`.
        format: &'static str,
        /// Expected content.
        expected: &'static str,
        /// Error of the parser.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A template has no placeholder `{}`.
    #[error("template {template:?} has no `{{}}` for the class name")]
    MissingPlaceholder {
        /// Text of the template.
        template: String,
    },
    /// A template in a file or set is invalid.
    #[error("invalid template in {origin}, {location}")]
    InvalidTemplate {
        /// File or template set.
        origin: String,
        /// Line, or array and element number, from 1.
        location: String,
        /// Cause, such as [`PromptError::MissingPlaceholder`].
        source: Box<PromptError>,
    },
    /// A set has no templates.
    #[error("{origin} contains no templates")]
    NoTemplates {
        /// File or template set.
        origin: String,
    },
    /// The numbers of `yes` and `no` templates differ, although they are paired one by one.
    #[error("{origin} has {yes} `yes` templates and {no} `no` templates; expected equal numbers")]
    UnequalTemplateCounts {
        /// File or template set.
        origin: String,
        /// Number of `yes` templates.
        yes: usize,
        /// Number of `no` templates.
        no: usize,
    },
    /// A list has no class names.
    #[error("{origin} contains no class names")]
    NoClasses {
        /// File or list.
        origin: String,
    },
    /// A class name is empty.
    #[error("empty class name in {origin}, {location}")]
    EmptyName {
        /// File or list.
        origin: String,
        /// Line or element number, from 1.
        location: String,
    },
    /// A class name contains a control character, such as a tab, or a line separator.
    #[error("control character U+{:04X} in class name {name:?} in {origin}, {location}", u32::from(*.character))]
    ControlCharacter {
        /// First such character.
        character: char,
        /// The name.
        name: String,
        /// File or list.
        origin: String,
        /// Line or element number, from 1.
        location: String,
    },
    /// A list of names has no form that is recognized for sure.
    #[error("unclear format of class names in {origin}: {seen}")]
    UnclearNames {
        /// File or list.
        origin: String,
        /// What was seen in place of names.
        seen: String,
    },
    /// A template file has no form that is recognized for sure.
    #[error("unclear format of templates in {origin}: {seen}")]
    UnclearTemplates {
        /// File.
        origin: String,
        /// What was seen in place of templates.
        seen: String,
    },
    /// Sentences per class are incomplete or duplicate.
    #[error("invalid sentences per class in {origin}: {problem}")]
    InvalidSentences {
        /// File.
        origin: String,
        /// Description of the problem.
        problem: String,
    },
    /// Classes have no sentences, although others have.
    #[error("no sentences for {count} of the classes: {classes}")]
    MissingSentences {
        /// The first few classes.
        classes: String,
        /// Number of classes without sentences.
        count: usize,
    },
    /// Sentences belong to no class.
    #[error("sentences of {count} names that are no class: {classes}")]
    ExtraSentences {
        /// The first few names.
        classes: String,
        /// Number of such names.
        count: usize,
    },
    /// Class names are the same for the tokenizer.
    #[error("duplicate class names in {origin}: {duplicates}")]
    DuplicateNames {
        /// File or list.
        origin: String,
        /// The names with their locations.
        duplicates: String,
    },
    /// A class has the name of images that belong to no class.
    #[error(
        "class name `{name}` in {origin}, {location} is reserved for images that belong to no class"
    )]
    ReservedName {
        /// The name.
        name: String,
        /// File or list.
        origin: String,
        /// Line or element number, from 1.
        location: String,
    },
}

impl PromptError {
    /// Advice for the caller, if there is any beyond the message.
    pub fn hint(&self) -> Option<&'static str> {
        Some(match self {
            Self::UnresolvedTemplateSet { .. } => "check the spelling of the name or the path",
            Self::UnresolvedClassList { .. } => {
                "check the path, or separate names by commas; a single class is written `cat,`"
            }
            Self::Read { source, .. } if source.kind() == std::io::ErrorKind::IsADirectory => {
                "name a file in it, or write the entries themselves"
            }
            Self::Read { .. } => "check that the file exists and is readable",
            Self::TooLarge { .. } => "pass a text file with one entry per line",
            Self::NotUtf8 { .. }
            | Self::NotText {
                kind: ContentKind::Utf16,
                ..
            } => "save the file as UTF-8",
            Self::NotText {
                kind: ContentKind::Safetensors,
                ..
            } => {
                "bundles and weights are safetensors files; pass a text file with one entry per line"
            }
            Self::NotText { kind, .. } => kind
                .advice()
                .unwrap_or("pass a text file with one entry per line"),
            Self::ControlCharacter { .. } => "remove the character from the name",
            Self::MissingPlaceholder { .. } => {
                "put `{}` in place of the class name, as in `a photo of a {}.`"
            }
            Self::InvalidTemplate { source, .. } => return source.hint(),
            Self::NoTemplates { .. } => "add at least one line such as `a photo of a {}.`",
            Self::UnequalTemplateCounts { .. } => {
                "give one `no` template per `yes` template, or omit `no`"
            }
            Self::NoClasses { .. } => "give at least one class name",
            Self::EmptyName { .. } => {
                "fill in or remove the name; the order of names is the order of classes"
            }
            Self::UnclearNames { .. } => {
                "write one name per line, or a JSON list such as [\"cat\", \"dog\"]"
            }
            Self::UnclearTemplates { .. } => {
                "write one template per line without quotes, or a TOML file, which keeps them"
            }
            Self::MissingSentences { .. } | Self::ExtraSentences { .. } => {
                "give each class its sentences, under the name of the class"
            }
            Self::DuplicateNames { .. } => "remove the duplicates",
            Self::ReservedName { .. } => "give the class another name",
            Self::UnknownTemplateSet { .. }
            | Self::UnknownClassList { .. }
            | Self::UnknownVariant { .. }
            | Self::InvalidSentences { .. }
            | Self::Malformed { .. } => return None,
        })
    }
}
