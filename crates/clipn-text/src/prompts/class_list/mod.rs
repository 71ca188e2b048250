//! Lists of class names in the forms that people have, and what was recognized.

mod form;
mod lines;
mod numbers;
mod ordering;
mod structured;
mod table;
mod yaml;

use clipn_base::count::{count, noun};
pub use form::ClassListForm;
use numbers::kept_numbers;

use std::path::Path;

use super::PromptError;
use super::class_names::{ClassNames, looks_like_path};
use super::fields::{Field, split_fields};
use super::literal::Literal;
use super::name_check::{duplicate_names, is_reserved_name};
use super::text_file::{read_text, unix_line_ends};

/// Class names with the form in which they were written.
///
/// ```
/// use clipn_text::prompts::{ClassList, ClassListForm};
///
/// let list = ClassList::resolve(r#"{"0": ["n04146614", "school_bus"], "1": ["n01443537", "goldfish"]}"#)?;
/// assert_eq!(list.names().names(), ["school bus", "goldfish"]);
/// assert_eq!(list.form(), &ClassListForm::ClassIndex);
/// assert_eq!(list.synset_ids().unwrap(), ["n04146614", "n01443537"]);
/// # Ok::<(), clipn_text::prompts::PromptError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClassList {
    names: ClassNames,
    origin: String,
    form: ClassListForm,
    /// Location of each name, such as `line 3`.
    locations: Vec<String>,
    synset_ids: Option<Vec<String>>,
    comments: usize,
    reordered: bool,
    remark: Option<String>,
}

/// A name before it is validated.
#[derive(Debug, Clone, Default)]
struct Entry {
    name: String,
    location: String,
    synset_id: Option<String>,
    /// Number of the class in the source.
    number: Option<usize>,
}

/// Names that a form contains, in class order.
#[derive(Debug)]
struct Entries {
    form: ClassListForm,
    entries: Vec<Entry>,
    comments: usize,
    /// Whether the order is that of numbers, which differs from that of the source.
    reordered: bool,
    /// What else a reader should know, as a clause.
    remark: Option<String>,
}

impl Entries {
    fn new(form: ClassListForm, entries: Vec<Entry>) -> Self {
        Self {
            form,
            entries,
            comments: 0,
            reordered: false,
            remark: None,
        }
    }
}

/// What prevents a form from being read, as a clause such as "lines 2 and 5 are quoted, …".
type Unclear = String;

impl ClassList {
    /// Returns a built-in list; see [`ClassNames::built_in`].
    ///
    /// # Errors
    /// [`PromptError::UnknownClassList`] for an unknown name.
    pub fn built_in(name: &str) -> Result<Self, PromptError> {
        let names = ClassNames::built_in(name)?;
        let list = Self::from_names(
            names,
            format!("the class list `{name}`"),
            ClassListForm::BuiltIn,
        );
        let synset_ids = ClassNames::built_in_synset_ids(name);
        Ok(Self {
            synset_ids: synset_ids.map(|ids| ids.lines().map(str::to_owned).collect()),
            ..list
        })
    }

    /// Takes names as they are.
    pub fn new(names: ClassNames) -> Self {
        Self::from_names(
            names,
            "the list of class names".to_owned(),
            ClassListForm::Names,
        )
    }

    /// Sets where the names come from, for errors.
    #[must_use]
    pub fn with_origin(self, origin: impl Into<String>) -> Self {
        Self {
            origin: origin.into(),
            ..self
        }
    }

    fn from_names(names: ClassNames, origin: String, form: ClassListForm) -> Self {
        Self {
            locations: (1..=names.len()).map(|i| format!("name {i}")).collect(),
            names,
            origin,
            form,
            synset_ids: None,
            comments: 0,
            reordered: false,
            remark: None,
        }
    }

    /// Reads a UTF-8 file of class names in any form of [`ClassListForm`].
    ///
    /// In lines, `#` begins a comment line, and `\#` a name with that character. A blank line between
    /// names is an error because it would shift the classes after it.
    ///
    /// # Errors
    /// A [`PromptError`] that names the file, and the line if there is one. Names in an unclear form
    /// are a [`PromptError::UnclearNames`], which describes what was seen; data that is no text is a
    /// [`PromptError::NotText`], and a name with a control character a
    /// [`PromptError::ControlCharacter`].
    pub fn load(path: impl AsRef<Path>) -> Result<Self, PromptError> {
        let path = path.as_ref();
        let text = read_text(path)?;
        let extension = path.extension().and_then(|extension| extension.to_str());
        Self::parse(
            &text,
            &path.display().to_string(),
            extension.unwrap_or_default(),
        )
    }

    /// Parses the text of a file of class names; `origin` names it in errors.
    ///
    /// # Errors
    /// Same as [`load`](Self::load), except for I/O errors.
    pub fn parse_text(text: &str, origin: &str) -> Result<Self, PromptError> {
        Self::parse(text, origin, "")
    }

