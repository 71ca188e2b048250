use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::EvaluationError;
use clipn_detect::inference::{InferenceError, InferencePipeline, Parallelism};
use clipn_detect::classifier::{Classifier, ClassifierError};
use clipn_data::{ImageSet, OodKind};
use clipn_image::{ImageError, Preprocessing};
use clipn_model::ImageTower;
use clipn_base::progress::Progress;
use clipn_ood::scores::{LogitsRow, Msp, Score, predict, stable_each};

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
    /// How sure the prediction is of itself: its share of the softmax over the "yes" logits, p(max).
    pub confidence: f64,
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
    pipeline: &InferencePipeline<'_>,
    id: &ImageSet,
    ood: &[(ImageSet, Option<OodKind>)],
    options: &Options,
    progress: &dyn Progress,
) -> Result<Evaluation, EvaluationError> {
    let part = Part {
        first: 0,
        classes: pipeline.classifier().len(),
        scale: None,
    };
    let class_names = pipeline.classifier().class_names();
    let mut evaluations = Job {
        pipeline,
        parts: &[part],
        options,
        progress,
    }
    .run(id, ood, |_| class_names)?;
    evaluations
        .pop()
        .ok_or(EvaluationError::Classifier(ClassifierError::NoClasses))
}

/// Scores the sets with several classifiers of one image tower, as those of several "no" sides; every image is decoded
/// and encoded once. One evaluation a classifier, each as [`evaluate`] would give it.
///
/// # Errors
/// As [`evaluate`]; and no classifier, or one of another dimension.
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
    // With a scale of one the logits are cosines, which each part multiplies by its own scale.
    let joined =
        Classifier::new(names, rows(Classifier::yes), rows(Classifier::no))?.with_scale(1.0);
    let mut first = 0;
    let part = |classifier: &Classifier| {
        let part = Part {
            first,
            classes: classifier.len(),
            scale: Some(classifier.scale()),
        };
        first += classifier.len();
        part
    };
    let parts: Vec<Part> = classifiers.iter().map(part).collect();
    let pipeline = InferencePipeline::new(tower, &joined, &preprocessing)?;
    let job = Job {
        pipeline: &pipeline,
        parts: &parts,
        options,
        progress,
    };
    job.run(id, ood, |index| classifiers[index].class_names())
}

/// The classes of one of the classifiers that are joined in a row of logits.
#[derive(Debug, Clone, Copy)]
struct Part {
    first: usize,
    classes: usize,
    /// What cosines are multiplied by; `None` for a row that holds logits already.
    scale: Option<f64>,
}

impl Part {
    fn score(self, row: LogitsRow<'_, f32>, options: &Options) -> Scored {
        let of_part = |values: &[f32]| values[self.first..self.first + self.classes].to_vec();
        let Some(scale) = self.scale else {
            return score(row, options);
        };
        let times = |cosine: f32| scale as f32 * cosine;
        let (yes, no): (Vec<f32>, Vec<f32>) = (
            of_part(row.yes).into_iter().map(times).collect(),
            of_part(row.no).into_iter().map(times).collect(),
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

/// Sets scored with a pipeline whose classes are those of one or more classifiers.
struct Job<'a> {
    pipeline: &'a InferencePipeline<'a>,
    parts: &'a [Part],
    options: &'a Options,
    progress: &'a dyn Progress,
}

impl Job<'_> {
    /// One evaluation a part.
    fn run<'n>(
        &self,
        id: &ImageSet,
        ood: &[(ImageSet, Option<OodKind>)],
        class_names: impl Fn(usize) -> &'n [String],
    ) -> Result<Vec<Evaluation>, EvaluationError> {
        let classes = self
            .parts
            .iter()
            .map(|part| part.classes)
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
        let mut scored: Vec<Vec<ScoredSet>> = self.parts.iter().map(|_| Vec::new()).collect();
        let mut done = 0;
        for (set, kind) in sets() {
            let of_parts = self.score_set(set).map_err(|error| match error {
                EvaluationError::Inference(InferenceError::Cancelled { done: in_set }) => EvaluationError::Cancelled {
                    done: done + in_set,
                    total,
                },
                other => other,
            })?;
            done += set.len();
            for (sets, rows) in scored.iter_mut().zip(of_parts) {
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

    /// The rows of a set, for every part.
    fn score_set(&self, set: &ImageSet) -> Result<Vec<Vec<ImageRow>>, EvaluationError> {
        let files = set.samples.iter().map(|sample| sample.path.as_path());
        let mut rows: Vec<Vec<ImageRow>> = self
            .parts
            .iter()
            .map(|_| Vec::with_capacity(set.len()))
            .collect();
        let look = |_: &&Path, row: Result<LogitsRow<'_, f32>, ImageError>| {
            row.map(|row| {
                self.parts
                    .iter()
                    .map(|part| part.score(row, self.options))
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
            .for_each(files, self.options.parallelism, self.progress, look, sink)?;
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
                Err(EvaluationError::NothingReadable {
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
