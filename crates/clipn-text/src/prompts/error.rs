use std::path::PathBuf;

/// What can be wrong with templates and class names.
#[derive(Debug, thiserror::Error)]
pub enum PromptError {
    /// No built-in template set has the name.
    #[error("there is no template set named `{name}`; the sets are {known}")]
    UnknownTemplates {
        /// The name asked for.
        name: String,
        /// The names there are.
        known: String,
    },
    /// Neither a built-in template set nor a file.
    #[error(
        "`{spec}` is neither a template set (these are {known}) nor a file that exists; \
         check the spelling of the name or the path"
    )]
    UnresolvedTemplates {
        /// What was given.
        spec: String,
        /// The names there are.
        known: String,
    },
    /// No built-in class list has the name.
    #[error("there is no class list named `{name}`; the lists are {known}")]
    UnknownClasses {
        /// The name asked for.
        name: String,
        /// The names there are.
        known: String,
    },
    /// Neither a built-in class list, nor a file, nor a list written out.
    #[error(
        "`{spec}` is neither a class list (these are {known}), nor a file that exists, nor a list of names; \
         check the path, or separate names by commas (`cat, dog`; a single class is `cat,`)"
    )]
    UnresolvedClasses {
        /// What was given.
        spec: String,
        /// The names there are.
        known: String,
    },
    /// A file cannot be read.
    #[error("cannot read {}: {source}; check that the file exists and may be read", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// A file is too large to be a list of names or templates.
    #[error(
        "{} is larger than {limit} bytes, too large for a list of names or templates; \
         pass a text file with one entry a line",
        path.display()
    )]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// The most that is read.
        limit: u64,
    },
    /// A file is not UTF-8.
    #[error("{} is not UTF-8 (first wrong byte at offset {offset}); save it as UTF-8", path.display())]
    NotUtf8 {
        /// The file.
        path: PathBuf,
        /// Where the first wrong byte stands.
        offset: usize,
    },
    /// A TOML or JSON file does not hold what it should.
    #[error("{origin} is not valid {format}: {message}; expected {expected}")]
    Malformed {
        /// The file or set.
        origin: String,
        /// `TOML` or `JSON`.
        format: &'static str,
        /// What the parser says.
        message: String,
        /// What should stand there.
        expected: &'static str,
    },
    /// A template without a place for the class name.
    #[error(
        "the template {template:?} has no `{{}}`; \
         put `{{}}` where the class name goes, as in `a photo of a {{}}.`"
    )]
    NoPlaceholder {
        /// The template.
        template: String,
    },
    /// A template is wrong, with its place.
    #[error("{origin}, {place}: {source}")]
    BadTemplate {
        /// The file or set.
        origin: String,
        /// The line, or the list and the entry's number.
        place: String,
        /// What is wrong with it.
        source: Box<PromptError>,
    },
    /// A set without any template.
    #[error("{origin} holds no template; add at least one line such as `a photo of a {{}}.`")]
    NoTemplates {
        /// The file or set.
        origin: String,
    },
    /// `yes` and `no` templates are paired, so they must be equally many.
    #[error(
        "{origin} has {yes} `yes` templates and {no} `no` templates; they are paired one by one, \
         so give as many of each, or leave `no` out"
    )]
    Unpaired {
        /// The file or set.
        origin: String,
        /// How many `yes` templates there are.
        yes: usize,
        /// How many `no` templates there are.
        no: usize,
    },
    /// A list without any class name.
    #[error("{origin} holds no class name; give at least one")]
    NoClasses {
        /// The file or list.
        origin: String,
    },
    /// A class without a name.
    #[error(
        "{origin}, {place}: the class name is empty; fill it in or remove it, \
         since the order of names is the order of classes"
    )]
    EmptyName {
        /// The file or list.
        origin: String,
        /// The line or the entry's number.
        place: String,
    },
}
