//! Images of the sets of a benchmark.

use std::path::{Path, PathBuf};

use crate::error::DatasetError;
use crate::eval_sets::archive::{LabelUse, read_archives};
use crate::eval_sets::benchmark::classes::{BenchmarkClasses, location, mapped_names, match_kept};
use crate::eval_sets::benchmark::definition::{
    Benchmark, ClassSource, IdDefinition, ListFormat, OodDefinition, Selection, SetSource,
    ShiftedDefinition,
};
use crate::eval_sets::benchmark::select::select;
use crate::eval_sets::class_matching::{match_directories, number};
use crate::eval_sets::list::read_openood_list;
use crate::eval_sets::table::read_table;
use crate::eval_sets::{
    ClassMatching, ImageFolder, ImageSet, MatchedClasses, read_image_list, read_path_list,
};

/// Directories of a benchmark.
pub(super) struct Roots<'a> {
    data: &'a Path,
    lists: PathBuf,
}

impl Benchmark {
    /// Resolves the directories of this benchmark below a data root.
    pub(super) fn roots<'a>(&self, data_root: &'a Path) -> Roots<'a> {
        Roots {
            data: data_root,
            lists: data_root.join(&self.list_root),
        }
    }
}

/// Checks that the data root is a directory; an empty one is the current directory.
pub(super) fn check_root(data_root: &Path) -> Result<(), DatasetError> {
    let root = if data_root.as_os_str().is_empty() {
        Path::new(".")
    } else {
        data_root
    };
    let metadata = std::fs::metadata(root).map_err(|source| DatasetError::io(root, source))?;
    if metadata.is_dir() {
        return Ok(());
    }
    Err(DatasetError::NotADirectory {
        path: data_root.to_path_buf(),
    })
}

/// Opens the ID set, with its classes.
pub(super) fn open_id(
    id: &IdDefinition,
    roots: &Roots<'_>,
) -> Result<(ImageSet, BenchmarkClasses), DatasetError> {
    let data_root = roots.data;
    match &id.source {
        SetSource::List { path, root, format } => {
            let list = roots.lists.join(path);
            let (count, classes) = classes_of_labels(&id.classes, &list)?;
            let images = data_root.join(root);
            let mut set = read_labeled_list(&id.name, &list, &images, *format, count)?;
            if let ClassSource::BuiltInOfPaths(name) = &id.classes {
                set.class_directories = directories_of_labels(&set, &list)?;
                let classes = BenchmarkClasses::BuiltIn {
                    list: name.clone(),
                    all_directories: Some(set.class_directories.clone()),
                    present_only: true,
                };
                return Ok((set, classes));
            }
            Ok((set, classes))
        }
        SetSource::Archives { path } => {
            let archive = data_root.join(path);
            let (classes, names) = classes_of_labels(&id.classes, &archive)?;
            let set = read_archives(&id.name, &archive, LabelUse::Required { classes })?;
            Ok((set, names))
        }
        SetSource::Table { path } => open_id_table(id, &data_root.join(path), data_root),
        SetSource::Directory { path, selection } => {
            open_id_directory(id, &data_root.join(path), selection, data_root)
        }
    }
}

/// Returns the number of classes, if known, and the classes of a set with labels.
fn classes_of_labels(
    source: &ClassSource,
    path: &Path,
) -> Result<(Option<usize>, BenchmarkClasses), DatasetError> {
    match source {
        ClassSource::Inline(listed) => {
            let names = listed.names.clone();
            let count = names.len();
            let matched = MatchedClasses::new(names, ClassMatching::Labels, &[]);
            Ok((Some(count), BenchmarkClasses::Names(matched)))
        }
        ClassSource::BuiltIn(list) | ClassSource::BuiltInOfPaths(list) => Ok((
            None,
            BenchmarkClasses::BuiltIn {
                list: list.clone(),
                all_directories: None,
                present_only: false,
            },
        )),
        // A definition from a file has names for a list; one from flags may have none.
        ClassSource::ClassMap(_) | ClassSource::DirectoryNames => {
            Err(DatasetError::MissingClassNames {
                path: path.to_path_buf(),
            })
        }
    }
}

