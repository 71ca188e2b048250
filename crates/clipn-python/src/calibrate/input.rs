//! Images and features to calibrate on.

use std::path::{Path, PathBuf};

use clipn::calibration::CalibrationSample;
use clipn::classifier::Classifier;
use clipn::count::count;
use clipn::dataset::{ImageFolder, ListedClasses};
use clipn::detector::Detector;
use clipn::error::chain_in_one_line;
use clipn::inference::{FeaturePipeline, ItemError, map_features};
use clipn::progress::Progress;
use clipn::scores::{LogitsRow, Score};
use pyo3::prelude::*;

use crate::arrays::Matrix;
use crate::errors::{OrRaise, invalid};
use crate::images::{InputImage, extract_all};
use crate::interrupt::{Reporter, run};
use crate::model::{Failed, item_exception, parallelism};

/// A scored image.
#[derive(Clone)]
pub(super) struct Scored {
    pub(super) sample: CalibrationSample,
    /// Values of all candidates, in the unit of `Score::stable`.
    pub(super) values: Vec<f64>,
}

/// How to run: workers and who hears of the progress.
pub(super) type Run<'a> = (Option<usize>, &'a Reporter);

/// A sink that gives every image that could be read to `keep`, with its index among all, and adds the errors of
/// the others and of `keep` to `skipped`.
fn readable<T>(
    skipped: &mut Vec<String>,
    mut keep: impl FnMut(usize, T) -> Result<(), String>,
) -> impl FnMut(Result<T, ItemError>) -> Result<(), Failed> {
    let mut index = 0;
    move |image| {
        let kept = match image {
            Ok(image) => keep(index, image),
            Err(error) => Err(chain_in_one_line(&error)),
        };
        skipped.extend(kept.err());
        index += 1;
        Ok(())
    }
}

/// Features of the images that could be read.
#[derive(Default)]
pub(super) struct FeatureRows {
    /// Features, `[N, D]`.
    pub(super) features: Vec<f32>,
    /// Indices of the images among those given, `[N]`.
    pub(super) indices: Vec<usize>,
    /// Class folder of each image, `[N]`.
    pub(super) folders: Vec<Option<String>>,
    /// Class that the caller gave each image, `[N]`.
    pub(super) labels: Vec<Option<usize>>,
}

impl FeatureRows {
    /// Class of each image, `[N]`; `None` in a folder of no class.
    pub(super) fn classes(&self, class_names: &[String]) -> Vec<Option<usize>> {
        let of_folder = |folder: &Option<String>| {
            let folder = folder.as_ref()?;
            class_names.iter().position(|name| name == folder)
        };
        // Two classes may have one name, so an index is not looked up by it.
        let images = self.labels.iter().zip(&self.folders);
        images
            .map(|(label, folder)| label.or_else(|| of_folder(folder)))
            .collect()
    }

    /// Scores all rows with every candidate, at least one.
    pub(super) fn scored(
        &self,
        py: Python<'_>,
        classifier: &Classifier,
        candidates: &[&'static dyn Score],
    ) -> PyResult<Vec<Scored>> {
        let rows = py.detach(|| {
            map_features(classifier, &self.features, |_, row| {
                row.map(|row| CalibrationSample::of_candidates(candidates, row))
            })
        });
        let rows = rows.or_raise()?.into_iter();
        rows.zip(&self.indices)
            .zip(&self.folders)
            .map(|((row, &index), folder)| {
                let (sample, values) = row.map_err(|error| item_exception(index, None, error))?;
                let folder = folder.clone();
                let sample = CalibrationSample { folder, ..sample };
                Ok(Scored { sample, values })
            })
            .collect()
    }
}

enum Source {
    Images(Vec<InputImage>),
    /// Features, `[N, D]`.
    Features(Vec<f32>),
}

/// Images or features to calibrate on.
pub(super) struct Input {
    source: Source,
    /// Name of the class or of the folder of each image, `[N]`.
    folders: Vec<Option<String>>,
    /// Class that the caller gave each image, `[N]`.
    labels: Vec<Option<usize>>,
}

impl Input {
    /// Images of a directory, images, or features of dimension `dim`.
    pub(super) fn extract(
        object: &Bound<'_, PyAny>,
        class_names: &[String],
        dim: usize,
    ) -> PyResult<Self> {
        if let Ok(path) = object.extract::<PathBuf>()
            && path.is_dir()
        {
            return Self::directory(&path, class_names);
        }
        if object.hasattr("dtype")? {
            let matrix = Matrix::extract(object, "features")?;
            let [count, found] = matrix.shape();
            if found != dim {
                return Err(invalid(format!(
                    "expected features of dimension {dim}, got {found}"
                )));
            }
            return Ok(Self {
                source: Source::Features(matrix.to_f32()?),
                folders: vec![None; count],
                labels: vec![None; count],
            });
        }
        let images = extract_all(object)?;
        Ok(Self {
            folders: vec![None; images.len()],
            labels: vec![None; images.len()],
            source: Source::Images(images),
        })
    }