    /// Parses names on a command line: separated by commas, or a list or dictionary in JSON or
    /// Python. One trailing comma is allowed, and names with commas are quoted.
    ///
    /// # Errors
    /// [`PromptError::NoClasses`] if there is no name, [`PromptError::EmptyName`] if one is empty,
    /// [`PromptError::ControlCharacter`] if one has a control character, and
    /// [`PromptError::Malformed`] or [`PromptError::UnclearNames`] for a list or dictionary.
    pub fn parse_inline(text: &str) -> Result<Self, PromptError> {
        let origin = "the list of class names";
        let text = text.trim();
        if Literal::is_start_of(text) {
            return Self::parse(text, origin, "");
        }
        let list = text.strip_suffix(',').unwrap_or(text);
        if list.trim().is_empty() {
            return Err(PromptError::NoClasses {
                origin: origin.to_owned(),
            });
        }
        let fields = split_fields(list, ',');
        if let Some(index) = fields.iter().position(Field::is_unclosed) {
            return Err(PromptError::UnclearNames {
                origin: origin.to_owned(),
                seen: unclosed_quote(&format!("name {}", index + 1)),
            });
        }
        let quoted = fields.iter().filter(|field| field.quoted).count();
        let form = match quoted {
            0 => ClassListForm::Names,
            _ => ClassListForm::Quoted,
        };
        let mut names: Vec<String> = fields.into_iter().map(|field| field.text).collect();
        if list.trim_end().ends_with(',') {
            // `split_fields` drops an empty field at the end.
            names.push(String::new());
        }
        let names = ClassNames::validated(names, origin, |i| format!("name {}", i + 1))?;
        let list = Self::from_names(names, origin.to_owned(), form);
        list.check_characters()?;
        Ok(list)
    }

    /// Resolves the name of a built-in list, or else the path of a file, or else names as
    /// [`parse_inline`](Self::parse_inline) reads them.
    ///
    /// Text that is neither a list nor a file is an error if it has no comma or looks like a path.
    /// A single class is written with a trailing comma, as in `cat,`.
    ///
    /// # Errors
    /// [`PromptError::UnresolvedClassList`] if it is none of these, and the errors of
    /// [`load`](Self::load) and [`parse_inline`](Self::parse_inline).
    pub fn resolve(input: &str) -> Result<Self, PromptError> {
        if ClassNames::built_in_names().contains(&input) {
            return Self::built_in(input);
        }
        if Path::new(input).exists() {
            return Self::load(input);
        }
        let is_literal = Literal::is_start_of(input);
        if !is_literal && (!input.contains(',') || looks_like_path(input)) {
            return Err(PromptError::UnresolvedClassList {
                input: input.to_owned(),
                known: ClassNames::built_in_names().join(", "),
            });
        }
        Self::parse_inline(input)
    }

    /// Parses the text of a file; `extension` is that of its name.
    pub(super) fn parse(text: &str, origin: &str, extension: &str) -> Result<Self, PromptError> {
        let unclear = |seen: Unclear| PromptError::UnclearNames {
            origin: origin.to_owned(),
            seen,
        };
        let text = &*unix_line_ends(text);
        let read = if Literal::is_start_of(text) {
            match Literal::parse(text) {
                Ok(literal) => structured::entries(literal).map_err(unclear)?,
                Err(error) => {
                    match structured::json_lines(text).or_else(|| yaml::flow(text, extension)) {
                        Some(entries) => entries.map_err(unclear)?,
                        None => {
                            return Err(PromptError::Malformed {
                                origin: origin.to_owned(),
                                format: "JSON or Python",
                                expected: "a list of names such as [\"cat\", \"dog\"]",
                                source: Box::new(error),
                            });
                        }
                    }
                }
            }
        } else {
            match yaml::entries(text, extension) {
                Some(entries) => entries.map_err(unclear)?,
                None => lines::entries(text, origin, extension)?,
            }
        };
        Self::from_entries(read, origin)
    }

    fn from_entries(read: Entries, origin: &str) -> Result<Self, PromptError> {
        let Entries {
            form,
            entries,
            comments,
            reordered,
            remark,
        } = read;
        let locations: Vec<String> = entries.iter().map(|entry| entry.location.clone()).collect();
        let synset_ids = entries
            .iter()
            .map(|entry| entry.synset_id.clone())
            .collect::<Option<Vec<_>>>()
            .filter(|ids| !ids.is_empty());
        let names = entries.into_iter().map(|entry| entry.name).collect();
        let names = ClassNames::validated(names, origin, |i| locations[i].clone())?;
        let list = Self {
            names,
            origin: origin.to_owned(),
            form,
            locations,
            synset_ids,
            comments,
            reordered,
            remark,
        };
        list.check_characters()?;
        Ok(list)
    }

