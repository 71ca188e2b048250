//! The scores of pictures that are calibrated with.

use std::path::{Path, PathBuf};

use clipn::calibration::{Looked, Settings};
use clipn::dataset::{ImageFolder, read_list};
use clipn::detector::Detector;
use clipn::evaluation::{EvaluationError, Recogniser};
use clipn::image::ImageError;
use clipn::progress::Progress;
use clipn::scores::{LogitsRow, predict, q, stable};

use crate::common::args::RunArgs;
use crate::common::error::CliError;
use crate::common::progress::Bar;

/// A picture, and the folder by its class.
#[derive(Debug, Clone)]
pub struct File {
    path: PathBuf,
    folder: Option<String>,
}

/// A scored picture.
#[derive(Debug)]
pub struct Picture {
    pub path: PathBuf,
    pub looked: Looked,
}

/// Scored pictures, and why others were not.
#[derive(Debug, Default)]
pub struct Outcome {
    pub pictures: Vec<Picture>,
    pub errors: Vec<String>,
}

/// Every picture below a folder, or of a list.
pub fn pictures_below(path: &Path) -> Result<Vec<File>, CliError> {
    if path.is_file() {
        let set = read_list(
            "pictures",
            path,
            path.parent().unwrap_or(Path::new("")),
            None,
        )?;
        return Ok(set
            .samples
            .into_iter()
            .map(|sample| File {
                path: sample.path,
                folder: None,
            })
            .collect());
    }
    let set = ImageFolder::read(path)?.unlabelled("pictures")?;
    let folder = |file: &Path| {
        let mut parts = file.strip_prefix(path).ok()?.components();
        let first = parts.next()?.as_os_str().to_string_lossy().into_owned();
        parts.next().map(|_| first)
    };
    let file = |path: PathBuf| File {
        folder: folder(&path),
        path,
    };
    Ok(set
        .samples
        .into_iter()
        .map(|sample| file(sample.path))
        .collect())
}

/// Scores pictures as the settings want them scored. A picture that cannot be read is left out, or with `--strict` an error.
pub fn score(
    detector: &Detector,
    files: &[File],
    settings: &Settings,
    run: &RunArgs,
    bar: &Bar,
) -> Result<Outcome, CliError> {
    let recogniser = Recogniser::new(
        detector.tower(),
        detector.classifier(),
        detector.preprocessing().clone(),
    )?;
    let paths = files.iter().map(|file| file.path.as_path());
    let look = |_: &&Path, row: Result<LogitsRow<'_, f32>, ImageError>| {
        row.map(|row| {
            let prediction = predict(row);
            let q = if settings.score.uses_no() {
                q(row)[prediction]
            } else {
                f32::NAN
            };
            (stable(settings.score, row), prediction, f64::from(q))
        })
    };
    let mut outcome = Outcome::default();
    let mut at = 0;
    bar.begin("scoring pictures", files.len() as u64);
    let sink = |row: Result<(f64, usize, f64), ImageError>| -> Result<(), CliError> {
        let File { path, folder } = files[at].clone();
        at += 1;
        match row {
            Ok((score, prediction, q)) if score.is_finite() => {
                outcome.pictures.push(Picture {
                    path,
                    looked: Looked {
                        score,
                        prediction,
                        q,
                        folder,
                    },
                });
            }
            Ok(_) => outcome
                .errors
                .push(format!("{}: its score is not finite", path.display())),
            Err(error) if run.strict => return Err(error.into()),
            Err(error) => outcome.errors.push(error.to_string()),
        }
        Ok(())
    };
    let done = recogniser.for_each(paths, run.parallelism(), bar, look, sink);
    bar.end();
    match done {
        Err(CliError::Evaluation(EvaluationError::Cancelled { done, .. })) => {
            Err(CliError::Interrupted {
                done: done as u64,
                total: Some(files.len() as u64),
            })
        }
        other => other.map(|()| outcome),
    }
}
