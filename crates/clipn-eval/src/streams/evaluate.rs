use std::path::Path;
use std::time::{Duration, Instant};

use clipn_base::progress::{NoProgress, Progress};
use clipn_base::random::Xoshiro256;
use clipn_detect::adaptation::{AdaptiveMethod, AdaptiveScorer};
use clipn_ood::metrics::RankedScores;

use super::order::{StreamImage, shuffled};
use super::{StreamMetrics, StreamResult, StreamSettings};
use crate::error::EvaluationError;
use crate::evaluation::{Evaluation, ImageRow, SetScores};
use crate::fpr_figure::FprSettings;
use crate::output::write;

/// Evaluates scores that learn from the stream, on the features of an evaluation
/// ([`EvaluationOptions::with_features`](crate::EvaluationOptions::with_features)).
#[derive(Clone)]
pub struct StreamEvaluator<'a> {
    evaluation: &'a Evaluation,
    settings: StreamSettings,
    fpr: FprSettings,
    progress: &'a dyn Progress,
}

impl std::fmt::Debug for StreamEvaluator<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StreamEvaluator")
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

/// Results of one method, and what they took.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct StreamRun {
    /// One entry for each set and mixture.
    pub results: Vec<StreamResult>,
    /// Every image of every stream, in the order of the streams.
    pub rows: Vec<StreamRow>,
    /// Time of scoring all streams, without metrics.
    pub time: Duration,
}

/// An image of a stream.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct StreamRow {
    /// Method.
    pub method: AdaptiveMethod,
    /// Index of the out-of-distribution set of the stream.
    pub set: usize,
    /// The requested part of the stream that is out-of-distribution.
    pub ood_share: Option<f64>,
    /// Number of the order, from 0.
    pub order: usize,
    /// Whether the image is of the in-distribution set.
    pub is_id: bool,
    /// Index of the image in its set.
    pub image: usize,
    /// Predicted class.
    pub prediction: usize,
    /// Score.
    pub score: f64,
    /// Score without memory.
    pub fixed: f64,
    /// Threshold of the image's batch, from which on it is known.
    pub threshold: f64,
}

/// The images of a set that could be read: index and feature.
struct Images<'a> {
    rows: Vec<(usize, &'a [f32])>,
}

impl<'a> Images<'a> {
    fn new(set: &'a SetScores) -> Result<Self, EvaluationError> {
        let read = |(index, row): (usize, &'a ImageRow)| {
            let scored = row.outcome.as_ref().ok()?;
            Some((index, &scored.feature[..]))
        };
        let rows: Vec<_> = set.rows.iter().enumerate().filter_map(read).collect();
        if rows.iter().any(|(_, feature)| feature.is_empty()) {
            return Err(EvaluationError::NoFeatures {
                set: set.name.clone(),
            });
        }
        Ok(Self { rows })
    }
}

impl<'a> StreamEvaluator<'a> {
    /// Creates an evaluator of the images of an evaluation.
    pub fn new(evaluation: &'a Evaluation, settings: StreamSettings) -> Self {
        // Settings from a file may have zeros.
        let (batch, orders) = (settings.batch, settings.orders);
        Self {
            evaluation,
            settings: settings.with_batch(batch).with_orders(orders),
            fpr: FprSettings::default(),
            progress: &NoProgress,
        }
    }

    /// Sets the convention of FPR95.
    #[must_use]
    pub fn with_fpr(self, fpr: impl Into<FprSettings>) -> Self {
        Self {
            fpr: fpr.into(),
            ..self
        }
    }

    /// Sets the observer, which can also cancel the evaluation.
    #[must_use]
    pub fn with_progress(self, progress: &'a dyn Progress) -> Self {
        Self { progress, ..self }
    }

    /// Scores the streams of all sets with one method, whose memory is cleared before each stream and at
    /// the end.
    ///
    /// # Errors
    /// [`EvaluationError::NoFeatures`] if the evaluation did not keep the features,
    /// [`EvaluationError::Adaptation`] for features of another model, [`EvaluationError::StreamMetric`]
    /// for scores that are not finite, and [`EvaluationError::StreamsInterrupted`]. The memory is not cleared then.
    pub fn run(&self, scorer: &mut AdaptiveScorer) -> Result<StreamRun, EvaluationError> {
        let id = Images::new(&self.evaluation.id)?;
        let ood = self.evaluation.ood.iter().map(Images::new);
        let ood: Vec<Images<'_>> = ood.collect::<Result<_, _>>()?;
        let mixtures = self.settings.mixtures();
        let mut run = StreamRun {
            results: Vec::new(),
            rows: Vec::new(),
            time: Duration::ZERO,
        };
        let streams = ood.len() * mixtures.len() * self.settings.orders;
        self.progress.begin("scoring streams", streams as u64);
        let mut done = 0;
        for (set, images) in ood.iter().enumerate() {
            for ood_share in mixtures.iter().copied() {
                let (mut orders, mut fixed) = (Vec::new(), Vec::new());
                let mut counts = (0, 0);
                for order in 0..self.settings.orders {
                    // One order for all methods.
                    let path = [set as u64, order as u64];
                    let mut random = Xoshiro256::keyed(self.settings.seed, &path);
                    let (n_id, n_ood) = (id.rows.len(), images.rows.len());
                    let stream = shuffled(n_id, n_ood, ood_share, &mut random);
                    let start = run.rows.len();
                    let template = (set, ood_share, order);
                    self.score(scorer, (&id, images), &stream, template, &mut run)
                        .map_err(|error| match error {
                            EvaluationError::Interrupted { .. } => {
                                EvaluationError::StreamsInterrupted {
                                    done,
                                    total: streams,
                                }
                            }
                            other => other,
                        })?;
                    let rows = &run.rows[start..];
                    let known = rows.iter().filter(|row| row.is_id).count();
                    counts = (known, rows.len() - known);
                    orders.push(self.metrics(rows, set, false)?);
                    fixed.push(self.metrics(rows, set, true)?);
                    done += 1;
                    self.progress.advance(1);
                }
                let out = &self.evaluation.ood[set];
                run.results.push(StreamResult {
                    method: scorer.method(),
                    ood: out.name.clone(),
                    kind: out.kind,
                    ood_share,
                    n_id: counts.0,
                    n_ood: counts.1,
                    mean: StreamMetrics::means(&orders),
                    std: StreamMetrics::deviations(&orders),
                    fixed: StreamMetrics::means(&fixed),
                    orders,
                });
            }
        }
        scorer.reset()?;
        self.progress.end();
        Ok(run)
    }

