use std::collections::HashMap;
use std::path::Path;

use crate::error::{DatasetError, first_few};
use crate::eval_sets::archive::{LabelUse, read_archives};
use crate::eval_sets::benchmark::definition::{SetSource, TrainDefinition};
use crate::eval_sets::benchmark::select::select;
use crate::eval_sets::benchmark::sets::read_labeled_list;
use crate::eval_sets::table::read_table;
use crate::eval_sets::{ClassMap, ImageFolder, ImageSet, ListedClasses, MatchedClasses};

/// In-distribution images that scores are fitted to.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct TrainSet {
    /// Images. Their labels are those of the source, not indices of the ID classes.
    pub images: ImageSet,
    /// Index of the ID class of each image, `[N]`, `None` for images of other classes, which are left
    /// out. `None` if the images have no labels.
    pub classes: Option<Vec<Option<usize>>>,
}

impl TrainDefinition {
    /// Finds the images below `data_root`, and the ID class of each, one of `matched`. A list is relative
    /// to `list_root`, which is itself relative to the data root. The labels of a list, archives or a table are required; a directory without class directories has none.
    ///
    /// # Errors
    /// [`DatasetError::InSet`] for an error of the set, such as [`DatasetError::PartialMatch`] if no
    /// directory belongs to a class, and [`DatasetError::LabelOutOfRange`].
    pub fn open(
        &self,
        data_root: impl AsRef<Path>,
        list_root: impl AsRef<Path>,
        matched: &MatchedClasses,
    ) -> Result<TrainSet, DatasetError> {
        const NAME: &str = "train";
        let data_root = data_root.as_ref();
        self.open_set(NAME, data_root, &data_root.join(list_root), matched)
            .map_err(|error| error.in_set(NAME))
    }

    fn open_set(
        &self,
        name: &str,
        data_root: &Path,
        list_root: &Path,
        matched: &MatchedClasses,
    ) -> Result<TrainSet, DatasetError> {
        let any = LabelUse::Required { classes: None };
        let images = match &self.source {
            SetSource::Directory { path, selection } => {
                let mut folder = ImageFolder::read(data_root.join(path))?;
                if folder.classes.is_empty() {
                    let images = folder.unlabeled(name)?;
                    return Ok(TrainSet {
                        images,
                        classes: None,
                    });
                }
                select(&mut folder, selection, data_root)?;
                folder.labeled(name)?
            }
            SetSource::List { path, root, format } => {
                let images = data_root.join(root);
                read_labeled_list(name, &list_root.join(path), &images, *format, None)?
            }
            SetSource::Archives { path } => read_archives(name, &data_root.join(path), any)?,
            SetSource::Table { path } => read_table(name, &data_root.join(path), any)?,
        };
        let map = self.map.as_ref().map(|map| ClassMap::read(map, data_root));
        let of_labels = classes_of_labels(&images, map.transpose()?.as_ref(), matched)?;
        let mut classes = Vec::with_capacity(images.len());
        for sample in &images.samples {
            let class = match sample.label {
                Some(label) => match of_labels.get(label) {
                    Some(class) => *class,
                    None => {
                        return Err(DatasetError::LabelOutOfRange {
                            path: sample.path.clone(),
                            label,
                            classes: of_labels.len(),
                        });
                    }
                },
                None => None,
            };
            classes.push(class);
        }
        Ok(TrainSet {
            images,
            classes: Some(classes),
        })
    }
}

/// The ID class of each label of a set.
fn classes_of_labels(
    images: &ImageSet,
    map: Option<&ClassMap>,
    matched: &MatchedClasses,
) -> Result<Vec<Option<usize>>, DatasetError> {
    let names = ListedClasses::from(matched.names.clone());
    let directories = &images.class_directories;
    let by_directory: HashMap<&String, usize> = matched
        .directories
        .iter()
        .enumerate()
        .map(|(class, directory)| (directory, class))
        .collect();
    let classes = match (map, directories.is_empty()) {
        (None, true) => return Ok((0..matched.names.len()).map(Some).collect()),
        (None, false) => {
            let named = names.classes_of_directories(directories).into_iter();
            let each = directories.iter().zip(named);
            each.map(|(directory, named)| by_directory.get(directory).copied().or(named))
                .collect()
        }
        (Some(map), has_labels) => {
            let mapped = |directory: &String| {
                let entry = map.entries.get(directory)?;
                matched.names.iter().position(|name| *name == entry.name)
            };
            let class = |directory| by_directory.get(directory).copied().or(mapped(directory));
            if has_labels {
                map.entries.keys().map(class).collect()
            } else {
                directories.iter().map(class).collect::<Vec<_>>()
            }
        }
    };
    if classes.iter().all(Option::is_none) {
        return Err(DatasetError::PartialMatch {
            path: images.root.clone(),
            matched: 0,
            count: directories.len(),
            directories: first_few(directories),
            names: first_few(&matched.names),
        });
    }
    Ok(classes)
}
