use std::io;
use std::path::{Path, PathBuf};

use clipn_base::count::count as number_of;

use crate::skipped_files::SkippedFiles;

/// Error of a data set or a benchmark definition.
///
/// [`hint`](Self::hint) returns advice, which the messages do not contain.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DatasetError {
    /// A path does not exist.
    #[error("{} does not exist", .path.display())]
    Missing {
        /// The missing path.
        path: PathBuf,
    },
    /// A path is not a directory.
    #[error("{} is not a directory", .path.display())]
    NotADirectory {
        /// The given path.
        path: PathBuf,
    },
    /// The user has no permission to read a path.
    #[error("permission to read {} denied", .path.display())]
    Permission {
        /// The file or directory.
        path: PathBuf,
    },
    /// Reading a path failed for another reason.
    #[error("cannot read {}", .path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// Error of the operating system.
        source: io::Error,
    },
    /// A text file exceeds the size limit.
    #[error("{} has {size} bytes, which exceeds the limit of {limit}", .path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Size in bytes.
        size: u64,
        /// Maximum size in bytes.
        limit: u64,
    },
    /// A directory contains no images.
    #[error("no images in {}{}", .path.display(), others(.skipped))]
    NoImages {
        /// The directory.
        path: PathBuf,
        /// Files in it that are no images.
        skipped: SkippedFiles,
    },
    /// A labeled set has no class directories.
    #[error("no class directories in {}; expected CLASS/IMAGE", .path.display())]
    NoClassDirectories {
        /// The directory.
        path: PathBuf,
    },
    /// A selection excludes every class directory.
    #[error("`exclude` and `roles` select no class directory of {}", .path.display())]
    NothingSelected {
        /// The directory.
        path: PathBuf,
    },
    /// The numbers of class names and class directories differ.
    #[error(
        "expected one class name for each of the {directories} class directories in {} (first: {}), \
        got {names} (first: {})",
        .path.display(), list(.first_directories, *.directories), list(.first_names, *.names)
    )]
    ClassCount {
        /// The directory.
        path: PathBuf,
        /// Number of names.
        names: usize,
        /// Number of class directories.
        directories: usize,
        /// The first few names.
        first_names: Vec<String>,
        /// The first few class directories.
        first_directories: Vec<String>,
    },
    /// Some class directories have the names of classes and some have not, and the order of the
    /// directories is not that of the names.
    #[error(
        "{} in {} {} the name of a class, {count} {} not ({}){}",
        number_of(*.matched, "class directory"), .path.display(), verb(*.matched, "has", "have"),
        verb(*.count, "has", "have"), list(.directories, *.count), without_directory(.names)
    )]
    PartialMatch {
        /// The directory.
        path: PathBuf,
        /// Number of class directories with the name of a class.
        matched: usize,
        /// Number of class directories without.
        count: usize,
        /// The first few class directories without.
        directories: Vec<String>,
        /// The first few names without a directory.
        names: Vec<String>,
    },
    /// A set has labels, but no class names.
    #[error("{} has labels, but no class names", .path.display())]
    MissingClassNames {
        /// The list, archive or table.
        path: PathBuf,
    },
    /// An archive cannot be read to its end.
    #[error("cannot read the archive {}", .path.display())]
    Archive {
        /// The archive.
        path: PathBuf,
        /// Error of reading.
        source: io::Error,
    },
    /// A sample of an archive has no usable label or several images.
    #[error("sample {sample} of {}: {problem}", .path.display())]
    ArchiveSample {
        /// The archive.
        path: PathBuf,
        /// Key of the sample.
        sample: String,
        /// Description of the problem.
        problem: String,
    },
    /// Paths of archives cannot be resolved.
    #[error("no archives at {}: {problem}", .path.display())]
    NoArchives {
        /// The given path or pattern.
        path: PathBuf,
        /// Description of the problem.
        problem: String,
    },
    /// A class name is empty.
    #[error("empty class name at index {index}")]
    EmptyClassName {
        /// Index of the class, from 0.
        index: usize,
    },
    /// Class directories are missing from the map.
    #[error(
        "{} of {} {} neither in the map {map} nor in `exclude` (first: {})",
        number_of(*.count, "class directory"), .path.display(), verb(*.count, "is", "are"),
        list(.examples, *.count)
    )]
    ClassesMissingFromMap {
        /// The directory.
        path: PathBuf,
        /// The map.
        map: String,
        /// Number of missing class directories.
        count: usize,
        /// The first few of them.
        examples: Vec<String>,
    },
    /// Directories of selected classes do not exist.
    #[error(
        "{} of the map {map} {} neither in {} nor in `exclude` (first: {})",
        number_of(*.count, "class directory"), verb(*.count, "is", "are"), .path.display(),
        list(.examples, *.count)
    )]
    MissingClassDirectories {
        /// The directory.
        path: PathBuf,
        /// The map.
        map: String,
        /// Number of missing class directories.
        count: usize,
        /// The first few of them.
        examples: Vec<String>,
    },
    /// An excluded class does not exist.
    #[error(
        "unknown class `{class}` in `exclude`: neither a class directory of {} nor in its map",
        .path.display()
    )]
    UnknownExcludedClass {
        /// The directory.
        path: PathBuf,
        /// The given name.
        class: String,
    },
    /// No class of the map has the given role.
    #[error("unknown role `{role}` in `roles`; roles in the map {map}: {known}")]
    UnknownRole {
        /// The map.
        map: String,
        /// The given role.
        role: String,
        /// The roles in the map, separated by commas.
        known: String,
    },
    /// A line of an image list or of JSON Lines is malformed.
    #[error("{} line {line}: {problem}", .path.display())]
    ListLine {
        /// The list.
        path: PathBuf,
        /// Line number, from 1.
        line: usize,
        /// Description of the problem.
        problem: String,
    },
    /// A table of images is damaged or lacks a column.
    #[error("{}: {problem}", .path.display())]
    Table {
        /// The table.
        path: PathBuf,
        /// Description of the problem.
        problem: String,
    },
    /// A row of a table has no image or no usable label.
    #[error("row {row} of {}: {problem}", .path.display())]
    TableRow {
        /// The table.
        path: PathBuf,
        /// Number of the row, from 0.
        row: u64,
        /// Description of the problem.
        problem: String,
    },
    /// A Parquet file cannot be read, since the crate was built without its feature `parquet`.
    #[error("{}: this build does not read Parquet", .path.display())]
    WithoutParquet {
        /// The file.
        path: PathBuf,
    },
    /// An image list is empty.
    #[error("no images in the list {}; expected lines `path label`", .path.display())]
    EmptyList {
        /// The list.
        path: PathBuf,
    },
    /// The paths of a list do not show the class of each label.
    #[error("cannot find the classes of the list {}: {problem}", .path.display())]
    ListClasses {
        /// The list.
        path: PathBuf,
        /// Description of the problem.
        problem: String,
    },
    /// A set with a covariate shift has a class directory that the ID set lacks.
    #[error("class `{class}` of {} is not a class directory of the ID set", .path.display())]
    UnknownShiftedClass {
        /// The directory or table of the set.
        path: PathBuf,
        /// Name of the directory.
        class: String,
    },
    /// A label exceeds the number of class names.
    #[error("label {label} of {} is out of range for {classes} class names", .path.display())]
    LabelOutOfRange {
        /// The image.
        path: PathBuf,
        /// The label.
        label: usize,
        /// Number of class names.
        classes: usize,
    },
    /// A class map, in a file or a definition, is malformed.
    #[error("{map}{}: {problem}", at_line(*.line))]
    Map {
        /// The map.
        map: String,
        /// Line number, from 1, if known.
        line: Option<u64>,
        /// Description of the problem.
        problem: String,
    },
    /// A benchmark definition is not valid TOML or has invalid keys.
    #[error("invalid benchmark definition {origin}: {problem}")]
    Definition {
        /// Name or path of the definition.
        origin: String,
        /// Description and location of the problem.
        problem: String,
    },
    /// A name is neither a benchmark nor a file.
    #[error("unknown benchmark `{name}`, and no file has that name; known benchmarks: {known}")]
    UnknownBenchmark {
        /// The given name or path.
        name: String,
        /// The embedded names, separated by commas.
        known: String,
    },
    /// A class list has an unknown name.
    #[error("unknown class list `{name}`")]
    UnknownClassList {
        /// The given name.
        name: String,
    },
    /// The name of an [`OodKind`](crate::OodKind) is unknown.
    #[error("unknown kind `{name}` of an OOD set; expected near or far")]
    UnknownKind {
        /// The given name.
        name: String,
    },
    /// A set of a benchmark cannot be used.
    #[error("cannot open set `{set}`")]
    InSet {
        /// The set's name.
        set: String,
        /// The error of the set.
        source: Box<DatasetError>,
    },
}

