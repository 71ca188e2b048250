use std::collections::HashSet;
use std::path::Path;

use super::{Benchmark, ClassSource, IdDefinition, OodDefinition, OodKind, Selection, SetSource};
use crate::error::first_few;
use crate::{DatasetError, FolderMap, ImageFolder, ImageSet, MapSource, read_list};

/// A benchmark whose images were found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenedBenchmark {
    /// The benchmark's name.
    pub name: String,
    /// Whether every image is turned grey first.
    pub grey: bool,
    /// The ID images; labels count the class names.
    pub id: ImageSet,
    /// The names of the ID classes, or the list to take them from; [`class_names`](Self::class_names) has both.
    pub classes: OpenedClasses,
    /// The OOD sets, in the order of the definition.
    pub ood: Vec<OpenedOod>,
}

/// An OOD set whose images were found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenedOod {
    /// The images, without labels.
    pub set: ImageSet,
    /// How far it lies from the ID classes, where the definition says so.
    pub kind: Option<OodKind>,
}

/// The class names of an opened benchmark.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OpenedClasses {
    /// The names, `[K]` in the order of the labels.
    Names(Vec<String>),
    /// A class list known by name.
    Named {
        /// The list's name.
        list: String,
        /// For class folders: every folder's name before any was left out, the names of the list belonging to them.
        all_folders: Option<Vec<String>>,
    },
}

