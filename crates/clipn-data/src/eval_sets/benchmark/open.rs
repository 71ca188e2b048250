use std::path::Path;

use crate::error::DatasetError;
use crate::eval_sets::benchmark::classes::{BenchmarkClasses, match_classes};
use crate::eval_sets::benchmark::definition::{Benchmark, OodDefinition, OodKind};
use crate::eval_sets::benchmark::sets::{check_root, open_id, open_ood, open_shifted};
use crate::eval_sets::{ImageSet, ListedClasses, MatchedClasses};

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
