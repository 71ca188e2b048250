use std::collections::HashSet;
use std::path::{Path, PathBuf};

use crate::error::{DatasetError, first_few};
use crate::eval_sets::archive::{LabelUse, read_archives};
use crate::eval_sets::benchmark::definition::{
    Benchmark, ClassSource, IdDefinition, ListFormat, OodDefinition, OodKind, Selection, SetSource,
    ShiftedDefinition,
};
use crate::eval_sets::class_matching::{match_directories, number};
use crate::eval_sets::list::read_openood_list;
use crate::eval_sets::table::read_table;
use crate::eval_sets::{
    ClassMap, ClassMapSource, ClassMatching, ImageFolder, ImageSet, ListedClasses, MatchedClasses,
    read_image_list, read_path_list,
};

/// A benchmark with the paths of its images.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenedBenchmark {
    /// Name of the benchmark.
    pub name: String,
    /// Whether every image is converted to gray first.
    pub gray: bool,
    /// ID images; labels are indices of class names.
    pub id: ImageSet,
    /// Sets of ID classes with a covariate shift, which count as ID; labels as in [`id`](Self::id).
    pub shifted: Vec<ImageSet>,
    /// Names of the ID classes or a built-in list; [`class_names`](Self::class_names) resolves
    /// both.
    pub classes: BenchmarkClasses,
    /// OOD sets, in the order of the definition.
    pub ood: Vec<OodSet>,
    /// Sets whose number of images is not that of the complete set.
    pub incomplete: Vec<IncompleteSet>,
}

/// A set with another number of images than the definition has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IncompleteSet {
    /// Name of the set.
    pub name: String,
    /// Number of images found.
    pub images: usize,
    /// Number of images of the complete set.
    pub expected: usize,
}

/// An OOD set with the paths of its images.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OodSet {
    /// Images, without labels.
    pub set: ImageSet,
    /// Distance from the ID classes, if the definition has it.
    pub kind: Option<OodKind>,
}

/// Class names of an opened benchmark.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum BenchmarkClasses {
    /// Names in the order of the labels, `[K]`.
    Names(MatchedClasses),
    /// A built-in class list.
    BuiltIn {
        /// Name of the list.
        list: String,
        /// For class directories: the names of all directories before any was excluded, in the
        /// order of the list. For an image list whose paths have the synset ids: these, by label.
        all_directories: Option<Vec<String>>,
        /// Whether names without a directory are no classes.
        present_only: bool,
    },
}

impl Benchmark {
    /// Finds the images of every set below `data_root`. If `data_root` is empty, paths are relative
    /// to the current directory and stay as written in the definition.
    ///
    /// # Errors
    /// [`DatasetError::InSet`] for an error of a set, [`DatasetError::Missing`] or
    /// [`DatasetError::NotADirectory`] if `data_root` itself is not a directory.
    pub fn open(&self, data_root: impl AsRef<Path>) -> Result<OpenedBenchmark, DatasetError> {
        let data_root = data_root.as_ref();
        check_root(data_root)?;
        let roots = self.roots(data_root);
        let (id, classes) =
            open_id(&self.id, &roots).map_err(|error| error.in_set(&self.id.name))?;
        let shifted = self
            .shifted
            .iter()
            .map(|set| open_shifted(set, &roots, &id).map_err(|error| error.in_set(&set.name)));
        let shifted = shifted.collect::<Result<Vec<_>, DatasetError>>()?;
        let open = |set: &OodDefinition| {
            let opened = open_ood(set, &roots).map_err(|error| error.in_set(&set.name))?;
            Ok(OodSet {
                set: opened,
                kind: set.kind,
            })
        };
        let ood = self
            .ood
            .iter()
            .map(open)
            .collect::<Result<Vec<_>, DatasetError>>()?;
        let sets = std::iter::once((&id, self.id.images))
            .chain(
                shifted
                    .iter()
                    .zip(self.shifted.iter().map(|set| set.images)),
            )
            .chain(
                ood.iter()
                    .map(|set| &set.set)
                    .zip(self.ood.iter().map(|set| set.images)),
            );
        let incomplete = sets.filter_map(|(set, expected)| IncompleteSet::new(set, expected?));
        Ok(OpenedBenchmark {
            name: self.name.clone(),
            gray: self.gray,
            incomplete: incomplete.collect(),
            id,
            shifted,
            classes,
            ood,
        })
    }