impl Benchmark {
    /// Finds the images of every set below `data_root`. An empty `data_root` is the current folder, and leaves the
    /// definition's paths as they are written.
    ///
    /// # Errors
    /// [`DatasetError::InSet`] names the set and what is wrong with it; [`DatasetError::Missing`] and
    /// [`DatasetError::NotAFolder`] speak of `data_root` itself.
    pub fn open(&self, data_root: &Path) -> Result<OpenedBenchmark, DatasetError> {
        let looked_at = if data_root.as_os_str().is_empty() {
            Path::new(".")
        } else {
            data_root
        };
        let metadata =
            std::fs::metadata(looked_at).map_err(|source| DatasetError::io(looked_at, source))?;
        if !metadata.is_dir() {
            return Err(DatasetError::NotAFolder {
                path: data_root.to_path_buf(),
            });
        }
        let (id, classes) =
            open_id(&self.id, data_root).map_err(|error| error.in_set(&self.id.name))?;
        let open = |set: &OodDefinition| {
            let opened = open_ood(set, data_root).map_err(|error| error.in_set(&set.name))?;
            Ok(OpenedOod {
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
            grey: self.grey,
            id,
            classes,
            ood,
        })
    }
}

impl OpenedBenchmark {
    /// The names of the ID classes, `[K]` in the order of the labels. `named` gives the names of a list known by name,
    /// such as `imagenet-1k`, and is asked only where the definition uses one.
    ///
    /// # Errors
    /// [`DatasetError::UnknownClassList`] when `named` has none, [`DatasetError::ClassCount`] or
    /// [`DatasetError::LabelRange`] when the list does not fit the images.
    pub fn class_names(
        &self,
        named: impl FnOnce(&str) -> Option<Vec<String>>,
    ) -> Result<Vec<String>, DatasetError> {
        let (list, all_folders) = match &self.classes {
            OpenedClasses::Names(names) => return Ok(names.clone()),
            OpenedClasses::Named { list, all_folders } => (list, all_folders),
        };
        let names =
            named(list).ok_or_else(|| DatasetError::UnknownClassList { name: list.clone() })?;
        match all_folders {
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
                        Err(DatasetError::LabelRange {
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

fn open_id(id: &IdDefinition, data_root: &Path) -> Result<(ImageSet, OpenedClasses), DatasetError> {
    match &id.source {
        SetSource::List { path, root } => {
            let (count, classes) = match &id.classes {
                ClassSource::Inline(names) => {
                    (Some(names.len()), OpenedClasses::Names(names.clone()))
                }
                ClassSource::Named(list) => (
                    None,
                    OpenedClasses::Named {
                        list: list.clone(),
                        all_folders: None,
                    },
                ),
                // A definition that was parsed never gets here; one put together in code may.
                ClassSource::FolderMap(_) | ClassSource::FolderNames => {
                    return Err(DatasetError::NoClassFolders {
                        path: data_root.join(path),
                    });
                }
            };
            Ok((
                read_list(
                    &id.name,
                    &data_root.join(path),
                    &data_root.join(root),
                    count,
                )?,
                classes,
            ))
        }
        SetSource::Folder { path, selection } => {
            let mut folder = ImageFolder::read(&data_root.join(path))?;
            if folder.classes.is_empty() {
                return Err(DatasetError::NoClassFolders { path: folder.root });
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
            let set = folder.labelled(&id.name)?;
            let classes = match &id.classes {
                ClassSource::Named(list) => OpenedClasses::Named {
                    list: list.clone(),
                    all_folders: Some(all),
                },
                ClassSource::Inline(names) => {
                    OpenedClasses::Names(names_of_kept(names, &all, &set)?)
                }
                ClassSource::FolderMap(map) => {
                    OpenedClasses::Names(mapped_names(map, data_root, &set)?)
                }
                ClassSource::FolderNames => OpenedClasses::Names(set.folders.clone()),
            };
            Ok((set, classes))
        }
    }
}

fn open_ood(ood: &OodDefinition, data_root: &Path) -> Result<ImageSet, DatasetError> {
    match &ood.source {
        SetSource::List { path, root } => {
            let mut set = read_list(
                &ood.name,
                &data_root.join(path),
                &data_root.join(root),
                None,
            )?;
            // Whatever its list says, no class of an OOD set is one of the ID classes.
            for sample in &mut set.samples {
                sample.label = None;
            }
            Ok(set)
        }
        SetSource::Folder { path, selection } => {
            let mut folder = ImageFolder::read(&data_root.join(path))?;
            select(&mut folder, selection, data_root)?;
            folder.unlabelled(&ood.name)
        }
    }
}

/// Leaves only the class folders that a selection wants.
fn select(
    folder: &mut ImageFolder,
    selection: &Selection,
    data_root: &Path,
) -> Result<(), DatasetError> {
    let map = selection
        .map
        .as_ref()
        .map(|map| FolderMap::read(map, data_root))
        .transpose()?;
    check_excludes(folder, selection, map.as_ref())?;
    let excluded = |name: &str| selection.exclude.iter().any(|other| other == name);
    folder.classes.retain(|class| !excluded(&class.name));
    if let Some(map) = &map {
        select_by_map(folder, selection, map)?;
    }
    if !selection.roles.is_empty() {
        folder.drop_loose();
    }
    let filtered = !selection.exclude.is_empty() || !selection.roles.is_empty();
    if filtered && folder.classes.is_empty() {
        return Err(DatasetError::NothingSelected {
            path: folder.root.clone(),
        });
    }
    Ok(())
}

/// An excluded name that is nowhere is a slip that would let a class in which should be out.
fn check_excludes(
    folder: &ImageFolder,
    selection: &Selection,
    map: Option<&FolderMap>,
) -> Result<(), DatasetError> {
    let known = |name: &String| {
        folder.classes.iter().any(|class| class.name == *name)
            || map.is_some_and(|map| map.rows.contains_key(name))
    };
    match selection.exclude.iter().find(|name| !known(name)) {
        Some(name) => Err(DatasetError::UnknownExclude {
            path: folder.root.clone(),
            folder: name.clone(),
        }),
        None => Ok(()),
    }
}

/// Leaves the folders with one of the wanted roles; folders and map must agree on what there is.
fn select_by_map(
    folder: &mut ImageFolder,
    selection: &Selection,
    map: &FolderMap,
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
        .filter(|name| !map.rows.contains_key(*name))
        .collect();
    if !unmapped.is_empty() {
        let (path, map, count) = (folder.root.clone(), map.origin.clone(), unmapped.len());
        return Err(DatasetError::Unmapped {
            path,
            map,
            count,
            first: first_few(unmapped),
        });
    }
    let wanted = |name: &str| {
        let role = map.rows.get(name).and_then(|row| row.role.as_ref());
        selection.roles.is_empty() || role.is_some_and(|role| selection.roles.contains(role))
    };
    folder.classes.retain(|class| wanted(&class.name));
    let there: HashSet<&str> = folder
        .classes
        .iter()
        .map(|class| class.name.as_str())
        .collect();
    let missing: Vec<&String> = map
        .rows
        .keys()
        .filter(|name| {
            wanted(name) && !there.contains(name.as_str()) && !selection.exclude.contains(name)
        })
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    let (path, map, count) = (folder.root.clone(), map.origin.clone(), missing.len());
    Err(DatasetError::FoldersMissing {
        path,
        map,
        count,
        first: first_few(missing),
    })
}

fn check_count(names: &[String], folders: &[String], root: &Path) -> Result<(), DatasetError> {
    if names.len() == folders.len() {
        return Ok(());
    }
    Err(DatasetError::ClassCount {
        path: root.to_path_buf(),
        names: names.len(),
        folders: folders.len(),
        first_names: first_few(names),
        first_folders: first_few(folders),
    })
}

/// The names of the folders that were kept, `names` belonging to `all` of them.
fn names_of_kept(
    names: &[String],
    all: &[String],
    set: &ImageSet,
) -> Result<Vec<String>, DatasetError> {
    check_count(names, all, &set.root)?;
    if let Some(index) = names.iter().position(|name| name.trim().is_empty()) {
        return Err(DatasetError::EmptyClassName { index });
    }
    let kept: HashSet<&String> = set.folders.iter().collect();
    Ok(all
        .iter()
        .zip(names)
        .filter(|(folder, _)| kept.contains(folder))
        .map(|(_, name)| name.clone())
        .collect())
}

fn mapped_names(
    map: &MapSource,
    data_root: &Path,
    set: &ImageSet,
) -> Result<Vec<String>, DatasetError> {
    let map = FolderMap::read(map, data_root)?;
    let name = |folder: &String| {
        map.rows
            .get(folder)
            .map(|row| row.name.clone())
            .ok_or_else(|| DatasetError::Unmapped {
                path: set.root.clone(),
                map: map.origin.clone(),
                count: 1,
                first: first_few([folder]),
            })
    };
    set.folders.iter().map(name).collect()
}
