use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{EvaluationError, Parallelism, Recogniser};
use crate::dataset::{ImageSet, OodKind};
use crate::image::ImageError;
use crate::progress::Progress;
use crate::scores::{LogitsRow, Score, predict};

/// The arithmetic of the scores.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// As published: f32, probabilities that saturate at 1 and tie.
    #[default]
    F32,
    /// f64 in log space, which orders what f32 leaves tied; probabilities become their logarithms.
    F64,
}

/// How an evaluation is run.
#[derive(Debug, Clone)]
pub struct Options {
    /// The scores, in the order of the results.
    pub scores: Vec<&'static dyn Score>,
    /// Their arithmetic.
    pub precision: Precision,
    /// How the work is spread.
    pub parallelism: Parallelism,
    /// Whether an image that cannot be read ends the run instead of being left out and told.
    pub strict: bool,
}

/// What an image's logits came to.
#[derive(Debug, Clone, PartialEq)]
pub struct Scored {
    /// Index of the class with the highest "yes" logit.
    pub prediction: usize,
    /// One value a score of the options.
    pub scores: Vec<f64>,
}

/// One image of an evaluation.
#[derive(Debug, Clone, PartialEq)]
pub struct ImageRow {
    /// The file.
    pub path: PathBuf,
    /// Its class, where known.
    pub label: Option<usize>,
    /// Its scores, or why it could not be read.
    pub outcome: Result<Scored, String>,
}

/// A scored set.
#[derive(Debug, Clone, PartialEq)]
pub struct ScoredSet {
    /// The set's name.
    pub name: String,
    /// `near` or `far`; `None` for the in-distribution set and where nothing is said.
    pub kind: Option<OodKind>,
    /// One row an image, in the order of the set.
    pub rows: Vec<ImageRow>,
}

/// Every image of a benchmark, scored.
#[derive(Debug, Clone, PartialEq)]
pub struct Evaluation {
    /// The class names.
    pub class_names: Vec<String>,
    /// The scores that were computed.
    pub scores: Vec<&'static dyn Score>,
    /// The in-distribution set.
    pub id: ScoredSet,
    /// The out-of-distribution sets.
    pub ood: Vec<ScoredSet>,
}

/// Scores an in-distribution set and any number of out-of-distribution sets.
///
/// # Errors
/// A label beyond the class names, a set of which nothing could be read, with `strict` any unreadable image, or
/// cancellation.
pub fn evaluate(
    recogniser: &Recogniser<'_>,
    id: &ImageSet,
    ood: &[(ImageSet, Option<OodKind>)],
    options: &Options,
    progress: &dyn Progress,
) -> Result<Evaluation, EvaluationError> {
    let classes = recogniser.classifier().len();
    if let Some(sample) = id.samples.iter().find(|s| s.label.is_some_and(|label| label >= classes)) {
        let label = sample.label.unwrap_or_default();
        return Err(EvaluationError::Label { path: sample.path.clone(), label, classes });
    }
    let sets = || std::iter::once((id, None)).chain(ood.iter().map(|(set, kind)| (set, *kind)));
    let total = sets().map(|(set, _)| set.len()).sum();
    progress.begin("scoring images", total as u64);
    let mut scored = Vec::new();
    let mut done = 0;
    for (set, kind) in sets() {
        let rows = score_set(recogniser, set, options, progress).map_err(|error| match error {
            EvaluationError::Cancelled { done: in_set, .. } => {
                EvaluationError::Cancelled { done: done + in_set, total: Some(total) }
            }
            other => other,
        })?;
        done += rows.len();
        scored.push(ScoredSet { name: set.name.clone(), kind, rows });
    }
    progress.end();
    let id = scored.remove(0);
    Ok(Evaluation {
        class_names: recogniser.classifier().class_names().to_vec(),
        scores: options.scores.clone(),
        id,
        ood: scored,
    })
}

fn score_set(
    recogniser: &Recogniser<'_>,
    set: &ImageSet,
    options: &Options,
    progress: &dyn Progress,
) -> Result<Vec<ImageRow>, EvaluationError> {
    let files = set.samples.iter().map(|sample| sample.path.as_path());
    let mut rows = Vec::with_capacity(set.len());
    let look = |_: &&Path, row: Result<LogitsRow<'_, f32>, ImageError>| row.map(|row| score(row, options));
    let sink = |outcome: Result<Scored, ImageError>| {
        let outcome = match outcome {
            Err(error) if options.strict => return Err(EvaluationError::Image(error)),
            outcome => outcome.map_err(|error| error.to_string()),
        };
        let sample = &set.samples[rows.len()];
        rows.push(ImageRow { path: sample.path.clone(), label: sample.label, outcome });
        Ok(())
    };
    recogniser.for_each(files, options.parallelism, progress, look, sink)?;
    match rows.first() {
        Some(ImageRow { outcome: Err(first), .. }) if rows.iter().all(|row| row.outcome.is_err()) => {
            Err(EvaluationError::NothingReadable {
                set: set.name.clone(),
                count: rows.len(),
                first: first.clone(),
            })
        }
        _ => Ok(rows),
    }
}

fn score(row: LogitsRow<'_, f32>, options: &Options) -> Scored {
    let scores = match options.precision {
        Precision::F32 => options.scores.iter().map(|s| f64::from(s.faithful(row))).collect(),
        Precision::F64 => {
            let widen = |values: &[f32]| values.iter().map(|&v| f64::from(v)).collect::<Vec<f64>>();
            let (yes, no) = (widen(row.yes), widen(row.no));
            options
                .scores
                .iter()
                .map(|s| s.stable(LogitsRow { yes: &yes, no: &no, scale: row.scale }))
                .collect()
        }
    };
    Scored { prediction: predict(row), scores }
}