    /// Resolves the directories of this benchmark below a data root.
    pub(super) fn roots<'a>(&self, data_root: &'a Path) -> Roots<'a> {
        Roots {
            data: data_root,
            lists: data_root.join(&self.list_root),
        }
    }
}

impl IncompleteSet {
    fn new(set: &ImageSet, expected: usize) -> Option<Self> {
        (set.len() != expected).then(|| Self {
            name: set.name.clone(),
            images: set.len(),
            expected,
        })
    }
}

/// Directories of a benchmark.
pub(super) struct Roots<'a> {
    data: &'a Path,
    lists: PathBuf,
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

impl OpenedBenchmark {
    /// Returns the names of the ID classes in the order of the labels, `[K]`; see
    /// [`match_classes`](Self::match_classes).
    ///
    /// # Errors
    /// Same as [`match_classes`](Self::match_classes).
    pub fn class_names(
        &self,
        built_in: impl FnOnce(&str) -> Option<Vec<String>>,
    ) -> Result<Vec<String>, DatasetError> {
        let listed = |list: &str| built_in(list).map(ListedClasses::from);
        Ok(self.match_classes(listed)?.names)
    }

    /// Returns the names of the ID classes in the order of the labels, and how names and labels were
    /// matched. `built_in` returns the classes of a built-in list, such as `imagenet-1k`, and is called
    /// only if the definition uses one.
    ///
    /// # Errors
    /// [`DatasetError::UnknownClassList`] if `built_in` returns `None`, [`DatasetError::ClassCount`],
    /// [`DatasetError::PartialMatch`] or [`DatasetError::LabelOutOfRange`] if the list does not fit
    /// the images.
    pub fn match_classes(
        &self,
        built_in: impl FnOnce(&str) -> Option<ListedClasses>,
    ) -> Result<MatchedClasses, DatasetError> {
        match_classes(&self.classes, &self.id, built_in)
    }
}