fn open_id_directory(
    id: &IdDefinition,
    path: &Path,
    selection: &Selection,
    data_root: &Path,
) -> Result<(ImageSet, BenchmarkClasses), DatasetError> {
    let mut folder = ImageFolder::read(path)?;
    if folder.classes.is_empty() {
        return Err(DatasetError::NoClassDirectories { path: folder.root });
    }
    if folder
        .classes
        .iter()
        .all(|class| number(&class.name).is_some())
    {
        // Labels 2 and 10 in this order, not in that of their bytes.
        folder.classes.sort_by_key(|class| number(&class.name));
    }
    let all: Vec<String> = folder
        .classes
        .iter()
        .map(|class| class.name.clone())
        .collect();
    if let ClassSource::Inline(listed) = &id.classes {
        // Before all directories are listed.
        match_directories(listed, &all, &folder.root)?;
    }
    select(&mut folder, selection, data_root)?;
    let set = folder.labeled(&id.name)?;
    let classes = classes_of_directories(&id.classes, all, &set, data_root)?;
    Ok((set, classes))
}

fn open_id_table(
    id: &IdDefinition,
    path: &Path,
    data_root: &Path,
) -> Result<(ImageSet, BenchmarkClasses), DatasetError> {
    let count = match &id.classes {
        ClassSource::Inline(listed) => Some(listed.names.len()),
        _ => None,
    };
    let set = read_table(&id.name, path, LabelUse::Required { classes: count })?;
    let classes = if set.class_directories.is_empty() {
        classes_of_labels(&id.classes, path)?.1
    } else {
        let all = set.class_directories.clone();
        classes_of_directories(&id.classes, all, &set, data_root)?
    };
    Ok((set, classes))
}

/// Returns the classes of a set with class directories. `all` are those before any was excluded. In a
/// table, the names of the labels are the directories.
fn classes_of_directories(
    source: &ClassSource,
    all: Vec<String>,
    set: &ImageSet,
    data_root: &Path,
) -> Result<BenchmarkClasses, DatasetError> {
    let named = |names: Vec<String>, matching: ClassMatching| {
        BenchmarkClasses::Names(MatchedClasses::new(names, matching, &set.class_directories))
    };
    Ok(match source {
        ClassSource::BuiltIn(list) | ClassSource::BuiltInOfPaths(list) => {
            BenchmarkClasses::BuiltIn {
                list: list.clone(),
                all_directories: Some(all),
                present_only: false,
            }
        }
        ClassSource::Inline(listed) => BenchmarkClasses::Names(match_kept(listed, &all, set)?),
        ClassSource::ClassMap(map) => named(mapped_names(map, data_root, set)?, ClassMatching::Map),
        ClassSource::DirectoryNames => {
            let matching = if set.table.is_some() {
                ClassMatching::LabelNames
            } else {
                ClassMatching::DirectoryNames
            };
            named(set.class_directories.clone(), matching)
        }
    })
}

/// Opens an OOD set.
pub(super) fn open_ood(ood: &OodDefinition, roots: &Roots<'_>) -> Result<ImageSet, DatasetError> {
    let data_root = roots.data;
    match &ood.source {
        // Labels would not be those of the ID classes.
        SetSource::List { path, root, format } => {
            let (list, images) = (roots.lists.join(path), data_root.join(root));
            match format {
                ListFormat::LastSpace => read_path_list(&ood.name, list, images),
                ListFormat::Openood => {
                    read_openood_list(&ood.name, &list, &images, LabelUse::Ignored)
                }
            }
        }
        SetSource::Archives { path } => {
            read_archives(&ood.name, &data_root.join(path), LabelUse::Ignored)
        }
        SetSource::Table { path } => {
            read_table(&ood.name, &data_root.join(path), LabelUse::Ignored)
        }
        SetSource::Directory { path, selection } => {
            let mut folder = ImageFolder::read(data_root.join(path))?;
            select(&mut folder, selection, data_root)?;
            folder.unlabeled(&ood.name)
        }
    }
}

