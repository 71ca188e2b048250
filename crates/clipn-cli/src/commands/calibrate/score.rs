//! Scores of the images of a calibration.

use std::path::{Path, PathBuf};

use clipn::calibration::{CalibrationSample, CalibrationSettings};
use clipn::dataset::{ImageFolder, read_image_list};
use clipn::detector::Detector;
use clipn::image::ImageError;
use clipn::inference::{InferenceError, InferencePipeline};
use clipn::progress::Progress;
use clipn::scores::LogitsRow;

use crate::common::args::RunArgs;
use crate::common::error::{CliError, chain_in_one_line};
use crate::common::progress::Bar;

/// An image file, and its class folder if there is one.
#[derive(Debug, Clone)]
pub(crate) struct ImageFile {
    path: PathBuf,
    folder: Option<String>,
}

/// A scored image.
#[derive(Debug)]
pub(crate) struct ScoredImage {
    pub path: PathBuf,
    pub sample: CalibrationSample,
}

/// Scored images, and the errors of the others.
#[derive(Debug, Default)]
pub(crate) struct ScoringOutcome {
    pub images: Vec<ScoredImage>,
    pub errors: Vec<String>,
}

/// Lists the images below a directory, or of an image list.
pub(crate) fn list_images(path: &Path) -> Result<Vec<ImageFile>, CliError> {
    if path.is_file() {
        let set = read_image_list("images", path, path.parent().unwrap_or(Path::new("")), None)?;
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

/// Scores images with the score of the settings. An unreadable image is skipped, or an error with
/// `--strict`.
pub(crate) fn score(
    detector: &Detector,
    files: &[ImageFile],
    settings: &CalibrationSettings,
    run: &RunArgs,
    bar: &Bar,
) -> Result<ScoringOutcome, CliError> {
    let pipeline = InferencePipeline::new(
        detector.tower(),
        detector.classifier(),
        detector.preprocessing(),
    )?
    .with_parallelism(run.parallelism())
    .with_progress(bar);
    let paths = files.iter().map(|file| file.path.as_path());
    let compute = |_: &&Path, row: Result<LogitsRow<'_, f32>, ImageError>| {
        row.map(|row| CalibrationSample::from_logits(settings.score, row))
    };
    let mut outcome = ScoringOutcome::default();
    let mut next = 0;
    bar.begin("scoring images", files.len() as u64);
    let sink = |row: Result<CalibrationSample, ImageError>| -> Result<(), CliError> {
        let ImageFile { path, folder } = files[next].clone();
        next += 1;
        match row {
            Ok(sample) if sample.score.is_finite() => {
                outcome.images.push(ScoredImage {
                    path,
                    sample: CalibrationSample { folder, ..sample },
                });
            }
            Ok(_) => outcome
                .errors
                .push(format!("{}: the score is not finite", path.display())),
            Err(error) if run.strict => return Err(error.into()),
            Err(error) => outcome.errors.push(chain_in_one_line(&error)),
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