    /// Checks that no name has a control character, which the tokenizer would drop without notice.
    fn check_characters(&self) -> Result<(), PromptError> {
        let is_control =
            |c: char| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}' | '\u{FEFF}');
        let found =
            self.names.iter().enumerate().find_map(|(index, name)| {
                Some((index, name, name.chars().find(|&c| is_control(c))?))
            });
        match found {
            Some((index, name, character)) => Err(PromptError::ControlCharacter {
                character,
                name: name.clone(),
                origin: self.origin.clone(),
                location: self.locations[index].clone(),
            }),
            None => Ok(()),
        }
    }

    /// Returns the names in class order.
    pub fn names(&self) -> &ClassNames {
        &self.names
    }

    /// Returns the names by value.
    pub fn into_names(self) -> ClassNames {
        self.names
    }

    /// Returns the form in which the names were written.
    pub fn form(&self) -> &ClassListForm {
        &self.form
    }

    /// Returns the synset ids of the classes, such as `n01443537`, if the source has them.
    pub fn synset_ids(&self) -> Option<&[String]> {
        self.synset_ids.as_deref()
    }

    /// Describes what was read in one line, with what was skipped; `None` if there is nothing to
    /// report: one name per line, without comments and numbers.
    pub fn description(&self) -> Option<String> {
        let numbers = match &self.form {
            ClassListForm::Lines => kept_numbers(self.names.names(), true),
            ClassListForm::Names
            | ClassListForm::Separated
            | ClassListForm::List
            | ClassListForm::Quoted
            | ClassListForm::Yaml
            | ClassListForm::YamlKey { .. } => kept_numbers(self.names.names(), false),
            _ => None,
        };
        if self.form.is_plain() && self.comments == 0 && numbers.is_none() {
            return None;
        }
        let mut clauses: Vec<String> = numbers.into_iter().chain(self.remark.clone()).collect();
        if self.comments > 0 {
            clauses.push(format!("skipped {}", count(self.comments, "comment line")));
        }
        let order = if self.reordered {
            ", in the order of the numbers"
        } else {
            ""
        };
        let clauses: String = clauses.iter().map(|clause| format!("; {clause}")).collect();
        Some(format!(
            "read {} from {}: {}{order}{clauses}",
            count(self.names.len(), "class name"),
            self.origin,
            self.form
        ))
    }

    /// Checks that no two names are the same for the tokenizer (see
    /// [`duplicate_names`](super::duplicate_names)) and that no class is called `unknown`.
    ///
    /// # Errors
    /// [`PromptError::DuplicateNames`] with the names and their locations, and
    /// [`PromptError::ReservedName`].
    pub fn check_names(&self) -> Result<(), PromptError> {
        self.check_reserved()?;
        match self.duplicates() {
            Some(duplicates) => Err(PromptError::DuplicateNames {
                origin: self.origin.clone(),
                duplicates,
            }),
            None => Ok(()),
        }
    }

    /// Checks that no class is called `unknown`, the label of images that belong to no class.
    ///
    /// # Errors
    /// [`PromptError::ReservedName`] with the name and its location.
    pub fn check_reserved(&self) -> Result<(), PromptError> {
        match self.names.iter().position(|name| is_reserved_name(name)) {
            Some(index) => Err(PromptError::ReservedName {
                name: self.names.names()[index].clone(),
                origin: self.origin.clone(),
                location: self.locations[index].clone(),
            }),
            None => Ok(()),
        }
    }

    /// Describes the duplicate names with their locations, such as `` `pizza` (line 3, line 13) ``;
    /// `None` if there are none.
    pub fn duplicates(&self) -> Option<String> {
        /// Maximum number of groups in a message.
        const SHOWN: usize = 8;
        let groups = duplicate_names(self.names.names());
        let describe = |group: &Vec<usize>| {
            let first = &self.names.names()[group[0]];
            let locations: Vec<String> = group
                .iter()
                .map(|&index| match &self.names.names()[index] {
                    name if name == first => self.locations[index].clone(),
                    name => format!("{} as `{name}`", self.locations[index]),
                })
                .collect();
            format!("`{first}` ({})", locations.join(", "))
        };
        if groups.is_empty() {
            return None;
        }
        let mut shown: Vec<String> = groups.iter().take(SHOWN).map(describe).collect();
        if groups.len() > SHOWN {
            shown.push(format!("and {} more", groups.len() - SHOWN));
        }
        Some(shown.join("; "))
    }
}

/// Describes a quotation mark without its counterpart at a location such as `line 3`.
fn unclosed_quote(location: &str) -> Unclear {
    format!("missing closing quotation mark in {location}")
}

/// Lists at most a few line numbers, such as `lines 2, 5`.
fn line_list(lines: &[usize]) -> String {
    const SHOWN: usize = 5;
    let shown: Vec<String> = lines.iter().take(SHOWN).map(usize::to_string).collect();
    let more = if lines.len() > SHOWN { ", …" } else { "" };
    format!("{} {}{more}", noun(&lines.len(), "line"), shown.join(", "))
}

/// Whether a text is a WordNet synset id such as `n01443537`.
fn is_synset_id(text: &str) -> bool {
    text.len() == 9 && text.starts_with('n') && text[1..].bytes().all(|byte| byte.is_ascii_digit())
}

/// The beginning of a text, for messages.
fn shortened(text: &str) -> String {
    const SHOWN: usize = 40;
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// Name of a file or an index, with spaces for underscores.
fn spaced(name: &str) -> String {
    name.replace('_', " ").trim().to_owned()
}
