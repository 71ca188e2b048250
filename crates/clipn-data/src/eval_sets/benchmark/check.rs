//! Comparison of the images of a benchmark with what its definition expects.

use std::fmt;
use std::path::Path;

use crate::error::DatasetError;
use crate::eval_sets::benchmark::classes::match_classes;
use crate::eval_sets::benchmark::definition::{Benchmark, OodKind};
use crate::eval_sets::benchmark::sets::{check_root, open_id, open_ood, open_shifted};
use crate::eval_sets::{ImageSet, LabeledImage, ListedClasses};

/// Maximum number of missing classes or files that are named.
const MAX_NAMED: usize = 5;

/// Role of a set in a benchmark.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SetRole {
    /// In-distribution.
    Id,
    /// In-distribution classes with a covariate shift, which count as in-distribution.
    Shifted,
    /// Out-of-distribution, with the distance if the definition has it.
    Ood(Option<OodKind>),
}

impl fmt::Display for SetRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Id => "ID",
            Self::Shifted => "shifted ID",
            Self::Ood(Some(OodKind::Near)) => "near OOD",
            Self::Ood(Some(OodKind::Far)) => "far OOD",
            Self::Ood(None) => "OOD",
        })
    }
}

/// What a set has, and what it should have.
#[derive(Debug)]
#[non_exhaustive]
pub struct SetCheck {
    /// Name of the set.
    pub name: String,
    /// Role of the set.
    pub role: SetRole,
    /// Number of images that are there.
    pub images: usize,
    /// Number of images of the complete set, if known.
    pub expected: Option<usize>,
    /// Number of missing classes, or of files that a list names and that do not exist.
    pub missing: usize,
    /// The first few of them.
    pub missing_names: Vec<String>,
    /// Why the set cannot be opened.
    pub problem: Option<DatasetError>,
}

impl SetCheck {
    /// Whether the set is as expected.
    pub fn is_complete(&self) -> bool {
        self.problem.is_none()
            && self.missing == 0
            && self.expected.is_none_or(|expected| expected == self.images)
    }
}

/// State of every set of a benchmark.
#[derive(Debug)]
#[non_exhaustive]
pub struct BenchmarkCheck {
    /// Sets: in-distribution first, then shifted ones, then those out of distribution.
    pub sets: Vec<SetCheck>,
}

impl BenchmarkCheck {
    /// Whether all sets are as expected.
    pub fn is_complete(&self) -> bool {
        self.sets.iter().all(SetCheck::is_complete)
    }
}

impl Benchmark {
    /// Compares the images below `data_root` with the definition. Images are counted, not decoded. A set that
    /// cannot be opened does not end the check. `built_in` is as for
    /// [`OpenedBenchmark::match_classes`](super::OpenedBenchmark::match_classes).
    ///
    /// # Errors
    /// [`DatasetError::Missing`] or [`DatasetError::NotADirectory`] if `data_root` is not a directory.
    pub fn check(
        &self,
        data_root: impl AsRef<Path>,
        built_in: impl FnOnce(&str) -> Option<ListedClasses>,
    ) -> Result<BenchmarkCheck, DatasetError> {
        let data_root = data_root.as_ref();
        check_root(data_root)?;
        let roots = self.roots(data_root);
        let entry = |name: &str, role, expected| SetCheck {
            name: name.to_owned(),
            role,
            images: 0,
            expected,
            missing: 0,
            missing_names: Vec::new(),
            problem: None,
        };
        let mut sets = Vec::new();
        let mut check = entry(&self.id.name, SetRole::Id, self.id.images);
        let id = match open_id(&self.id, &roots) {
            Ok((set, classes)) => {
                check.add_files(&set);
                match match_classes(&classes, &set, built_in) {
                    Ok(matched) => check.add_missing(matched.names_without_directory().iter()),
                    Err(error) => check.problem = Some(error),
                }
                Some(set)
            }
            Err(error) => {
                check.problem = Some(error);
                None
            }
        };
        sets.push(check);
        for set in &self.shifted {
            let mut check = entry(&set.name, SetRole::Shifted, set.images);
            // The labels of a list need no ID set.
            let id = id.clone().unwrap_or_default();
            check.add(open_shifted(set, &roots, &id));
            sets.push(check);
        }
        for set in &self.ood {
            let mut check = entry(&set.name, SetRole::Ood(set.kind), set.images);
            check.add(open_ood(set, &roots));
            sets.push(check);
        }
        Ok(BenchmarkCheck { sets })
    }
}

impl SetCheck {
    fn add(&mut self, opened: Result<ImageSet, DatasetError>) {
        match opened {
            Ok(set) => self.add_files(&set),
            Err(error) => self.problem = Some(error),
        }
    }

    /// Counts the images. A list or a table may name files that do not exist.
    fn add_files(&mut self, set: &ImageSet) {
        let is_embedded = |sample: &LabeledImage| {
            let table = set
                .table
                .as_ref()
                .map(|table| format!("{}:", table.display()));
            table.is_some_and(|table| sample.path.to_string_lossy().starts_with(&table))
        };
        let is_missing = |sample: &&LabeledImage| {
            set.archives.is_empty() && !sample.path.is_file() && !is_embedded(sample)
        };
        let missing = set.samples.iter().filter(is_missing);
        let missing: Vec<String> = missing
            .map(|sample| set.relative(sample).display().to_string())
            .collect();
        self.images = set.len() - missing.len();
        self.add_missing(missing.iter());
    }

    fn add_missing<'a>(&mut self, names: impl ExactSizeIterator<Item = &'a String>) {
        self.missing += names.len();
        let room = MAX_NAMED.saturating_sub(self.missing_names.len());
        self.missing_names.extend(names.take(room).cloned());
    }
}
