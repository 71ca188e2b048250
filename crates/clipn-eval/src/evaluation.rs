//! Scores of the images of a benchmark.

use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use clipn_data::{OodKind, SkippedFiles};
use clipn_detect::inference::Parallelism;
use clipn_ood::scores::Score;

/// Floating-point precision of the scores.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum ScorePrecision {
    /// f32 as published; probabilities saturate at 1 and tie.
    #[default]
    F32,
    /// f64 in log space, which orders values that tie in f32; probabilities become their
    /// logarithms.
    F64,
}

impl ScorePrecision {
    /// Returns the name, `f32` or `f64`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::F64 => "f64",
        }
    }
}

impl fmt::Display for ScorePrecision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Options of an evaluation.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct EvaluationOptions {
    /// Scores to compute, in the order of the results; `None` for all standard scores that the
    /// classifier allows ([`ScoreInputs::available`](clipn_ood::scores::ScoreInputs::available)).
    pub scores: Option<Vec<&'static dyn Score>>,
    /// Precision of the scores.
    pub precision: ScorePrecision,
    /// Distribution of the work over threads.
    pub parallelism: Parallelism,
    /// Whether an unreadable image ends the run instead of being skipped and reported.
    pub strict: bool,
    /// Whether the feature of each image is kept ([`ImageScores::feature`]).
    pub features: bool,
}

impl EvaluationOptions {
    /// Sets the scores to compute, in the order of the results.
    #[must_use]
    pub fn with_scores(mut self, scores: impl Into<Vec<&'static dyn Score>>) -> Self {
        self.scores = Some(scores.into());
        self
    }

    /// Sets the precision of the scores.
    #[must_use]
    pub fn with_precision(mut self, precision: ScorePrecision) -> Self {
        self.precision = precision;
        self
    }

    /// Sets the distribution of the work over threads.
    #[must_use]
    pub fn with_parallelism(mut self, parallelism: Parallelism) -> Self {
        self.parallelism = parallelism;
        self
    }

    /// Sets whether an unreadable image ends the run instead of being skipped and reported.
    #[must_use]
    pub fn with_strict(mut self, strict: bool) -> Self {
        self.strict = strict;
        self
    }

    /// Sets whether the feature of each image is kept, 4 bytes a dimension.
    #[must_use]
    pub fn with_features(mut self, features: bool) -> Self {
        self.features = features;
        self
    }
}

/// Prediction and scores of an image.
#[derive(Debug, Clone, PartialEq)]
pub struct ImageScores {
    /// Index of the class with the highest "yes" logit.
    pub prediction: usize,
    /// One value per score of the options.
    pub scores: Vec<f64>,
    /// Maximum softmax probability over the "yes" logits, p(max).
    pub confidence: f64,
    /// Normalized feature of the image, `[D]`; empty unless features are kept
    /// ([`EvaluationOptions::features`]).
    pub feature: Vec<f32>,
}

/// Result of one image.
#[derive(Debug, Clone, PartialEq)]
pub struct ImageRow {
    /// Path of the image.
    pub path: PathBuf,
    /// Index of the true class, if known.
    pub label: Option<usize>,
    /// Prediction and scores, or the error message of an unreadable image.
    pub outcome: Result<ImageScores, String>,
}

/// Results of one image set.
#[derive(Debug, Clone, PartialEq)]
pub struct SetScores {
    /// Name of the set.
    pub name: String,
    /// `near` or `far`; `None` for the in-distribution set, and if the benchmark does not define
    /// it.
    pub kind: Option<OodKind>,
    /// One row per image, in the order of the set.
    pub rows: Vec<ImageRow>,
    /// Files of the set that were skipped because they are no images.
    pub skipped_files: SkippedFiles,
    /// Sets that follow each other in the rows: the in-distribution set and those with a covariate shift.
    /// Empty if there is one set.
    pub parts: Vec<SetPart>,
}

/// One of several sets that are evaluated as one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SetPart {
    /// Name of the set.
    pub name: String,
    /// Number of its rows.
    pub rows: usize,
}

impl SetScores {
    /// Returns the rows of every part with its name, or all rows with the name of the set.
    pub fn parts(&self) -> Vec<(&str, &[ImageRow])> {
        if self.parts.is_empty() {
            return vec![(&self.name, &self.rows)];
        }
        let mut rest = &self.rows[..];
        let mut parts = Vec::with_capacity(self.parts.len());
        for part in &self.parts {
            let (rows, others) = rest.split_at(part.rows.min(rest.len()));
            parts.push((part.name.as_str(), rows));
            rest = others;
        }
        parts
    }
}

/// Scores of every image of a benchmark.
#[derive(Debug, Clone, PartialEq)]
pub struct Evaluation {
    /// Class names.
    pub class_names: Vec<String>,
    /// Computed scores.
    pub scores: Vec<&'static dyn Score>,
    /// In-distribution set.
    pub id: SetScores,
    /// Out-of-distribution sets.
    pub ood: Vec<SetScores>,
}

impl Evaluation {
    /// Returns the scores that are not finite for an image, which have no metrics, with their first such image.
    pub fn not_finite(&self) -> Vec<NotFiniteScore> {
        let first = |(index, &score): (usize, &&'static dyn Score)| {
            let of_set = |set: &SetScores| {
                set.rows.iter().find_map(|row| {
                    let value = *row.outcome.as_ref().ok()?.scores.get(index)?;
                    (!value.is_finite()).then(|| NotFiniteScore {
                        score,
                        set: set.name.clone(),
                        path: row.path.clone(),
                        value,
                    })
                })
            };
            std::iter::once(&self.id).chain(&self.ood).find_map(of_set)
        };
        self.scores.iter().enumerate().filter_map(first).collect()
    }

    /// Removes scores from the evaluation and from all images.
    pub fn remove_scores(&mut self, removed: &[&'static dyn Score]) {
        let kept: Vec<bool> = self
            .scores
            .iter()
            .map(|score| !removed.contains(score))
            .collect();
        let mut of_scores = kept.iter();
        self.scores.retain(|_| of_scores.next() == Some(&true));
        for row in std::iter::once(&mut self.id)
            .chain(&mut self.ood)
            .flat_map(|set| &mut set.rows)
        {
            if let Ok(image) = &mut row.outcome {
                let mut of_scores = kept.iter();
                image.scores.retain(|_| of_scores.next() == Some(&true));
            }
        }
    }
}

/// A score that is not finite for an image.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct NotFiniteScore {
    /// The score.
    pub score: &'static dyn Score,
    /// Name of the image's set.
    pub set: String,
    /// Path of the image.
    pub path: PathBuf,
    /// The value.
    pub value: f64,
}

impl fmt::Display for NotFiniteScore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, path) = (self.score.name(), self.path.display());
        write!(f, "{name}: it is {} for {path} of {}", self.value, self.set)
    }
}
