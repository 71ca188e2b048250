use std::io;
use std::path::{Path, PathBuf};

/// Why a data set or a benchmark definition cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DatasetError {
    /// Nothing is there.
    #[error("there is no {}: check the path, and that the data set is unpacked there", .path.display())]
    Missing {
        /// The path looked for.
        path: PathBuf,
    },
    /// A folder was expected.
    #[error("{} is not a folder: give the folder that holds the images", .path.display())]
    NotAFolder {
        /// The path given.
        path: PathBuf,
    },
    /// Reading is not allowed.
    #[error("{} may not be read: give this user permission to read it (chmod u+rX)", .path.display())]
    Permission {
        /// The file or folder.
        path: PathBuf,
    },
    /// Reading failed for another reason.
    #[error("{} cannot be read: {source}", .path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A text file is far larger than such files are.
    #[error("{} holds {size} bytes, and at most {limit} are read for such a file: is it the right one", .path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Its size in bytes.
        size: u64,
        /// The largest size read.
        limit: u64,
    },
    /// A folder of images holds none.
    #[error(
        "{} holds no image{}: put files there that end in .jpg, .jpeg, .png, .webp, .bmp, .gif, .tif or .tiff",
        .path.display(), others(*.other_files)
    )]
    NoImages {
        /// The folder.
        path: PathBuf,
        /// Files found there that are no images by their names.
        other_files: usize,
    },
    /// A labelled set has no class folders.
    #[error(
        "{} has no class folders: a labelled set needs one folder of images for each class, as class/image.jpg",
        .path.display()
    )]
    NoClassFolders {
        /// The folder.
        path: PathBuf,
    },
    /// Every class folder was filtered out.
    #[error("no class folder of {} remains: loosen `exclude` or `roles`", .path.display())]
    NothingSelected {
        /// The folder.
        path: PathBuf,
    },
    /// Class names and class folders differ in number.
    #[error(
        "{names} class names (first: {}) for {folders} class folders in {} (first: {}): \
         the k-th name belongs to the k-th folder in sorted order, so give one name for each folder",
        list(.first_names, *.names), .path.display(), list(.first_folders, *.folders)
    )]
    ClassCount {
        /// The folder.
        path: PathBuf,
        /// Number of names.
        names: usize,
        /// Number of folders.
        folders: usize,
        /// A few names.
        first_names: Vec<String>,
        /// A few folders.
        first_folders: Vec<String>,
    },
    /// A class name is empty.
    #[error("class name {index} (counted from 0) is empty: give every class a name")]
    EmptyClassName {
        /// Its index.
        index: usize,
    },
    /// Class folders that the map does not know.
    #[error(
        "{count} class folders of {} are not in the map {map} (first: {}): add them to it, or to `exclude`",
        .path.display(), list(.first, *.count)
    )]
    Unmapped {
        /// The folder.
        path: PathBuf,
        /// The map.
        map: String,
        /// How many.
        count: usize,
        /// A few of them.
        first: Vec<String>,
    },
    /// Selected classes whose folders are not there.
    #[error(
        "{count} class folders that {map} names are not in {} (first: {}): \
         complete the data set, or list them in `exclude`",
        .path.display(), list(.first, *.count)
    )]
    FoldersMissing {
        /// The folder.
        path: PathBuf,
        /// The map.
        map: String,
        /// How many.
        count: usize,
        /// A few of them.
        first: Vec<String>,
    },
    /// An excluded class that does not exist.
    #[error(
        "`exclude` names `{folder}`, which is neither a class folder of {} nor in its map: \
         correct the name or remove it",
        .path.display()
    )]
    UnknownExclude {
        /// The folder.
        path: PathBuf,
        /// The name given.
        folder: String,
    },
    /// A role that no class of the map has.
    #[error(
        "`roles` names `{role}`, which no row of the map {map} has (it has: {known}): correct the role"
    )]
    UnknownRole {
        /// The map.
        map: String,
        /// The role given.
        role: String,
        /// The roles there are.
        known: String,
    },
    /// A line of an image list.
    #[error("{} line {line}: {problem}", .path.display())]
    ListLine {
        /// The list.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong and what to do.
        problem: String,
    },
    /// An image list without images.
    #[error("{} lists no image: give one `path label` a line", .path.display())]
    EmptyList {
        /// The list.
        path: PathBuf,
    },
    /// A label that no class name belongs to.
    #[error("{} has label {label}, but there are only {classes} class names: give the list's own class names", .path.display())]
    LabelRange {
        /// The image.
        path: PathBuf,
        /// Its label.
        label: usize,
        /// Number of class names.
        classes: usize,
    },
    /// A map file, or its table in a definition.
    #[error("{map}{}: {problem}", at_line(*.line))]
    Map {
        /// The map.
        map: String,
        /// The line, from 1, where one is at fault.
        line: Option<u64>,
        /// What is wrong and what to do.
        problem: String,
    },
    /// A benchmark definition that is no TOML, or not of the known form.
    #[error("benchmark definition {origin}: {problem}")]
    Definition {
        /// Its name or path.
        origin: String,
        /// What is wrong, where, and what to do.
        problem: String,
    },
    /// No benchmark of that name, nor a file.
    #[error("no benchmark `{given}`: give one of {known}, or the path of a definition (.toml)")]
    UnknownBenchmark {
        /// The name or path given.
        given: String,
        /// The embedded names.
        known: String,
    },
    /// No class list of that name.
    #[error(
        "no class list `{name}`: use a known one, or write the class names into the definition"
    )]
    UnknownClassList {
        /// The name given.
        name: String,
    },
    /// Something about one set of a benchmark.
    #[error("set `{set}`: {source}")]
    InSet {
        /// The set's name.
        set: String,
        /// What is wrong with it.
        source: Box<DatasetError>,
    },
}