/// Opens a set of the ID classes with a covariate shift.
pub(super) fn open_shifted(
    shifted: &ShiftedDefinition,
    roots: &Roots<'_>,
    id: &ImageSet,
) -> Result<ImageSet, DatasetError> {
    let data_root = roots.data;
    let directories = &id.class_directories;
    let classes = (!directories.is_empty()).then_some(directories.len());
    let name = &shifted.name;
    let mut set = match &shifted.source {
        SetSource::List { path, root, format } => {
            let list = roots.lists.join(path);
            return read_labeled_list(name, &list, &data_root.join(root), *format, classes);
        }
        SetSource::Archives { path } => {
            return read_archives(name, &data_root.join(path), LabelUse::Required { classes });
        }
        SetSource::Table { path } => read_table(
            name,
            &data_root.join(path),
            LabelUse::Required { classes: None },
        )?,
        SetSource::Directory { path, selection } => {
            let mut folder = ImageFolder::read(data_root.join(path))?;
            if folder.classes.is_empty() {
                return Err(DatasetError::NoClassDirectories { path: folder.root });
            }
            select(&mut folder, selection, data_root)?;
            folder.labeled(name)?
        }
    };
    // The directories have the names of those of the ID set, perhaps of only some.
    let index = |directory: &String| {
        let index = directories.iter().position(|other| other == directory);
        index.ok_or_else(|| DatasetError::UnknownShiftedClass {
            path: location(&set).to_path_buf(),
            class: directory.clone(),
        })
    };
    let indices = set
        .class_directories
        .iter()
        .map(index)
        .collect::<Result<Vec<_>, _>>()?;
    if !indices.is_empty() {
        for sample in &mut set.samples {
            sample.label = sample.label.and_then(|label| indices.get(label).copied());
        }
        set.class_directories.clone_from(directories);
    }
    Ok(set)
}

/// Reads an image list with labels.
pub(super) fn read_labeled_list(
    name: &str,
    list: &Path,
    images: &Path,
    format: ListFormat,
    classes: Option<usize>,
) -> Result<ImageSet, DatasetError> {
    match format {
        ListFormat::LastSpace => read_image_list(name, list, images, classes),
        ListFormat::Openood => {
            read_openood_list(name, list, images, LabelUse::Required { classes })
        }
    }
}

/// Returns the name of the directory that the images of each label are in, by label.
fn directories_of_labels(set: &ImageSet, list: &Path) -> Result<Vec<String>, DatasetError> {
    let classes = set
        .samples
        .iter()
        .filter_map(|sample| sample.label)
        .max()
        .map_or(0, |max| max + 1);
    let problem = |problem: String| DatasetError::ListClasses {
        path: list.to_path_buf(),
        problem,
    };
    if classes > set.samples.len() {
        return Err(problem(format!(
            "label {} in a list of {} images",
            classes - 1,
            set.samples.len()
        )));
    }
    let mut directories: Vec<Option<&str>> = vec![None; classes];
    for sample in &set.samples {
        let Some(label) = sample.label else { continue };
        let directory = sample
            .path
            .parent()
            .and_then(|parent| parent.file_name()?.to_str());
        let Some(directory) = directory else {
            return Err(problem(format!(
                "{} is in no class directory",
                sample.path.display()
            )));
        };
        match directories[label] {
            Some(other) if other != directory => {
                return Err(problem(format!(
                    "label {label} has images of the directories {other} and {directory}"
                )));
            }
            _ => directories[label] = Some(directory),
        }
    }
    let named = directories
        .into_iter()
        .enumerate()
        .map(|(label, directory)| {
            directory
                .map(str::to_owned)
                .ok_or_else(|| problem(format!("label {label} has no images")))
        });
    named.collect()
}
