use std::collections::HashSet;
use std::path::Path;

use crate::error::{DatasetError, first_few};
use crate::eval_sets::benchmark::definition::{
    Benchmark, ClassSource, IdDefinition, OodDefinition, OodKind, Selection, SetSource,
};
use crate::eval_sets::{ClassMap, ClassMapSource, ImageFolder, ImageSet, read_image_list};

/// A benchmark with the paths of its images.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenedBenchmark {
    /// Name of the benchmark.
    pub name: String,
    /// Whether every image is converted to gray first.
    pub gray: bool,
    /// ID images; labels are indices of class names.
    pub id: ImageSet,
    /// Names of the ID classes or a built-in list; [`class_names`](Self::class_names) resolves
    /// both.
    pub classes: BenchmarkClasses,
    /// OOD sets, in the order of the definition.
    pub ood: Vec<OodSet>,
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
    Names(Vec<String>),
    /// A built-in class list.
    BuiltIn {
        /// Name of the list.
        list: String,
        /// For class directories: the names of all directories before any was excluded, in the
        /// order of the list.
        all_directories: Option<Vec<String>>,
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
        let root = if data_root.as_os_str().is_empty() {
            Path::new(".")
        } else {
            data_root
        };
        let metadata = std::fs::metadata(root).map_err(|source| DatasetError::io(root, source))?;
        if !metadata.is_dir() {
            return Err(DatasetError::NotADirectory {
                path: data_root.to_path_buf(),
            });
        }
        let (id, classes) =
            open_id(&self.id, data_root).map_err(|error| error.in_set(&self.id.name))?;
        let open = |set: &OodDefinition| {
            let opened = open_ood(set, data_root).map_err(|error| error.in_set(&set.name))?;
            Ok(OodSet {
                set: opened,
                kind: set.kind,
            })
        };
        let ood = self
            .ood
            .iter()
            .map(open)
            .collect::<Result<_, DatasetError>>()?;
        Ok(OpenedBenchmark {
            name: self.name.clone(),
            gray: self.gray,
            id,
            classes,
            ood,
        })
    }
}

impl OpenedBenchmark {
    /// Returns the names of the ID classes in the order of the labels, `[K]`. `built_in` returns the
    /// names of a built-in list, such as `imagenet-1k`, and is called only if the definition uses
    /// one.
    ///
    /// # Errors
    /// [`DatasetError::UnknownClassList`] if `built_in` returns `None`, [`DatasetError::ClassCount`]
    /// or [`DatasetError::LabelOutOfRange`] if the list does not fit the images.
    pub fn class_names(
        &self,
        built_in: impl FnOnce(&str) -> Option<Vec<String>>,
    ) -> Result<Vec<String>, DatasetError> {
        let (list, all_directories) = match &self.classes {
            BenchmarkClasses::Names(names) => return Ok(names.clone()),
            BenchmarkClasses::BuiltIn {
                list,
                all_directories,
            } => (list, all_directories),
        };
        let names =
            built_in(list).ok_or_else(|| DatasetError::UnknownClassList { name: list.clone() })?;
        match all_directories {
            Some(all) => names_of_kept(&names, all, &self.id),
            None => {
                let out_of_range = |label: &usize| *label >= names.len();
                match self
                    .id
                    .samples
                    .iter()
                    .find_map(|s| s.label.filter(out_of_range).map(|label| (s, label)))
                {
                    Some((sample, label)) => {
                        let classes = names.len();
                        Err(DatasetError::LabelOutOfRange {
                            path: sample.path.clone(),
                            label,
                            classes,
                        })
                    }
                    None => Ok(names),
                }
            }
        }
    }
}