impl DatasetError {
    /// Advice on how to resolve the error, as a clause without final stop; `None` if the message
    /// says it all.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Missing { .. } => Some("check the path, and that the data set is unpacked there"),
            Self::NotADirectory { .. } => Some("give the directory that contains the images"),
            Self::Permission { .. } => Some("give this user read permission (chmod u+rX)"),
            Self::TooLarge { .. } => Some("check that this is the right file"),
            Self::NoImages { .. } => {
                Some("images end in .jpg, .jpeg, .png, .webp, .bmp, .gif, .tif or .tiff")
            }
            Self::NoClassDirectories { .. } => {
                Some("a labeled set needs one directory of images per class: CLASS/IMAGE.jpg")
            }
            Self::WithoutParquet { .. } => Some("build with the feature `parquet`"),
            Self::NothingSelected { .. } => Some("loosen `exclude` or `roles`"),
            Self::ClassCount { .. } => Some(
                "directories that are not named like the classes or by their numbers belong to the names in sorted order; give one name for each",
            ),
            Self::PartialMatch { .. } => Some(
                "rename the directories or the classes, so that all of them match by name, or none",
            ),
            Self::MissingClassNames { .. } => Some("give the class names that the labels index"),
            Self::Archive { .. } => Some("download or write the archive again"),
            Self::ClassesMissingFromMap { .. } => {
                Some("add the classes to the map, or to `exclude`")
            }
            Self::MissingClassDirectories { .. } => {
                Some("complete the data set, or list the classes in `exclude`")
            }
            Self::UnknownExcludedClass { .. } | Self::UnknownRole { .. } => {
                Some("correct or remove the name")
            }
            Self::LabelOutOfRange { .. } => Some("give the class names of the list"),
            Self::UnknownBenchmark { .. } => {
                Some("give a known benchmark or the path of a definition (.toml)")
            }
            Self::UnknownClassList { .. } => {
                Some("use a known list, or give the class names in the definition")
            }
            Self::InSet { source, .. } => source.hint(),
            _ => None,
        }
    }

    /// Maps an I/O error to the most specific variant.
    pub(crate) fn io(path: &Path, source: io::Error) -> Self {
        let path = path.to_path_buf();
        match source.kind() {
            io::ErrorKind::NotFound => Self::Missing { path },
            io::ErrorKind::NotADirectory => Self::NotADirectory { path },
            io::ErrorKind::PermissionDenied => Self::Permission { path },
            _ => Self::Io { path, source },
        }
    }

    /// Wraps the error in [`DatasetError::InSet`].
    pub(crate) fn in_set(self, set: &str) -> Self {
        Self::InSet {
            set: set.to_string(),
            source: Box::new(self),
        }
    }
}

