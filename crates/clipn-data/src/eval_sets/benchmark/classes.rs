//! Class names of the ID set of a benchmark.

use std::collections::HashSet;
use std::path::Path;

use crate::error::{DatasetError, first_few};
use crate::eval_sets::class_matching::match_directories;
use crate::eval_sets::{
    ClassMap, ClassMapSource, ClassMatching, ImageSet, ListedClasses, MatchedClasses,
};

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

/// Same as `OpenedBenchmark::match_classes`, for the parts of an opened benchmark.
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

/// Returns the names of the directories that were kept, and the names without a directory behind
/// them; `listed` belongs to `all` directories.
pub(super) fn match_kept(
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
pub(super) fn location(set: &ImageSet) -> &Path {
    set.table.as_deref().unwrap_or(&set.root)
}

pub(super) fn mapped_names(
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
