//! Scores of the images of a calibration.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use clipn::calibration::CalibrationSample;
use clipn::classifier::Classifier;
use clipn::dataset::{
    FeatureFile, ImageFolder, ListedClasses, SkippedFiles, is_archive_file, read_path_list,
};
use clipn::detector::Detector;
use clipn::inference::{FeatureCache, InferenceError, ItemError, map_features};
use clipn::progress::Progress;
use clipn::scores::{LogitsRow, Score};

use crate::common::args::RunArgs;
use crate::common::device::Device;
use crate::common::error::{CliError, chain_in_one_line};
use crate::common::progress::Bar;

/// An image file, and its class folder if there is one.
#[derive(Debug, Clone)]
pub(crate) struct ImageFile {
    path: PathBuf,
    folder: Option<String>,
}

impl ImageFile {
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Name in messages.
    pub(crate) fn name(&self) -> String {
        self.path.display().to_string()
    }
}

/// A scored image.
#[derive(Debug, Clone)]
pub(crate) struct ScoredImage {
    pub path: PathBuf,
    /// Sample with the chosen score, at first that of the first candidate.
    pub sample: CalibrationSample,
    /// Values of all candidates in the unit of [`Score::stable`], in their order.
    pub candidates: Vec<f64>,
}

/// Scored images, and the errors of the others.
#[derive(Debug, Default)]
pub(crate) struct ScoringOutcome {
    pub images: Vec<ScoredImage>,
    pub errors: Vec<String>,
}

/// Gives images the names of their classes in place of those of their folders, if these are spelled
/// differently or are numbers.
pub(crate) fn name_folders(files: &mut [ImageFile], class_names: &[String]) {
    let folders: BTreeSet<String> = files
        .iter()
        .filter_map(|file| file.folder.clone())
        .collect();
    let folders: Vec<String> = folders.into_iter().collect();
    let listed = ListedClasses::from(class_names.to_vec());
    let classes = listed.classes_of_directories(&folders);
    let names: BTreeMap<String, &String> = folders
        .into_iter()
        .zip(classes)
        .filter_map(|(folder, class)| Some((folder, class_names.get(class?)?)))
        .collect();
    for folder in files.iter_mut().filter_map(|file| file.folder.as_mut()) {
        if let Some(name) = names.get(folder) {
            folder.clone_from(name);
        }
    }
}

/// Lists the images below a directory, or of an image list. Files that are no images are counted in
/// `skipped`.
pub(crate) fn list_images(
    path: &Path,
    skipped: &mut SkippedFiles,
) -> Result<Vec<ImageFile>, CliError> {
    if is_archive_file(path) {
        return Err(CliError::usage_with_hint(
            format!("{} is an archive", path.display()),
            "unpack it, and give a directory or an image list",
        ));
    }
    if path.is_file() {
        let set = read_path_list("images", path, path.parent().unwrap_or(Path::new("")))?;
        return Ok(set
            .samples
            .into_iter()
            .map(|sample| ImageFile {
                path: sample.path,
                folder: None,
            })
            .collect());
    }
    let set = ImageFolder::read(path)?.unlabeled("images")?;
    skipped.merge(&set.skipped);
    let folder = |file: &Path| {
        let mut components = file.strip_prefix(path).ok()?.components();
        let first = components
            .next()?
            .as_os_str()
            .to_string_lossy()
            .into_owned();
        components.next().map(|_| first)
    };
    let file = |path: PathBuf| ImageFile {
        folder: folder(&path),
        path,
    };
    Ok(set
        .samples
        .into_iter()
        .map(|sample| file(sample.path))
        .collect())
}

/// Features of images, `[N, D]`.
#[derive(Debug, Default)]
pub(crate) struct FeatureRows {
    pub features: Vec<f32>,
    /// Path of each image, or name of its row.
    pub paths: Vec<PathBuf>,
    /// Class of each image, if it is known.
    pub classes: Vec<Option<usize>>,
    /// Directory of each image; a class's has its name. Labels stand for directories named so.
    folders: Vec<Option<String>>,
}