    /// With these classes in place of the folders; `None` keeps the folder.
    pub(super) fn with_labels(
        mut self,
        labels: &[Option<usize>],
        class_names: &[String],
    ) -> PyResult<Self> {
        let (images, found) = (self.len(), labels.len());
        if images != found {
            return Err(invalid(format!(
                "expected {}, got {found}",
                count(images, "label")
            )));
        }
        for (folder, label) in self.folders.iter_mut().zip(labels) {
            if let Some(label) = label {
                *folder = class_names.get(*label).cloned();
            }
        }
        self.labels = labels.to_vec();
        Ok(self)
    }

    fn directory(path: &Path, class_names: &[String]) -> PyResult<Self> {
        let set = ImageFolder::read(path).and_then(|folder| folder.unlabeled("images"));
        let set = set.map_err(|error| {
            let message = chain_in_one_line(&error);
            crate::errors::exception("ImageError", &message, error.hint())
        })?;
        let folder = |file: &Path| {
            let mut parts = file.strip_prefix(path).ok()?.components();
            let first = parts.next()?.as_os_str().to_string_lossy().into_owned();
            parts.next().map(|_| first)
        };
        let folders: Vec<Option<String>> = set
            .samples
            .iter()
            .map(|sample| folder(&sample.path))
            .collect();
        let listed = ListedClasses::from(class_names.to_vec());
        let named: Vec<Option<String>> = folders
            .iter()
            .map(|folder| {
                let name = folder.clone()?;
                let class = listed.classes_of_directories(std::slice::from_ref(&name));
                let class = class.first().copied().flatten();
                Some(
                    class
                        .and_then(|class| class_names.get(class).cloned())
                        .unwrap_or(name),
                )
            })
            .collect();
        let paths = set.samples.into_iter();
        Ok(Self {
            source: Source::Images(paths.map(|sample| InputImage::Path(sample.path)).collect()),
            labels: vec![None; named.len()],
            folders: named,
        })
    }

    /// Number of images.
    pub(super) fn len(&self) -> usize {
        self.folders.len()
    }

    /// Features of all images; returns the texts of the errors of those that cannot be read too.
    pub(super) fn features(
        self,
        py: Python<'_>,
        detector: &Detector,
        (workers, reporter): Run<'_>,
    ) -> PyResult<(FeatureRows, Vec<String>)> {
        let Self {
            source,
            folders,
            labels,
        } = self;
        let images = match source {
            Source::Features(features) => {
                let indices = (0..folders.len()).collect();
                return Ok((
                    FeatureRows {
                        features,
                        indices,
                        folders,
                        labels,
                    },
                    Vec::new(),
                ));
            }
            Source::Images(images) => images,
        };
        let mut rows = FeatureRows::default();
        let mut skipped = Vec::new();
        let outcome = run(py, reporter, || -> Result<(), Failed> {
            reporter.begin("encoding images", images.len() as u64);
            let pipeline = FeaturePipeline::new(detector.tower(), detector.preprocessing())
                .with_parallelism(parallelism(16, workers))
                .with_progress(reporter);
            let keep = |index: usize, feature: Vec<f32>| {
                rows.features.extend(feature);
                rows.indices.push(index);
                rows.folders.push(folders[index].clone());
                rows.labels.push(labels[index]);
                Ok(())
            };
            let encode =
                |_: &InputImage, feature: Result<&[f32], ItemError>| feature.map(<[f32]>::to_vec);
            pipeline.run(images, encode, readable(&mut skipped, keep))
        })?;
        outcome.map_err(|error| error.into_py_err(&[]))?;
        Ok((rows, skipped))
    }

    /// Scores all images. Returns the texts of the errors of those that cannot be read too, and of those without
    /// any finite score.
    pub(super) fn scored(
        self,
        py: Python<'_>,
        detector: &Detector,
        candidates: &[&'static dyn Score],
        (workers, reporter): Run<'_>,
    ) -> PyResult<(Vec<Scored>, Vec<String>)> {
        let (images, folders) = match self {
            Self {
                source: Source::Images(images),
                folders,
                ..
            } => (images, folders),
            features => {
                let (rows, skipped) = features.features(py, detector, (workers, reporter))?;
                return Ok((rows.scored(py, detector.classifier(), candidates)?, skipped));
            }
        };
        let (mut scored, mut skipped) = (Vec::new(), Vec::new());
        let outcome = run(py, reporter, || -> Result<(), Failed> {
            reporter.begin("scoring images", images.len() as u64);
            let pipeline = detector
                .pipeline_for(candidates)?
                .with_parallelism(parallelism(16, workers))
                .with_progress(reporter);
            let keep = |index: usize, (sample, values): (CalibrationSample, Vec<f64>)| {
                if !values.iter().any(|value| value.is_finite()) {
                    return Err(format!("image {index}: the score is not finite"));
                }
                let folder = folders[index].clone();
                let sample = CalibrationSample { folder, ..sample };
                scored.push(Scored { sample, values });
                Ok(())
            };
            let score = |_: &InputImage, row: Result<LogitsRow<'_, f32>, ItemError>| {
                row.map(|row| CalibrationSample::of_candidates(candidates, row))
            };
            pipeline.run(images, score, readable(&mut skipped, keep))
        })?;
        outcome.map_err(|error| error.into_py_err(&[]))?;
        Ok((scored, skipped))
    }
}
