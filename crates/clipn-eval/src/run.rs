use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::EvaluationError;
use clipn_base::progress::Progress;
use clipn_data::{ImageSet, OodKind};
use clipn_detect::classifier::{Classifier, ClassifierError};
use clipn_detect::inference::{InferenceError, InferencePipeline, Parallelism};
use clipn_image::{ImageError, Preprocessing};
use clipn_model::ImageTower;
use clipn_ood::scores::{LogitsRow, Msp, Score, predict, stable_each};

/// Floating-point precision of the scores.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// f32 as published; probabilities saturate at 1 and tie.
    #[default]
    F32,
    /// f64 in log space, which orders values that tie in f32; probabilities become their
    /// logarithms.
    F64,
}

/// Options of an evaluation.
#[derive(Debug, Clone)]
pub struct Options {
    /// Scores to compute, in the order of the results.
    pub scores: Vec<&'static dyn Score>,
    /// Precision of the scores.
    pub precision: Precision,
    /// Distribution of the work over threads.
    pub parallelism: Parallelism,
    /// Whether an unreadable image ends the run instead of being skipped and reported.
    pub strict: bool,
}

/// Prediction and scores of an image.
#[derive(Debug, Clone, PartialEq)]
pub struct Scored {
    /// Index of the class with the highest "yes" logit.
    pub prediction: usize,
    /// One value per score of the options.
    pub scores: Vec<f64>,
    /// Maximum softmax probability over the "yes" logits, p(max).
    pub confidence: f64,
}

/// Result of one image.
#[derive(Debug, Clone, PartialEq)]
pub struct ImageRow {
    /// Path of the image.
    pub path: PathBuf,
    /// Index of the true class, if known.
    pub label: Option<usize>,
    /// Prediction and scores, or the error message of an unreadable image.
    pub outcome: Result<Scored, String>,
}

/// Results of one image set.
#[derive(Debug, Clone, PartialEq)]
pub struct ScoredSet {
    /// Name of the set.
    pub name: String,
    /// `near` or `far`; `None` for the in-distribution set, and if the benchmark does not define
    /// it.
    pub kind: Option<OodKind>,
    /// One row per image, in the order of the set.
    pub rows: Vec<ImageRow>,
}

/// Scores of every image of a benchmark.
#[derive(Debug, Clone, PartialEq)]
pub struct Evaluation {
    /// Class names.
    pub class_names: Vec<String>,
    /// Computed scores.
    pub scores: Vec<&'static dyn Score>,
    /// In-distribution set.
    pub id: ScoredSet,
    /// Out-of-distribution sets.
    pub ood: Vec<ScoredSet>,
}

/// Scores an in-distribution set and any number of out-of-distribution sets.
///
/// # Errors
/// [`EvaluationError::Label`] for a label out of range, [`EvaluationError::NoReadableImages`] if no
/// image of a set could be read, [`EvaluationError::Image`] with `strict` for any unreadable image,
/// and [`EvaluationError::Cancelled`].
pub fn evaluate(
    pipeline: &InferencePipeline<'_>,
    id: &ImageSet,
    ood: &[(ImageSet, Option<OodKind>)],
    options: &Options,
    progress: &dyn Progress,
) -> Result<Evaluation, EvaluationError> {
    let range = ClassRange {
        first: 0,
        classes: pipeline.classifier().len(),
        scale: None,
    };
    let class_names = pipeline.classifier().class_names();
    let mut evaluations = ScoringJob {
        pipeline,
        ranges: &[range],
        options,
        progress,
    }
    .run(id, ood, |_| class_names)?;
    evaluations
        .pop()
        .ok_or(EvaluationError::Classifier(ClassifierError::NoClasses))
}

/// Scores the sets with several classifiers of one image tower, such as those of several "no"
/// towers. Every image is decoded and encoded only once. Returns one evaluation per classifier,
/// equal to that of [`evaluate`].
///
/// # Errors
/// Same as [`evaluate`], and [`EvaluationError::Classifier`] without classifiers or for one of
/// another dimension.
pub fn evaluate_each(
    (tower, preprocessing): (&dyn ImageTower<f32>, Preprocessing),
    classifiers: &[Classifier],
    id: &ImageSet,
    ood: &[(ImageSet, Option<OodKind>)],
    options: &Options,
    progress: &dyn Progress,
) -> Result<Vec<Evaluation>, EvaluationError> {
    let expected = tower.embed_dim();
    if let Some(other) = classifiers
        .iter()
        .find(|classifier| classifier.dim() != expected)
    {
        return Err(ClassifierError::FeatureDimension {
            expected,
            found: other.dim(),
        }
        .into());
    }
    let names = classifiers
        .iter()
        .flat_map(Classifier::class_names)
        .cloned()
        .collect();
    let rows = |of: fn(&Classifier) -> &[f32]| classifiers.iter().flat_map(of).copied().collect();
    // With a scale of 1 the logits are cosines; each classifier multiplies them by its own scale.
    let concatenated = Classifier::new(
        names,
        rows(Classifier::yes_weights),
        rows(Classifier::no_weights),
    )?
    .with_scale(1.0);
    let mut first = 0;
    let range = |classifier: &Classifier| {
        let range = ClassRange {
            first,
            classes: classifier.len(),
            scale: Some(classifier.scale()),
        };
        first += classifier.len();
        range
    };
    let ranges: Vec<ClassRange> = classifiers.iter().map(range).collect();
    let pipeline = InferencePipeline::new(tower, &concatenated, &preprocessing)?;
    let job = ScoringJob {
        pipeline: &pipeline,
        ranges: &ranges,
        options,
        progress,
    };
    job.run(id, ood, |index| classifiers[index].class_names())
}

