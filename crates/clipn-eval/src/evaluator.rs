//! Scoring of the images of a benchmark.

use std::fmt;

use clipn_base::error::chain_in_one_line;
use clipn_base::progress::{NoProgress, Progress};
use clipn_data::{ImageSet, NamedImage, OodKind, OodSet, SkippedFiles};
use clipn_detect::classifier::{Classifier, ClassifierError};
use clipn_detect::inference::{
    FeatureCache, ImageRows, InferenceError, InferencePipeline, ItemError,
};
use clipn_image::Preprocessing;
use clipn_model::ImageTower;
use clipn_ood::scores::{LogitsRow, Msp, Score, predict, stable_each};

use crate::error::EvaluationError;
use crate::evaluation::{
    Evaluation, EvaluationOptions, ImageRow, ImageScores, ScorePrecision, SetPart, SetScores,
};
use crate::peers::{EvaluationPeers, exchange, is_own};

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
    shifted: &'a [ImageSet],
    ood: &'a [OodSet],
    options: EvaluationOptions,
    progress: &'a dyn Progress,
    peers: Option<&'a dyn EvaluationPeers>,
    cache: Option<&'a FeatureCache>,
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
            shifted: &[],
            ood,
            options: EvaluationOptions::default(),
            progress: &NoProgress,
            peers: None,
            cache: None,
        }
    }

    /// Sets further in-distribution sets, of the same classes with a covariate shift. Their images count as
    /// in-distribution, as in OpenOOD's full spectrum.
    #[must_use]
    pub fn with_shifted(mut self, shifted: &'a [ImageSet]) -> Self {
        self.shifted = shifted;
        self
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

    /// Shares the work with other processes, which all evaluate the same sets: every process
    /// scores a part of the images, and returns the scores of all.
    #[must_use]
    pub fn with_peers(mut self, peers: &'a dyn EvaluationPeers) -> Self {
        self.peers = Some(peers);
        self
    }

    /// Sets a cache of the image tower's features, with its preprocessing.
    #[must_use]
    pub fn with_feature_cache(mut self, cache: impl Into<Option<&'a FeatureCache>>) -> Self {
        self.cache = cache.into();
        self
    }

    /// Scores the sets with one classifier, the first of the pipeline. The parallelism and the observer are those of
    /// the evaluator, not of the pipeline, and so is the cache, if the evaluator has one.
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
        let evaluations = self.run(pipeline)?;
        evaluations
            .into_iter()
            .next()
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
        self.run(&InferencePipeline::with_classifiers(
            tower,
            classifiers,
            preprocessing,
        )?)
    }

    /// Scores all sets; returns one evaluation per classifier.
    fn run(&self, pipeline: &InferencePipeline<'_>) -> Result<Vec<Evaluation>, EvaluationError> {
        let classifiers = pipeline.classifiers();
        let classes = classifiers.iter().map(Classifier::len).min();
        self.check_labels(classes.unwrap_or_default())?;
        let scores = classifiers
            .iter()
            .map(|classifier| self.scores_of(classifier, pipeline.score_inputs().has_local))
            .collect::<Result<Vec<_>, _>>()?;
        let uses_local = scores.iter().flatten().any(|score| score.uses_local());
        let pipeline = pipeline
            .with_local(uses_local)
            .map_err(InferenceError::from)?
            .with_parallelism(self.options.parallelism)
            .with_progress(self.progress);
        let pipeline = match self.cache {
            Some(cache) => pipeline.with_cache(cache),
            None => pipeline,
        };
        let total = self.sets().map(|(set, _)| set.len()).sum();
        self.progress.begin("scoring images", total as u64);
        let mut scored: Vec<Vec<SetScores>> = classifiers.iter().map(|_| Vec::new()).collect();
        let mut done = 0;
        for (set, kind) in self.sets() {
            let rows = self.score_set(&pipeline, &scores, set);
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
                    skipped_files: set.skipped.clone(),
                    parts: Vec::new(),
                });
            }
        }
        self.progress.end();
        let mut scores = scores.into_iter();
        let evaluation = |(index, mut sets): (usize, Vec<SetScores>)| {
            let ood = sets.split_off(1 + self.shifted.len());
            Evaluation {
                class_names: classifiers[index].class_names().to_vec(),
                scores: scores.next().unwrap_or_default(),
                id: joined(sets),
                ood,
            }
        };
        Ok(scored.into_iter().enumerate().map(evaluation).collect())
    }

    /// Returns the scores of a classifier: those of the options, or all that it allows.
    fn scores_of(
        &self,
        classifier: &Classifier,
        has_local: bool,
    ) -> Result<Vec<&'static dyn Score>, EvaluationError> {
        let inputs = classifier.score_inputs().with_local(has_local);
        let Some(scores) = &self.options.scores else {
            return Ok(inputs.available());
        };
        for score in scores {
            inputs.check(*score)?;
        }
        Ok(scores.clone())
    }

    /// Returns all sets: in-distribution first, then those with a covariate shift.
    fn sets(&self) -> impl Iterator<Item = (&'a ImageSet, Option<OodKind>)> {
        let ood = self.ood.iter().map(|ood| (&ood.set, ood.kind));
        let shifted = self.shifted.iter().map(|set| (set, None));
        std::iter::once((self.id, None)).chain(shifted).chain(ood)
    }

    /// Checks every label of the in-distribution sets against the number of classes.
    fn check_labels(&self, classes: usize) -> Result<(), EvaluationError> {
        let out_of_range = std::iter::once(self.id)
            .chain(self.shifted)
            .flat_map(|set| &set.samples)
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

    /// Scores a set; returns its rows for every classifier.
    fn score_set(
        &self,
        pipeline: &InferencePipeline<'_>,
        scores: &[Vec<&'static dyn Score>],
        set: &ImageSet,
    ) -> Result<Vec<Vec<ImageRow>>, EvaluationError> {
        let mut rows: Vec<Vec<ImageRow>> = pipeline
            .classifiers()
            .iter()
            .map(|_| Vec::with_capacity(set.len()))
            .collect();
        let score_each = |_: &NamedImage, rows: Result<ImageRows<'_>, ItemError>| {
            let score_each = |rows: ImageRows<'_>| -> Vec<ImageScores> {
                let kept = if self.options.features {
                    rows.feature
                } else {
                    &[]
                };
                let each = rows.logits.iter().zip(scores);
                each.map(|(&row, scores)| ImageScores {
                    feature: kept.to_vec(),
                    ..score(row, scores, self.options.precision)
                })
                .collect()
            };
            rows.map(score_each)
        };
        let is_own = |index: usize| is_own(self.peers, index);
        let own = || {
            set.samples
                .iter()
                .enumerate()
                .filter(|(index, _)| is_own(*index))
        };
        let mut samples = own().map(|(_, sample)| sample);
        let mut outcomes = Vec::new();
        let push = |outcome: Result<Vec<ImageScores>, ItemError>| {
            let path = samples.next().map(|sample| sample.path.clone());
            match outcome {
                Err(error) if self.options.strict => {
                    return Err(EvaluationError::from_item(error, path.unwrap_or_default()));
                }
                outcome => outcomes.push(outcome.map_err(|error| chain_in_one_line(&error))),
            }
            Ok(())
        };
        let images = set.images().enumerate().filter(|(index, _)| is_own(*index));
        let images = images.map(|(_, image)| image);
        let scored = pipeline.run_each(images, score_each, push);
        let outcomes = match self.peers {
            None => scored.map(|()| outcomes)?,
            Some(peers) => exchange(peers, scored.map(|()| outcomes))?,
        };
        for (sample, outcome) in set.samples.iter().zip(outcomes) {
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
        }
        check_readable(set, rows.first().map_or(&[], Vec::as_slice))?;
        Ok(rows)
    }
}

