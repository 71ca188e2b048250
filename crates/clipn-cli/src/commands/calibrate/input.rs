//! Images or features that a threshold is calibrated on.

use std::path::PathBuf;

use clipn::classifier::Classifier;
use clipn::count::count;
use clipn::dataset::{FeatureFile, ImagePaths, SkippedFiles, read_labels};
use clipn::detector::Detector;
use clipn::inference::{FeatureCache, FeaturePipeline, InferenceError, ItemError};
use clipn::progress::Progress;
use clipn::scores::Score;

use super::args::CalibrateArgs;
use super::score::{
    FeatureRows, ImageFile, ScoredImage, list_images, name_folders, score, score_features,
};
use crate::common::device::Device;
use crate::common::error::{CliError, chain_in_one_line};
use crate::common::messages::warning;
use crate::common::progress::Bar;
use crate::common::shared_images::{IN_BOTH, NamedPaths, warn_of_same_features};

/// What the threshold is calibrated on: in-distribution and out-of-distribution.
pub(super) enum Input {
    Images {
        id: Vec<ImageFile>,
        ood: Vec<ImageFile>,
    },
    Features {
        id: FeatureFile,
        ood: Vec<FeatureFile>,
    },
}

/// What images are encoded with.
#[derive(Clone, Copy)]
pub(super) struct Run<'a> {
    pub args: &'a CalibrateArgs,
    pub device: &'a Device,
    pub cache: Option<&'a FeatureCache>,
    pub bar: &'a Bar,
}

impl Input {
    pub(super) fn open(args: &CalibrateArgs, skipped: &mut SkippedFiles) -> Result<Self, CliError> {
        if let Some(id) = &args.features {
            let open = |path: &PathBuf| {
                let file = FeatureFile::open(path)?;
                file.check_not_empty()?;
                Ok::<_, CliError>(file)
            };
            let ood = args.ood_features.iter().map(open);
            return Ok(Self::Features {
                id: open(id)?,
                ood: ood.collect::<Result<_, _>>()?,
            });
        }
        let id = args.id.iter().map(|path| list_images(path, skipped));
        let id: Vec<_> = id.collect::<Result<_, _>>()?;
        let ood = args.ood.iter().map(|path| list_images(path, skipped));
        let ood: Vec<_> = ood.collect::<Result<_, _>>()?;
        Ok(Self::Images {
            id: id.concat(),
            ood: ood.concat(),
        })
    }

    /// Warns of in-distribution images or files of features that are out-of-distribution too.
    pub(super) fn warn_of_shared_images(&self) {
        match self {
            Self::Images { id, ood } => {
                let known = NamedPaths {
                    name: "--id",
                    paths: ImagePaths::of_paths(id.iter().map(ImageFile::path)),
                };
                known.warn_of_shared("--ood", ood.iter().map(ImageFile::path), IN_BOTH);
            }
            Self::Features { id, ood } => {
                for ood in ood {
                    let names = ["--features", "--ood-features"];
                    warn_of_same_features(names, [id.path(), ood.path()], IN_BOTH);
                }
            }
        }
    }

    /// Number of in-distribution and of out-of-distribution images.
    pub(super) fn counts(&self) -> [usize; 2] {
        match self {
            Self::Images { id, ood } => [id.len(), ood.len()],
            Self::Features { id, ood } => [id.len(), ood.iter().map(FeatureFile::len).sum()],
        }
    }

    /// Scores the in-distribution images.
    pub(super) fn score_id(
        &mut self,
        detector: &Detector,
        candidates: &[&'static dyn Score],
        run: &Run<'_>,
    ) -> Result<Vec<ScoredImage>, CliError> {
        match self {
            Self::Images { id, .. } => {
                name_folders(id, detector.classifier().class_names());
                run.scored(detector, id, candidates)
            }
            Self::Features { id, .. } => {
                let rows = run.id_rows(detector.classifier(), id)?;
                score_features(detector.classifier(), &rows, candidates)
            }
        }
    }

    /// Scores the out-of-distribution images.
    pub(super) fn score_ood(
        &mut self,
        detector: &Detector,
        candidates: &[&'static dyn Score],
        run: &Run<'_>,
    ) -> Result<Vec<ScoredImage>, CliError> {
        let classifier = detector.classifier();
        match self {
            Self::Images { ood, .. } => run.scored(detector, ood, candidates),
            Self::Features { ood, .. } => {
                let mut scored = Vec::new();
                for file in ood {
                    let rows = FeatureRows::read(classifier, file, Vec::new())?;
                    scored.extend(score_features(classifier, &rows, candidates)?);
                }
                Ok(scored)
            }
        }
    }

    /// Features of the in-distribution images, so that these are encoded once.
    pub(super) fn id_features(
        &mut self,
        detector: &Detector,
        run: &Run<'_>,
    ) -> Result<FeatureRows, CliError> {
        match self {
            Self::Images { id, .. } => {
                name_folders(id, detector.classifier().class_names());
                run.encoded(detector, id)
            }
            Self::Features { id, .. } => run.id_rows(detector.classifier(), id),
        }
    }
}

impl Run<'_> {
    fn id_rows(
        &self,
        classifier: &Classifier,
        file: &mut FeatureFile,
    ) -> Result<FeatureRows, CliError> {
        let labels = match &self.args.labels {
            Some(path) => read_labels(path, classifier.class_names(), file.len())?,
            None => Vec::new(),
        };
        FeatureRows::read(classifier, file, labels)
    }

    fn scored(
        &self,
        detector: &Detector,
        files: &[ImageFile],
        candidates: &[&'static dyn Score],
    ) -> Result<Vec<ScoredImage>, CliError> {
        let settings = (&self.args.run, self.device);
        let outcome = score(detector, files, candidates, settings, self.cache, self.bar)?;
        warn_of_errors(&outcome.errors);
        Ok(outcome.images)
    }

    /// Encodes images. An unreadable image is skipped, or an error with `--strict`.
    fn encoded(&self, detector: &Detector, files: &[ImageFile]) -> Result<FeatureRows, CliError> {
        let pipeline = FeaturePipeline::new(detector.tower(), detector.preprocessing())
            .with_parallelism(self.args.run.parallelism(self.device))
            .with_cache(self.cache)
            .with_progress(self.bar);
        let (mut rows, mut errors, mut next) = (FeatureRows::default(), Vec::new(), 0);
        let sink = |feature: Result<Vec<f32>, ItemError>| -> Result<(), CliError> {
            let file = &files[next];
            next += 1;
            match feature.map_err(|error| CliError::from_item(file.name(), error)) {
                Ok(feature) => rows.push(file, &feature, detector.classifier().class_names()),
                Err(error) if self.args.run.strict => return Err(error),
                Err(error) => errors.push(chain_in_one_line(&error)),
            }
            Ok(())
        };
        self.bar.begin("encoding images", files.len() as u64);
        let paths = files.iter().map(ImageFile::path);
        let result = pipeline.run(paths, |_, feature| feature.map(<[f32]>::to_vec), sink);
        self.bar.end();
        match result {
            Err(CliError::Inference(InferenceError::Cancelled { done, .. })) => {
                return Err(CliError::Interrupted {
                    done: done as u64,
                    total: Some(files.len() as u64),
                });
            }
            other => other?,
        }
        warn_of_errors(&errors);
        Ok(rows)
    }
}

fn warn_of_errors(errors: &[String]) {
    if let Some(first) = errors.first() {
        warning(format_args!(
            "skipped {} that could not be read or scored; the first: {first}",
            count(errors.len(), "image")
        ));
    }
}