/// Range of one classifier's classes in the logits of the concatenated classifier.
#[derive(Debug, Clone, Copy)]
struct ClassRange {
    first: usize,
    classes: usize,
    /// Logit scale of the classifier; `None` if the row holds logits already.
    scale: Option<f64>,
}

impl ClassRange {
    fn score(self, row: LogitsRow<'_, f32>, options: &Options) -> Scored {
        let in_range = |values: &[f32]| values[self.first..self.first + self.classes].to_vec();
        let Some(scale) = self.scale else {
            return score(row, options);
        };
        let times = |cosine: f32| scale as f32 * cosine;
        let (yes, no): (Vec<f32>, Vec<f32>) = (
            in_range(row.yes).into_iter().map(times).collect(),
            in_range(row.no).into_iter().map(times).collect(),
        );
        score(
            LogitsRow {
                yes: &yes,
                no: &no,
                scale,
            },
            options,
        )
    }
}

/// Scoring of image sets with one or more classifiers.
struct ScoringJob<'a> {
    pipeline: &'a InferencePipeline<'a>,
    ranges: &'a [ClassRange],
    options: &'a Options,
    progress: &'a dyn Progress,
}

impl ScoringJob<'_> {
    /// Scores all sets; returns one evaluation per classifier.
    fn run<'n>(
        &self,
        id: &ImageSet,
        ood: &[(ImageSet, Option<OodKind>)],
        class_names: impl Fn(usize) -> &'n [String],
    ) -> Result<Vec<Evaluation>, EvaluationError> {
        let classes = self
            .ranges
            .iter()
            .map(|range| range.classes)
            .min()
            .unwrap_or_default();
        if let Some(sample) = id
            .samples
            .iter()
            .find(|s| s.label.is_some_and(|label| label >= classes))
        {
            let label = sample.label.unwrap_or_default();
            return Err(EvaluationError::Label {
                path: sample.path.clone(),
                label,
                classes,
            });
        }
        let sets = || std::iter::once((id, None)).chain(ood.iter().map(|(set, kind)| (set, *kind)));
        let total = sets().map(|(set, _)| set.len()).sum();
        self.progress.begin("scoring images", total as u64);
        let mut scored: Vec<Vec<ScoredSet>> = self.ranges.iter().map(|_| Vec::new()).collect();
        let mut done = 0;
        for (set, kind) in sets() {
            let of_ranges = self.score_set(set).map_err(|error| match error {
                EvaluationError::Inference(InferenceError::Cancelled { done: in_set }) => {
                    EvaluationError::Cancelled {
                        done: done + in_set,
                        total,
                    }
                }
                other => other,
            })?;
            done += set.len();
            for (sets, rows) in scored.iter_mut().zip(of_ranges) {
                sets.push(ScoredSet {
                    name: set.name.clone(),
                    kind,
                    rows,
                });
            }
        }
        self.progress.end();
        let evaluation = |(index, mut sets): (usize, Vec<ScoredSet>)| Evaluation {
            class_names: class_names(index).to_vec(),
            scores: self.options.scores.clone(),
            id: sets.remove(0),
            ood: sets,
        };
        Ok(scored.into_iter().enumerate().map(evaluation).collect())
    }

    /// Scores a set; returns its rows for every classifier.
    fn score_set(&self, set: &ImageSet) -> Result<Vec<Vec<ImageRow>>, EvaluationError> {
        let files = set.samples.iter().map(|sample| sample.path.as_path());
        let mut rows: Vec<Vec<ImageRow>> = self
            .ranges
            .iter()
            .map(|_| Vec::with_capacity(set.len()))
            .collect();
        let look = |_: &&Path, row: Result<LogitsRow<'_, f32>, ImageError>| {
            row.map(|row| {
                self.ranges
                    .iter()
                    .map(|range| range.score(row, self.options))
                    .collect::<Vec<_>>()
            })
        };
        let mut samples = set.samples.iter();
        let sink = |outcome: Result<Vec<Scored>, ImageError>| {
            let outcome = match outcome {
                Err(error) if self.options.strict => return Err(EvaluationError::Image(error)),
                outcome => outcome.map_err(|error| error.to_string()),
            };
            let Some(sample) = samples.next() else {
                return Ok(());
            };
            for (index, rows) in rows.iter_mut().enumerate() {
                let outcome = outcome
                    .as_ref()
                    .map(|scored| scored[index].clone())
                    .map_err(Clone::clone);
                rows.push(ImageRow {
                    path: sample.path.clone(),
                    label: sample.label,
                    outcome,
                });
            }
            Ok(())
        };
        self.pipeline
            .with_parallelism(self.options.parallelism)
            .with_progress(self.progress)
            .run(files, look, sink)?;
        match rows.first().map(Vec::as_slice) {
            Some(
                all @ [
                    ImageRow {
                        outcome: Err(first),
                        ..
                    },
                    ..,
                ],
            ) if all.iter().all(|row| row.outcome.is_err()) => {
                Err(EvaluationError::NoReadableImages {
                    set: set.name.clone(),
                    count: all.len(),
                    first: first.clone(),
                })
            }
            _ => Ok(rows),
        }
    }
}

fn score(row: LogitsRow<'_, f32>, options: &Options) -> Scored {
    let scores = match options.precision {
        Precision::F32 => options
            .scores
            .iter()
            .map(|s| f64::from(s.faithful(row)))
            .collect(),
        Precision::F64 => stable_each(&options.scores, row),
    };
    Scored {
        prediction: predict(row),
        scores,
        confidence: f64::from(Msp.faithful(row)),
    }
}
