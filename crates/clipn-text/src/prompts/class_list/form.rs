use std::fmt;

/// Form in which class names were written.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ClassListForm {
    /// Built-in list.
    BuiltIn,
    /// One name per line.
    Lines,
    /// Names given in code.
    Names,
    /// One line of names with commas or semicolons between them.
    Separated,
    /// List in JSON or Python.
    List,
    /// Dictionary from whole numbers to names, in JSON or Python.
    Numbers,
    /// Dictionary from whole numbers to a synset id and a name, as Keras and torchvision have it.
    ClassIndex,
    /// Dictionary from names to whole numbers, such as `class_to_idx` of torchvision.
    Indices,
    /// Dictionary from synset ids to names.
    Identifiers,
    /// Objects with a key for the name.
    Records {
        /// Key of the name.
        key: String,
    },
    /// Table with a header line.
    Table {
        /// Header of the column with the names.
        column: String,
    },
    /// Lines with a synset id and a name.
    Synsets,
    /// Lines with a path and mostly a number, such as `/a/airfield 0` of Places365 and SUN.
    Paths,
    /// Lines with a number and a name.
    NumberedLines,
    /// Lines with a name and a number.
    IndexedLines,
    /// Quoted names, one or several per line.
    Quoted,
    /// YAML list.
    Yaml,
    /// List or mapping under a key of YAML, as in the data files of Ultralytics.
    YamlKey {
        /// Key of the list, such as `names`.
        key: String,
    },
}

impl ClassListForm {
    /// Whether the names stand as they are, one per line or separated by commas on a command line,
    /// so that nothing was interpreted.
    pub fn is_plain(&self) -> bool {
        matches!(self, Self::BuiltIn | Self::Lines | Self::Names)
    }
}

impl fmt::Display for ClassListForm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::BuiltIn => "a built-in list",
            Self::Lines => "one name per line",
            Self::Names => "names",
            Self::Separated => "one line of names, separated",
            Self::List => "a list in JSON or Python",
            Self::Numbers => "a dictionary from numbers to names",
            Self::ClassIndex => "a dictionary from numbers to synset ids and names",
            Self::Indices => "a dictionary from names to numbers",
            Self::Identifiers => "a dictionary from synset ids to names",
            Self::Records { key } => return write!(f, "objects with the key `{key}`"),
            Self::Table { column } => return write!(f, "the column `{column}` of a table"),
            Self::Synsets => "lines of synset id and name",
            Self::Paths => "lines of paths",
            Self::NumberedLines => "lines of number and name",
            Self::IndexedLines => "lines of name and number",
            Self::Quoted => "quoted names",
            Self::Yaml => "a YAML list",
            Self::YamlKey { key } => return write!(f, "the key `{key}` of YAML"),
        })
    }
}