/// Joins the in-distribution set and those with a covariate shift.
fn joined(sets: Vec<SetScores>) -> SetScores {
    let part = |set: &SetScores| SetPart {
        name: set.name.clone(),
        rows: set.rows.len(),
    };
    let parts: Vec<SetPart> = sets.iter().map(part).collect();
    let mut sets = sets.into_iter();
    let mut joined = sets.next().unwrap_or_else(|| SetScores {
        name: String::new(),
        kind: None,
        rows: Vec::new(),
        skipped_files: SkippedFiles::default(),
        parts: Vec::new(),
    });
    if parts.len() > 1 {
        joined.parts = parts;
    }
    for set in sets {
        joined.rows.extend(set.rows);
        joined.skipped_files.merge(&set.skipped_files);
    }
    joined
}

/// Checks that at least one image of a set could be read.
fn check_readable(set: &ImageSet, rows: &[ImageRow]) -> Result<(), EvaluationError> {
    let first = rows.first().and_then(|row| row.outcome.as_ref().err());
    match first {
        Some(first) if rows.iter().all(|row| row.outcome.is_err()) => {
            Err(EvaluationError::NoReadableImages {
                set: set.name.clone(),
                count: rows.len(),
                first: first.clone(),
            })
        }
        _ => Ok(()),
    }
}

/// Computes prediction and scores of an image from its logits.
pub(crate) fn score(
    row: LogitsRow<'_, f32>,
    scores: &[&'static dyn Score],
    precision: ScorePrecision,
) -> ImageScores {
    let scores = match precision {
        ScorePrecision::F32 => scores.iter().map(|s| f64::from(s.faithful(row))).collect(),
        ScorePrecision::F64 => stable_each(scores, row),
    };
    ImageScores {
        prediction: predict(row),
        scores,
        confidence: f64::from(Msp.faithful(row)),
        feature: Vec::new(),
    }
}