    /// Scores one stream from an empty memory.
    fn score(
        &self,
        scorer: &mut AdaptiveScorer,
        (id, ood): (&Images<'_>, &Images<'_>),
        stream: &[StreamImage],
        (set, ood_share, order): (usize, Option<f64>, usize),
        run: &mut StreamRun,
    ) -> Result<(), EvaluationError> {
        let begin = Instant::now();
        scorer.reset()?;
        let of = |image: &StreamImage| {
            let images = if image.is_id { id } else { ood };
            images.rows[image.index]
        };
        for batch in stream.chunks(self.settings.batch) {
            if self.progress.is_cancelled() {
                return Err(EvaluationError::Interrupted { done: 0, total: 0 });
            }
            let features: Vec<f32> = batch
                .iter()
                .flat_map(|image| of(image).1)
                .copied()
                .collect();
            let scores = scorer.batch(&features)?;
            let threshold = scorer.threshold();
            for (image, scored) in batch.iter().zip(scores) {
                run.rows.push(StreamRow {
                    method: scorer.method(),
                    set,
                    ood_share,
                    order,
                    is_id: image.is_id,
                    image: of(image).0,
                    prediction: scored.class,
                    score: scored.score,
                    fixed: scored.fixed,
                    threshold,
                });
            }
        }
        run.time += begin.elapsed();
        Ok(())
    }

    /// Metrics of the rows of one stream, or of the score without memory.
    fn metrics(
        &self,
        rows: &[StreamRow],
        set: usize,
        is_fixed: bool,
    ) -> Result<StreamMetrics, EvaluationError> {
        let wrap = |source| EvaluationError::StreamMetric {
            ood: self.evaluation.ood[set].name.clone(),
            source,
        };
        let column = |is_id: bool| -> Vec<f64> {
            let own = rows.iter().filter(|row| row.is_id == is_id);
            own.map(|row| if is_fixed { row.fixed } else { row.score })
                .collect()
        };
        let ranked = RankedScores::new(&column(true), &column(false)).map_err(wrap)?;
        let fraction = |is_id: bool| {
            let own = rows.iter().filter(|row| row.is_id == is_id);
            let passed = own
                .clone()
                .filter(|row| (row.score >= row.threshold) == is_id);
            passed.count() as f64 / own.count() as f64
        };
        Ok(StreamMetrics {
            auroc: ranked.auroc(),
            fpr95: ranked
                .fpr_at_tpr(0.95, self.fpr.convention())
                .map_err(wrap)?,
            aupr_in: ranked.aupr_in(),
            aupr_out: ranked.aupr_out(),
            accuracy: self.accuracy(rows, is_fixed),
            kept: (!is_fixed).then(|| fraction(true)),
            rejected: (!is_fixed).then(|| fraction(false)),
        })
    }

    /// Accuracy of the adapted predictions, or of those of the evaluation; `None` if an image has no label.
    fn accuracy(&self, rows: &[StreamRow], is_fixed: bool) -> Option<f64> {
        let known = rows.iter().filter(|row| row.is_id);
        let (mut right, mut count) = (0.0, 0.0);
        for row in known {
            let image = self.evaluation.id.rows.get(row.image)?;
            let prediction = if is_fixed {
                image.outcome.as_ref().ok()?.prediction
            } else {
                row.prediction
            };
            right += f64::from(u8::from(prediction == image.label?));
            count += 1.0;
        }
        (count > 0.0).then(|| right / count)
    }
}

/// Writes one row per image of every stream, in the order of the streams.
///
/// # Errors
/// [`EvaluationError::Write`] if the file cannot be written.
pub fn write_stream_scores(
    path: impl AsRef<Path>,
    evaluation: &Evaluation,
    rows: &[StreamRow],
) -> Result<(), EvaluationError> {
    let class = |index: usize| evaluation.class_names.get(index).map_or("", String::as_str);
    write(path.as_ref(), |out| {
        let mut csv = csv::Writer::from_writer(out);
        csv.write_record([
            "method",
            "ood",
            "ood_share",
            "order",
            "is_id",
            "path",
            "label",
            "prediction",
            "score",
            "fixed",
            "threshold",
        ])?;
        for row in rows {
            let (Some(ood), id) = (evaluation.ood.get(row.set), &evaluation.id) else {
                continue;
            };
            let images = if row.is_id { id } else { ood };
            let Some(image) = images.rows.get(row.image) else {
                continue;
            };
            csv.write_record([
                row.method.as_str(),
                &ood.name,
                &row.ood_share
                    .map(|share| share.to_string())
                    .unwrap_or_default(),
                &row.order.to_string(),
                if row.is_id { "true" } else { "false" },
                &image.path.display().to_string(),
                image.label.map_or("", class),
                class(row.prediction),
                &row.score.to_string(),
                &row.fixed.to_string(),
                &row.threshold.to_string(),
            ])?;
        }
        csv.flush()
    })
}
