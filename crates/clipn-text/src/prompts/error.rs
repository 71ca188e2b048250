use std::path::PathBuf;

/// Errors for templates and class names.
#[derive(Debug, thiserror::Error)]
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
    #[error("`{spec}` is neither a template set ({known}) nor an existing file")]
    UnresolvedTemplateSet {
        /// Unresolved text.
        spec: String,
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
        "`{spec}` is neither a class list ({known}), nor an existing file, \
         nor a comma-separated list of names"
    )]
    UnresolvedClassList {
        /// Unresolved text.
        spec: String,
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
    Unreadable {
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
    /// A TOML or JSON file is malformed or has unexpected content.
    #[error("{origin} is not valid {format}: {message}; expected {expected}")]
    Malformed {
        /// File or template set.
        origin: String,
        /// `TOML` or `JSON`.
        format: &'static str,
        /// Message of the parser.
        message: String,
        /// Expected content.
        expected: &'static str,
    },
    /// A template has no placeholder `{}`.
    #[error("template {template:?} has no `{{}}` for the class name")]
    MissingPlaceholder {
        /// Text of the template.
        template: String,
    },
    /// A template in a file or set is invalid.
    #[error("invalid template in {origin}, {place}")]
    InvalidTemplate {
        /// File or template set.
        origin: String,
        /// Line, or array and element number, from 1.
        place: String,
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
    #[error("empty class name in {origin}, {place}")]
    EmptyName {
        /// File or list.
        origin: String,
        /// Line or element number, from 1.
        place: String,
    },
}