/// Same as [`OpenedBenchmark::match_classes`], for the parts of an opened benchmark.
pub(super) fn match_classes(
    classes: &BenchmarkClasses,
    id: &ImageSet,
    built_in: impl FnOnce(&str) -> Option<ListedClasses>,
) -> Result<MatchedClasses, DatasetError> {
    let (list, all_directories, present_only) = match classes {
        BenchmarkClasses::Names(matched) => return Ok(matched.clone()),
        BenchmarkClasses::BuiltIn {
            list,
            all_directories,
            present_only,
        } => (list, all_directories, *present_only),
    };
    let listed =
        built_in(list).ok_or_else(|| DatasetError::UnknownClassList { name: list.clone() })?;
    if let Some(all) = all_directories {
        let mut matched = match_kept(&listed, all, id)?;
        if present_only {
            matched.names.truncate(all.len());
        }
        return Ok(matched);
    }
    let classes = listed.names.len();
    let out_of_range = id
        .samples
        .iter()
        .find_map(|sample| Some((sample, sample.label.filter(|&label| label >= classes)?)));
    match out_of_range {
        Some((sample, label)) => Err(DatasetError::LabelOutOfRange {
            path: sample.path.clone(),
            label,
            classes,
        }),
        None => Ok(MatchedClasses::new(
            listed.names,
            ClassMatching::Labels,
            &[],
        )),
    }
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

/// Removes the class directories that are not selected.
pub(super) fn select(
    folder: &mut ImageFolder,
    selection: &Selection,
    data_root: &Path,
) -> Result<(), DatasetError> {
    let map = selection
        .map
        .as_ref()
        .map(|map| ClassMap::read(map, data_root))
        .transpose()?;
    check_excludes(folder, selection, map.as_ref())?;
    let excluded = |name: &str| selection.exclude.iter().any(|other| other == name);
    folder.classes.retain(|class| !excluded(&class.name));
    if let Some(map) = &map {
        select_by_map(folder, selection, map)?;
    }
    if !selection.roles.is_empty() || selection.mapped_only {
        folder.exclude_loose_images();
    }
    let filtered =
        !selection.exclude.is_empty() || !selection.roles.is_empty() || selection.mapped_only;
    if filtered && folder.classes.is_empty() {
        return Err(DatasetError::NothingSelected {
            path: folder.root.clone(),
        });
    }
    Ok(())
}

/// Checks that excluded names exist; a typo would include a class that should be excluded.
fn check_excludes(
    folder: &ImageFolder,
    selection: &Selection,
    map: Option<&ClassMap>,
) -> Result<(), DatasetError> {
    let known = |name: &String| {
        folder.classes.iter().any(|class| class.name == *name)
            || map.is_some_and(|map| map.entries.contains_key(name))
    };
    match selection.exclude.iter().find(|name| !known(name)) {
        Some(name) => Err(DatasetError::UnknownExcludedClass {
            path: folder.root.clone(),
            class: name.clone(),
        }),
        None => Ok(()),
    }
}

/// Removes the directories without one of the selected roles. Directories and map must list the
/// same classes.
fn select_by_map(
    folder: &mut ImageFolder,
    selection: &Selection,
    map: &ClassMap,
) -> Result<(), DatasetError> {
    let roles = map.roles();
    if let Some(role) = selection
        .roles
        .iter()
        .find(|role| !roles.contains(role.as_str()))
    {
        let known = roles.into_iter().collect::<Vec<_>>().join(", ");
        return Err(DatasetError::UnknownRole {
            map: map.origin.clone(),
            role: role.clone(),
            known,
        });
    }
    if selection.mapped_only {
        folder
            .classes
            .retain(|class| map.entries.contains_key(&class.name));
    }
    let unmapped: Vec<&String> = folder
        .classes
        .iter()
        .map(|class| &class.name)
        .filter(|name| !map.entries.contains_key(*name))
        .collect();
    if !unmapped.is_empty() {
        let (path, map, count) = (folder.root.clone(), map.origin.clone(), unmapped.len());
        return Err(DatasetError::ClassesMissingFromMap {
            path,
            map,
            count,
            examples: first_few(unmapped),
        });
    }
    let selected = |name: &str| {
        let role = map.entries.get(name).and_then(|row| row.role.as_ref());
        selection.roles.is_empty() || role.is_some_and(|role| selection.roles.contains(role))
    };
    folder.classes.retain(|class| selected(&class.name));
    let present: HashSet<&str> = folder
        .classes
        .iter()
        .map(|class| class.name.as_str())
        .collect();
    let missing: Vec<&String> = map
        .entries
        .keys()
        .filter(|name| {
            selected(name) && !present.contains(name.as_str()) && !selection.exclude.contains(name)
        })
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    let (path, map, count) = (folder.root.clone(), map.origin.clone(), missing.len());
    Err(DatasetError::MissingClassDirectories {
        path,
        map,
        count,
        examples: first_few(missing),
    })
}

/// Returns the names of the directories that were kept, and the names without a directory behind
/// them; `listed` belongs to `all` directories.
fn match_kept(
    listed: &ListedClasses,
    all: &[String],
    set: &ImageSet,
) -> Result<MatchedClasses, DatasetError> {
    let names = &listed.names;
    if let Some(index) = names.iter().position(|name| name.trim().is_empty()) {
        return Err(DatasetError::EmptyClassName { index });
    }
    let matched = match_directories(listed, all, location(set))?;
    let kept: HashSet<&String> = set.class_directories.iter().collect();
    let with_directory: HashSet<usize> = matched.classes.iter().copied().collect();
    let of_directories = all
        .iter()
        .zip(&matched.classes)
        .filter(|(directory, _)| kept.contains(directory))
        .map(|(_, &class)| class);
    let others = (0..names.len()).filter(|class| !with_directory.contains(class));
    let names = of_directories
        .chain(others)
        .map(|class| names[class].clone())
        .collect();
    Ok(MatchedClasses::new(
        names,
        matched.matching,
        &set.class_directories,
    ))
}

/// Path of a set in messages: its table or its directory.
fn location(set: &ImageSet) -> &Path {
    set.table.as_deref().unwrap_or(&set.root)
}

fn mapped_names(
    map: &ClassMapSource,
    data_root: &Path,
    set: &ImageSet,
) -> Result<Vec<String>, DatasetError> {
    let map = ClassMap::read(map, data_root)?;
    let name = |folder: &String| {
        map.entries
            .get(folder)
            .map(|row| row.name.clone())
            .ok_or_else(|| DatasetError::ClassesMissingFromMap {
                path: location(set).to_path_buf(),
                map: map.origin.clone(),
                count: 1,
                examples: first_few([folder]),
            })
    };
    set.class_directories.iter().map(name).collect()
}
