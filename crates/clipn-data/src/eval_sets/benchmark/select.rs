//! Selection of the class directories of a set.

use std::collections::HashSet;
use std::path::Path;

use crate::error::{DatasetError, first_few};
use crate::eval_sets::benchmark::definition::Selection;
use crate::eval_sets::{ClassMap, ImageFolder};

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