/// Maximum number of names in a message.
const MAX_SHOWN: usize = 3;

/// Returns the first few names, for a message.
pub(crate) fn first_few<S: ToString>(names: impl IntoIterator<Item = S>) -> Vec<String> {
    names
        .into_iter()
        .take(MAX_SHOWN)
        .map(|name| name.to_string())
        .collect()
}

/// The singular or the plural of a verb.
fn verb<'a>(number: usize, singular: &'a str, plural: &'a str) -> &'a str {
    if number == 1 { singular } else { plural }
}

fn list(first: &[String], count: usize) -> String {
    match first {
        [] => "none".to_string(),
        _ if count > first.len() => format!("{}, …", first.join(", ")),
        _ => first.join(", "),
    }
}

fn without_directory(names: &[String]) -> String {
    if names.is_empty() {
        return String::new();
    }
    let names = list(names, names.len());
    format!(", and there are classes without a directory ({names})")
}

fn others(skipped: &SkippedFiles) -> String {
    match skipped.total() {
        0 => String::new(),
        1 => format!(" (1 other file: {skipped})"),
        n => format!(" ({n} other files: {skipped})"),
    }
}

fn at_line(line: Option<u64>) -> String {
    line.map_or_else(String::new, |line| format!(" line {line}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn io_errors_map_to_specific_variants() {
        let message =
            |kind: io::ErrorKind| DatasetError::io(Path::new("d/x"), kind.into()).to_string();
        assert!(message(io::ErrorKind::NotFound).starts_with("d/x does not exist"));
        assert!(message(io::ErrorKind::NotADirectory).contains("not a directory"));
        assert!(message(io::ErrorKind::PermissionDenied).contains("permission"));
        assert!(message(io::ErrorKind::TimedOut).starts_with("cannot read d/x"));
    }
}