fn open_id(
    id: &IdDefinition,
    data_root: &Path,
) -> Result<(ImageSet, BenchmarkClasses), DatasetError> {
    match &id.source {
        SetSource::List { path, root } => {
            let (count, classes) = match &id.classes {
                ClassSource::Inline(names) => {
                    (Some(names.len()), BenchmarkClasses::Names(names.clone()))
                }
                ClassSource::BuiltIn(list) => (
                    None,
                    BenchmarkClasses::BuiltIn {
                        list: list.clone(),
                        all_directories: None,
                    },
                ),
                // Unreachable for a parsed definition, but not for one built in code.
                ClassSource::ClassMap(_) | ClassSource::DirectoryNames => {
                    return Err(DatasetError::NoClassDirectories {
                        path: data_root.join(path),
                    });
                }
            };
            Ok((
                read_image_list(&id.name, data_root.join(path), data_root.join(root), count)?,
                classes,
            ))
        }
        SetSource::Directory { path, selection } => {
            let mut folder = ImageFolder::read(data_root.join(path))?;
            if folder.classes.is_empty() {
                return Err(DatasetError::NoClassDirectories { path: folder.root });
            }
            let all: Vec<String> = folder
                .classes
                .iter()
                .map(|class| class.name.clone())
                .collect();
            if let ClassSource::Inline(names) = &id.classes {
                check_count(names, &all, &folder.root)?;
            }
            select(&mut folder, selection, data_root)?;
            let set = folder.labeled(&id.name)?;
            let classes = match &id.classes {
                ClassSource::BuiltIn(list) => BenchmarkClasses::BuiltIn {
                    list: list.clone(),
                    all_directories: Some(all),
                },
                ClassSource::Inline(names) => {
                    BenchmarkClasses::Names(names_of_kept(names, &all, &set)?)
                }
                ClassSource::ClassMap(map) => {
                    BenchmarkClasses::Names(mapped_names(map, data_root, &set)?)
                }
                ClassSource::DirectoryNames => {
                    BenchmarkClasses::Names(set.class_directories.clone())
                }
            };
            Ok((set, classes))
        }
    }
}

fn open_ood(ood: &OodDefinition, data_root: &Path) -> Result<ImageSet, DatasetError> {
    match &ood.source {
        SetSource::List { path, root } => {
            let mut set =
                read_image_list(&ood.name, data_root.join(path), data_root.join(root), None)?;
            // Labels in the list are not those of the ID classes.
            for sample in &mut set.samples {
                sample.label = None;
            }
            Ok(set)
        }
        SetSource::Directory { path, selection } => {
            let mut folder = ImageFolder::read(data_root.join(path))?;
            select(&mut folder, selection, data_root)?;
            folder.unlabeled(&ood.name)
        }
    }
}

/// Removes the class directories that are not selected.
fn select(
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
    if !selection.roles.is_empty() {
        folder.exclude_loose_images();
    }
    let filtered = !selection.exclude.is_empty() || !selection.roles.is_empty();
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

fn check_count(names: &[String], directories: &[String], root: &Path) -> Result<(), DatasetError> {
    if names.len() == directories.len() {
        return Ok(());
    }
    Err(DatasetError::ClassCount {
        path: root.to_path_buf(),
        names: names.len(),
        directories: directories.len(),
        first_names: first_few(names),
        first_directories: first_few(directories),
    })
}

/// Returns the names of the directories that were kept; `names` belong to `all` directories.
fn names_of_kept(
    names: &[String],
    all: &[String],
    set: &ImageSet,
) -> Result<Vec<String>, DatasetError> {
    check_count(names, all, &set.root)?;
    if let Some(index) = names.iter().position(|name| name.trim().is_empty()) {
        return Err(DatasetError::EmptyClassName { index });
    }
    let kept: HashSet<&String> = set.class_directories.iter().collect();
    Ok(all
        .iter()
        .zip(names)
        .filter(|(folder, _)| kept.contains(folder))
        .map(|(_, name)| name.clone())
        .collect())
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
                path: set.root.clone(),
                map: map.origin.clone(),
                count: 1,
                examples: first_few([folder]),
            })
    };
    set.class_directories.iter().map(name).collect()
}
