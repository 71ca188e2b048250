//! Scoring of the images of a benchmark.

use std::fmt;
use std::path::Path;

use clipn_base::error::chain_in_one_line;
use clipn_base::progress::{NoProgress, Progress};
use clipn_data::{ImageSet, OodKind, OodSet};
use clipn_detect::classifier::{Classifier, ClassifierError};
use clipn_detect::inference::{InferenceError, InferencePipeline};
use clipn_image::{ImageError, Preprocessing};
use clipn_model::ImageTower;
use clipn_ood::scores::{LogitsRow, Msp, Score, predict, stable_each};

use crate::error::EvaluationError;
use crate::evaluation::{
    Evaluation, EvaluationOptions, ImageRow, ImageScores, ScorePrecision, SetScores,
};

/// An image tower with its preprocessing.
#[derive(Clone, Copy)]
pub struct ImageEncoder<'a> {
    /// Image tower.
    pub tower: &'a dyn ImageTower<f32>,
    /// Preprocessing of the tower's images.
    pub preprocessing: &'a Preprocessing,
}

impl fmt::Debug for ImageEncoder<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ImageEncoder")
            .field("embed_dim", &self.tower.embed_dim())
            .field("preprocessing", &self.preprocessing)
            .finish_non_exhaustive()
    }
}

/// Scores an in-distribution set and any number of out-of-distribution sets.
///
/// See the [crate page](crate) for an example.
#[derive(Clone)]
pub struct Evaluator<'a> {
    id: &'a ImageSet,
    ood: &'a [OodSet],
    options: EvaluationOptions,
    progress: &'a dyn Progress,
}

impl fmt::Debug for Evaluator<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Evaluator")
            .field("id", &self.id.name)
            .field("ood", &self.ood.len())
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

impl<'a> Evaluator<'a> {
    /// Creates an evaluator of these sets with the default options.
    pub fn new(id: &'a ImageSet, ood: &'a [OodSet]) -> Self {
        Self {
            id,
            ood,
            options: EvaluationOptions::default(),
            progress: &NoProgress,
        }
    }

    /// Sets the options.
    #[must_use]
    pub fn with_options(mut self, options: EvaluationOptions) -> Self {
        self.options = options;
        self
    }

    /// Sets the observer, which can also cancel the evaluation.
    #[must_use]
    pub fn with_progress(mut self, progress: &'a dyn Progress) -> Self {
        self.progress = progress;
        self
    }

    /// Scores the sets with one classifier. The parallelism and the observer are those of the
    /// evaluator, not of the pipeline.
    ///
    /// # Errors
    /// [`EvaluationError::LabelOutOfRange`] for a label out of range,
    /// [`EvaluationError::NoReadableImages`] if no image of a set could be read,
    /// [`EvaluationError::Image`] with [`EvaluationOptions::strict`] for any unreadable image, and
    /// [`EvaluationError::Interrupted`].
    pub fn evaluate(
        &self,
        pipeline: &InferencePipeline<'_>,
    ) -> Result<Evaluation, EvaluationError> {
        let range = ClassRange {
            first: 0,
            classes: pipeline.classifier().len(),
            scale: None,
        };
        let class_names = pipeline.classifier().class_names();
        let mut evaluations = self.run(pipeline, &[range], |_| class_names)?;
        evaluations
            .pop()
            .ok_or(EvaluationError::Classifier(ClassifierError::NoClasses))
    }

    /// Scores the sets with several classifiers of one image tower, such as those of several "no"
    /// towers. Every image is decoded and encoded only once. Returns one evaluation per classifier,
    /// equal to that of [`evaluate`](Self::evaluate).
    ///
    /// # Errors
    /// Same as [`evaluate`](Self::evaluate), and [`EvaluationError::Classifier`] without classifiers
    /// or for one of another dimension.
    pub fn evaluate_classifiers(
        &self,
        encoder: ImageEncoder<'_>,
        classifiers: &[Classifier],
    ) -> Result<Vec<Evaluation>, EvaluationError> {
        let ImageEncoder {
            tower,
            preprocessing,
        } = encoder;
        let concatenated = concatenate(classifiers, tower.embed_dim())?;
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
        let pipeline = InferencePipeline::new(tower, &concatenated, preprocessing)?;
        self.run(&pipeline, &ranges, |index| classifiers[index].class_names())
    }