impl DatasetError {
    /// The variant that tells best what the system said about a path.
    pub(super) fn io(path: &Path, source: io::Error) -> Self {
        let path = path.to_path_buf();
        match source.kind() {
            io::ErrorKind::NotFound => Self::Missing { path },
            io::ErrorKind::NotADirectory => Self::NotAFolder { path },
            io::ErrorKind::PermissionDenied => Self::Permission { path },
            _ => Self::Io { path, source },
        }
    }

    /// Says which set of a benchmark this is about.
    pub(super) fn in_set(self, set: &str) -> Self {
        Self::InSet {
            set: set.to_string(),
            source: Box::new(self),
        }
    }
}

/// How many names a message shows.
const SHOWN: usize = 3;

/// The first few of many, for a message.
pub(super) fn first_few<S: ToString>(names: impl IntoIterator<Item = S>) -> Vec<String> {
    names
        .into_iter()
        .take(SHOWN)
        .map(|name| name.to_string())
        .collect()
}

fn list(first: &[String], count: usize) -> String {
    match first {
        [] => "none".to_string(),
        _ if count > first.len() => format!("{}, …", first.join(", ")),
        _ => first.join(", "),
    }
}

fn others(files: usize) -> String {
    match files {
        0 => String::new(),
        1 => " (but 1 other file)".to_string(),
        n => format!(" (but {n} other files)"),
    }
}

fn at_line(line: Option<u64>) -> String {
    line.map_or_else(String::new, |line| format!(" line {line}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_system_s_words_become_advice() {
        let told =
            |kind: io::ErrorKind| DatasetError::io(Path::new("d/x"), kind.into()).to_string();
        assert!(told(io::ErrorKind::NotFound).starts_with("there is no d/x"));
        assert!(told(io::ErrorKind::NotADirectory).contains("not a folder"));
        assert!(told(io::ErrorKind::PermissionDenied).contains("permission"));
        assert!(told(io::ErrorKind::TimedOut).starts_with("d/x cannot be read"));
    }
}