impl FeatureRows {
    /// Reads a file of features; `classes` are those of its rows, or empty.
    pub(crate) fn read(
        classifier: &Classifier,
        file: &mut FeatureFile,
        mut classes: Vec<Option<usize>>,
    ) -> Result<Self, CliError> {
        file.check_dim(classifier.dim())?;
        classes.resize(file.len(), None);
        let names = classifier.class_names();
        let folder = |class: &Option<usize>| names.get((*class)?).cloned();
        Ok(Self {
            folders: classes.iter().map(folder).collect(),
            features: file.read_all()?,
            paths: (0..file.len()).map(|row| file.key(row).into()).collect(),
            classes,
        })
    }

    /// Adds an image, whose class is that of its folder.
    pub(crate) fn push(&mut self, file: &ImageFile, feature: &[f32], class_names: &[String]) {
        let folder = file.folder.as_ref();
        let class = folder.and_then(|folder| class_names.iter().position(|name| name == folder));
        self.features.extend_from_slice(feature);
        self.paths.push(file.path.clone());
        self.classes.push(class);
        self.folders.push(file.folder.clone());
    }

    /// Whether the directories of some images are classes and that of this one is none.
    pub(crate) fn is_foreign(&self, index: usize) -> bool {
        let is_class = |index: usize| self.classes[index].is_some();
        self.folders[index].is_some() && !is_class(index) && (0..self.classes.len()).any(is_class)
    }
}

/// Scores features with every candidate, at least one.
pub(crate) fn score_features(
    classifier: &Classifier,
    rows: &FeatureRows,
    candidates: &[&'static dyn Score],
) -> Result<Vec<ScoredImage>, CliError> {
    let scored = map_features(classifier, &rows.features, |_, row| {
        row.map(|row| CalibrationSample::of_candidates(candidates, row))
    })?;
    let mut images = Vec::with_capacity(scored.len());
    for ((row, path), folder) in scored.into_iter().zip(&rows.paths).zip(&rows.folders) {
        let (sample, values) =
            row.map_err(|error| CliError::from_item(path.display().to_string(), error))?;
        let folder = folder.clone();
        images.push(ScoredImage {
            path: path.clone(),
            sample: CalibrationSample { folder, ..sample },
            candidates: values,
        });
    }
    Ok(images)
}

/// The images with these indices.
pub(crate) fn select(images: &[ScoredImage], indices: &[usize]) -> Vec<ScoredImage> {
    indices.iter().map(|&index| images[index].clone()).collect()
}

/// Scores images with every candidate, at least one. Each image is decoded and
/// encoded once. An unreadable image is skipped, or an error with `--strict`. An image without any
/// finite score is skipped.
pub(crate) fn score(
    detector: &Detector,
    files: &[ImageFile],
    candidates: &[&'static dyn Score],
    (run, device): (&RunArgs, &Device),
    cache: Option<&FeatureCache>,
    bar: &Bar,
) -> Result<ScoringOutcome, CliError> {
    let pipeline = detector
        .pipeline_for(candidates)?
        .with_parallelism(run.parallelism(device))
        .with_cache(cache)
        .with_progress(bar);
    let paths = files.iter().map(|file| file.path.as_path());
    let compute = |_: &&Path, row: Result<LogitsRow<'_, f32>, ItemError>| {
        row.map(|row| CalibrationSample::of_candidates(candidates, row))
    };
    let mut outcome = ScoringOutcome::default();
    let mut next = 0;
    bar.begin("scoring images", files.len() as u64);
    let sink = |row: Result<(CalibrationSample, Vec<f64>), ItemError>| -> Result<(), CliError> {
        let ImageFile { path, folder } = files[next].clone();
        next += 1;
        match row {
            Ok((sample, values)) if values.iter().any(|value| value.is_finite()) => {
                outcome.images.push(ScoredImage {
                    path,
                    sample: CalibrationSample { folder, ..sample },
                    candidates: values,
                });
            }
            Ok(_) => outcome
                .errors
                .push(format!("{}: the score is not finite", path.display())),
            Err(error) if run.strict => {
                return Err(CliError::from_item(path.display().to_string(), error));
            }
            Err(ItemError::Image(error)) => outcome.errors.push(chain_in_one_line(&error)),
            Err(error) => outcome.errors.push(format!("{}: {error}", path.display())),
        }
        Ok(())
    };
    let result = pipeline.run(paths, compute, sink);
    bar.end();
    match result {
        Err(CliError::Inference(InferenceError::Cancelled { done, .. })) => {
            Err(CliError::Interrupted {
                done: done as u64,
                total: Some(files.len() as u64),
            })
        }
        other => other.map(|()| outcome),
    }
}