    /// Scores all sets; returns one evaluation per range of classes.
    fn run<'n>(
        &self,
        pipeline: &InferencePipeline<'_>,
        ranges: &[ClassRange],
        class_names: impl Fn(usize) -> &'n [String],
    ) -> Result<Vec<Evaluation>, EvaluationError> {
        let classes = ranges.iter().map(|range| range.classes).min();
        self.check_labels(classes.unwrap_or_default())?;
        let pipeline = pipeline
            .with_parallelism(self.options.parallelism)
            .with_progress(self.progress);
        let total = self.sets().map(|(set, _)| set.len()).sum();
        self.progress.begin("scoring images", total as u64);
        let mut scored: Vec<Vec<SetScores>> = ranges.iter().map(|_| Vec::new()).collect();
        let mut done = 0;
        for (set, kind) in self.sets() {
            let rows = self.score_set(&pipeline, ranges, set);
            let rows = rows.map_err(|error| match error {
                EvaluationError::Inference(InferenceError::Cancelled { done: in_set }) => {
                    EvaluationError::Interrupted {
                        done: done + in_set,
                        total,
                    }
                }
                other => other,
            })?;
            done += set.len();
            for (sets, rows) in scored.iter_mut().zip(rows) {
                sets.push(SetScores {
                    name: set.name.clone(),
                    kind,
                    rows,
                });
            }
        }
        self.progress.end();
        let evaluation = |(index, mut sets): (usize, Vec<SetScores>)| Evaluation {
            class_names: class_names(index).to_vec(),
            scores: self.options.scores.clone(),
            id: sets.remove(0),
            ood: sets,
        };
        Ok(scored.into_iter().enumerate().map(evaluation).collect())
    }

    /// Returns all sets, in-distribution first.
    fn sets(&self) -> impl Iterator<Item = (&'a ImageSet, Option<OodKind>)> {
        let ood = self.ood.iter().map(|ood| (&ood.set, ood.kind));
        std::iter::once((self.id, None)).chain(ood)
    }

    /// Checks every label of the in-distribution set against the number of classes.
    fn check_labels(&self, classes: usize) -> Result<(), EvaluationError> {
        let out_of_range = self
            .id
            .samples
            .iter()
            .find_map(|sample| Some((sample, sample.label.filter(|&label| label >= classes)?)));
        match out_of_range {
            Some((sample, label)) => Err(EvaluationError::LabelOutOfRange {
                path: sample.path.clone(),
                label,
                classes,
            }),
            None => Ok(()),
        }
    }

    /// Scores a set; returns its rows for every range of classes.
    fn score_set(
        &self,
        pipeline: &InferencePipeline<'_>,
        ranges: &[ClassRange],
        set: &ImageSet,
    ) -> Result<Vec<Vec<ImageRow>>, EvaluationError> {
        let files = set.samples.iter().map(|sample| sample.path.as_path());
        let mut rows: Vec<Vec<ImageRow>> = ranges
            .iter()
            .map(|_| Vec::with_capacity(set.len()))
            .collect();
        let score_ranges = |_: &&Path, row: Result<LogitsRow<'_, f32>, ImageError>| {
            row.map(|row| {
                ranges
                    .iter()
                    .map(|range| range.score(row, &self.options))
                    .collect::<Vec<_>>()
            })
        };
        let mut samples = set.samples.iter();
        let push_rows = |outcome: Result<Vec<ImageScores>, ImageError>| {
            let outcome = match outcome {
                Err(error) if self.options.strict => return Err(EvaluationError::Image(error)),
                outcome => outcome.map_err(|error| chain_in_one_line(&error)),
            };
            let Some(sample) = samples.next() else {
                return Ok(());
            };
            for (index, rows) in rows.iter_mut().enumerate() {
                let outcome = outcome
                    .as_ref()
                    .map(|scores| scores[index].clone())
                    .map_err(Clone::clone);
                rows.push(ImageRow {
                    path: sample.path.clone(),
                    label: sample.label,
                    outcome,
                });
            }
            Ok(())
        };
        pipeline.run(files, score_ranges, push_rows)?;
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

/// Concatenates the classes of classifiers of features of dimension `dim`. With a scale of 1 its
/// logits are cosines; each classifier multiplies them by its own scale.
fn concatenate(classifiers: &[Classifier], dim: usize) -> Result<Classifier, ClassifierError> {
    if let Some(other) = classifiers
        .iter()
        .find(|classifier| classifier.dim() != dim)
    {
        return Err(ClassifierError::FeatureDimension {
            expected: dim,
            found: other.dim(),
        });
    }
    let names = classifiers
        .iter()
        .flat_map(Classifier::class_names)
        .cloned()
        .collect();
    let weights =
        |side: fn(&Classifier) -> &[f32]| classifiers.iter().flat_map(side).copied().collect();
    let (yes, no) = (
        weights(Classifier::yes_weights),
        weights(Classifier::no_weights),
    );
    Ok(Classifier::new(names, yes, no)?.with_scale(1.0))
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
    fn score(self, row: LogitsRow<'_, f32>, options: &EvaluationOptions) -> ImageScores {
        let in_range = |values: &[f32]| values[self.first..self.first + self.classes].to_vec();
        let Some(scale) = self.scale else {
            return score(row, options);
        };
        let times = |cosine: f32| scale as f32 * cosine;
        let (yes, no): (Vec<f32>, Vec<f32>) = (
            in_range(row.yes).into_iter().map(times).collect(),
            in_range(row.no).into_iter().map(times).collect(),
        );
        score(LogitsRow::new(&yes, &no).with_scale(scale), options)
    }
}

fn score(row: LogitsRow<'_, f32>, options: &EvaluationOptions) -> ImageScores {
    let scores = match options.precision {
        ScorePrecision::F32 => options
            .scores
            .iter()
            .map(|s| f64::from(s.faithful(row)))
            .collect(),
        ScorePrecision::F64 => stable_each(&options.scores, row),
    };
    ImageScores {
        prediction: predict(row),
        scores,
        confidence: f64::from(Msp.faithful(row)),
    }
}
