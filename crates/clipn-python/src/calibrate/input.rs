//! Images and features to calibrate on.

use std::path::{Path, PathBuf};

use clipn::calibration::CalibrationSample;
use clipn::classifier::Classifier;
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
pub(crate) struct Scored {
    /// Index of the image among those given.
    pub(crate) index: usize,
    pub(crate) sample: CalibrationSample,
    /// Values of all candidates, in the unit of `Score::stable`.
    pub(crate) values: Vec<f64>,
}

/// A sink that gives every image that could be read to `keep`, with its index among all, and adds the errors of
/// the others to `skipped`.
fn readable<T>(
    skipped: &mut Vec<String>,
    mut keep: impl FnMut(usize, T),
) -> impl FnMut(Result<T, ItemError>) -> Result<(), Failed> {
    let mut index = 0;
    move |image| {
        match image {
            Ok(image) => keep(index, image),
            Err(error) => skipped.push(chain_in_one_line(&error)),
        }
        index += 1;
        Ok(())
    }
}

/// Features of the images that could be read.
pub(crate) struct FeatureRows {
    /// Features, `[N, D]`.
    pub(crate) features: Vec<f32>,
    /// Indices of the images among those given, `[N]`.
    pub(crate) indices: Vec<usize>,
    /// Class folder of each image, `[N]`.
    pub(crate) folders: Vec<Option<String>>,
}

impl FeatureRows {
    /// Scores all rows with every candidate, at least one.
    pub(crate) fn scored(
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
                let (sample, values) = row.map_err(|error| item_exception(index, &[], error))?;
                let folder = folder.clone();
                let sample = CalibrationSample { folder, ..sample };
                Ok(Scored {
                    index,
                    sample,
                    values,
                })
            })
            .collect()
    }
}

/// Images or features to calibrate on.
pub(crate) enum Input {
    Images {
        images: Vec<InputImage>,
        /// Class folder of each image; empty for images without folders.
        folders: Vec<Option<String>>,
    },
    Features {
        features: Vec<f32>,
        dim: usize,
    },
}

impl Input {
    pub(crate) fn extract(
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
            let found = matrix.shape()[1];
            if found != dim {
                return Err(invalid(format!(
                    "expected features of dimension {dim}, got {found}"
                )));
            }
            let features = matrix.to_f32()?;
            return Ok(Self::Features { features, dim });
        }
        Ok(Self::Images {
            images: extract_all(object)?,
            folders: Vec::new(),
        })
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
        let named = folders
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
        Ok(Self::Images {
            images: paths.map(|sample| InputImage::Path(sample.path)).collect(),
            folders: named,
        })
    }

    /// Number of images.
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Images { images, .. } => images.len(),
            Self::Features { features, dim } => features.len() / (*dim).max(1),
        }
    }

    /// Features of all images; returns the texts of the errors of those that cannot be read too.
    pub(crate) fn features(
        self,
        py: Python<'_>,
        detector: &Detector,
        workers: Option<usize>,
        reporter: &Reporter,
    ) -> PyResult<(FeatureRows, Vec<String>)> {
        let count = self.len();
        let (images, folders) = match self {
            Self::Features { features, .. } => {
                let rows = FeatureRows {
                    features,
                    indices: (0..count).collect(),
                    folders: vec![None; count],
                };
                return Ok((rows, Vec::new()));
            }
            Self::Images { images, folders } => (images, folders),
        };
        let mut rows = FeatureRows {
            features: Vec::new(),
            indices: Vec::new(),
            folders: Vec::new(),
        };
        let mut skipped = Vec::new();
        let outcome = run(py, reporter, || -> Result<(), Failed> {
            reporter.begin("encoding images", count as u64);
            let pipeline = FeaturePipeline::new(detector.tower(), detector.preprocessing())
                .with_parallelism(parallelism(16, workers))
                .with_progress(reporter);
            let keep = |index: usize, feature: Vec<f32>| {
                rows.features.extend(feature);
                rows.indices.push(index);
                rows.folders.push(folders.get(index).cloned().flatten());
            };
            let encode =
                |_: &InputImage, feature: Result<&[f32], ItemError>| feature.map(<[f32]>::to_vec);
            pipeline.run(images, encode, readable(&mut skipped, keep))
        })?;
        outcome.map_err(|error| error.into_py_err(&[]))?;
        Ok((rows, skipped))
    }

    /// Scores all images; returns the texts of the errors of those that cannot be read too.
    pub(crate) fn scored(
        self,
        py: Python<'_>,
        detector: &Detector,
        candidates: &[&'static dyn Score],
        workers: Option<usize>,
        reporter: &Reporter,
    ) -> PyResult<(Vec<Scored>, Vec<String>)> {
        let (images, folders) = match self {
            Self::Features { .. } => {
                let (rows, skipped) = self.features(py, detector, workers, reporter)?;
                return Ok((rows.scored(py, detector.classifier(), candidates)?, skipped));
            }
            Self::Images { images, folders } => (images, folders),
        };
        let (mut scored, mut skipped) = (Vec::new(), Vec::new());
        let outcome = run(py, reporter, || -> Result<(), Failed> {
            reporter.begin("scoring images", images.len() as u64);
            let pipeline = detector
                .pipeline_for(candidates)?
                .with_parallelism(parallelism(16, workers))
                .with_progress(reporter);
            let keep = |index: usize, (sample, values): (CalibrationSample, Vec<f64>)| {
                let folder = folders.get(index).cloned().flatten();
                let sample = CalibrationSample { folder, ..sample };
                scored.push(Scored {
                    index,
                    sample,
                    values,
                });
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
