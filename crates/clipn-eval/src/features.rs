//! Evaluation of features that were computed elsewhere.

use std::path::PathBuf;

use clipn_base::progress::Progress;
use clipn_data::{OodKind, SkippedFiles};
use clipn_detect::classifier::Classifier;
use clipn_detect::inference::{map_features, unit_features};
use clipn_ood::scores::Score;

use crate::error::EvaluationError;
use crate::evaluation::{Evaluation, EvaluationOptions, ImageRow, ScorePrecision, SetScores};
use crate::evaluator::score;

/// Rows that are scored between two reports of progress.
const BLOCK: usize = 4096;

/// Features of the images of a set.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct FeatureSet {
    /// Name of the set.
    pub name: String,
    /// `near` or `far`; `None` for the in-distribution set, and if it is not known.
    pub kind: Option<OodKind>,
    /// Features, `[N, D]`, normalized or not.
    pub features: Vec<f32>,
    /// Name of each image.
    pub keys: Vec<String>,
    /// Index of the class of each image; empty if the classes are not known.
    pub labels: Vec<Option<usize>>,
}

impl FeatureSet {
    /// Creates a set from features `[N, D]` and N names of images.
    pub fn new(name: impl Into<String>, features: Vec<f32>, keys: Vec<String>) -> Self {
        Self {
            name: name.into(),
            kind: None,
            features,
            keys,
            labels: Vec::new(),
        }
    }

    /// Checks the numbers of names and labels.
    fn check_lengths(&self, dim: usize) -> Result<(), EvaluationError> {
        let rows = self.features.len() / dim.max(1);
        let lengths = [("names", self.keys.len()), ("labels", self.labels.len())];
        for (what, found) in lengths {
            if found != rows && !(what == "labels" && found == 0) {
                return Err(EvaluationError::FeatureSetLength {
                    set: self.name.clone(),
                    what,
                    expected: rows,
                    found,
                });
            }
        }
        Ok(())
    }

    /// Sets the index of the class of each image.
    #[must_use]
    pub fn with_labels(self, labels: Vec<Option<usize>>) -> Self {
        Self { labels, ..self }
    }
}

/// Scores an in-distribution set and any number of out-of-distribution sets of features. Equal to
/// [`Evaluator::evaluate`](crate::Evaluator::evaluate) on the images that the features were computed
/// from. Of the options, the parallelism is not used.
///
/// ```
/// use clipn_base::progress::NoProgress;
/// use clipn_detect::classifier::Classifier;
/// use clipn_eval::{EvaluationOptions, FeatureSet, Results, evaluate_features};
/// use clipn_ood::metrics::FprConvention;
///
/// let names = ["cat", "dog"].map(String::from).into();
/// let classifier = Classifier::new(names, vec![1.0, 0.0, 0.0, 1.0], None)?;
/// let set = |name: &str, features: Vec<f32>| {
///     let keys = (0..features.len() / 2).map(|i| format!("{name} {i}")).collect();
///     FeatureSet::new(name, features, keys)
/// };
/// let id = set("pets", vec![1.0, 0.1, 0.2, 1.0]).with_labels(vec![Some(0), Some(1)]);
/// let ood = [set("noise", vec![-0.5, -0.5])];
/// let evaluation =
///     evaluate_features(&classifier, &id, &ood, &EvaluationOptions::default(), &NoProgress)?;
/// let results = Results::compute(&evaluation, FprConvention::default())?;
/// assert_eq!(results.accuracy, Some(1.0));
/// # Ok::<(), clipn_eval::EvaluationError>(())
/// ```
///
/// # Errors
/// [`EvaluationError::Score`] for a score that the classifier does not allow,
/// [`EvaluationError::LabelOutOfRange`], [`EvaluationError::FeatureSetLength`], [`EvaluationError::Classifier`] for features of another
/// dimension, [`EvaluationError::Item`] for a row without a direction, [`EvaluationError::NoFeatures`]
/// for an empty set, and [`EvaluationError::Interrupted`].
pub fn evaluate_features(
    classifier: &Classifier,
    id: &FeatureSet,
    ood: &[FeatureSet],
    options: &EvaluationOptions,
    progress: &dyn Progress,
) -> Result<Evaluation, EvaluationError> {
    let inputs = classifier.score_inputs();
    let scores = options.scores.clone().unwrap_or_else(|| inputs.available());
    for score in &scores {
        inputs.check(*score)?;
    }
    for set in std::iter::once(id).chain(ood) {
        set.check_lengths(classifier.dim())?;
    }
    let out_of_range =
        id.labels.iter().enumerate().find_map(|(row, label)| {
            Some((row, label.filter(|&label| label >= classifier.len())?))
        });
    if let Some((row, label)) = out_of_range {
        return Err(EvaluationError::LabelOutOfRange {
            path: id.path(row),
            label,
            classes: classifier.len(),
        });
    }
    let total = id.keys.len() + ood.iter().map(|set| set.keys.len()).sum::<usize>();
    progress.begin("scoring features", total as u64);
    let mut work = Scoring {
        classifier,
        scores: &scores,
        precision: options.precision,
        keeps_features: options.features,
        progress,
        done: 0,
        total,
    };
    let scored_id = work.set(id)?;
    let scored_ood = ood
        .iter()
        .map(|set| work.set(set))
        .collect::<Result<_, _>>()?;
    progress.end();
    Ok(Evaluation {
        class_names: classifier.class_names().to_vec(),
        scores,
        id: scored_id,
        ood: scored_ood,
    })
}

impl FeatureSet {
    fn path(&self, row: usize) -> PathBuf {
        let key = self.keys.get(row).cloned();
        key.unwrap_or_else(|| format!("{}[{row}]", self.name))
            .into()
    }
}

/// State of one evaluation.
struct Scoring<'a> {
    classifier: &'a Classifier,
    scores: &'a [&'static dyn Score],
    precision: ScorePrecision,
    keeps_features: bool,
    progress: &'a dyn Progress,
    done: usize,
    total: usize,
}

impl Scoring<'_> {
    fn set(&mut self, set: &FeatureSet) -> Result<SetScores, EvaluationError> {
        if set.features.is_empty() {
            return Err(EvaluationError::NoFeatures {
                set: set.name.clone(),
            });
        }
        let mut rows = Vec::with_capacity(set.keys.len());
        for block in set.features.chunks(BLOCK * self.classifier.dim()) {
            if self.progress.is_cancelled() {
                return Err(EvaluationError::Interrupted {
                    done: self.done,
                    total: self.total,
                });
            }
            let scored = map_features(self.classifier, block, |_, row| {
                row.map(|row| score(row, self.scores, self.precision))
            })?;
            self.done += scored.len();
            self.progress.advance(scored.len() as u64);
            let features = self
                .keeps_features
                .then(|| unit_features(block.to_vec(), self.classifier.dim()));
            for (index, outcome) in scored.into_iter().enumerate() {
                let row = rows.len();
                let path = set.path(row);
                let mut scores = outcome.map_err(|source| EvaluationError::Item {
                    path: path.clone(),
                    source,
                })?;
                if let Some(features) = &features {
                    let dim = features.dim();
                    scores.feature = features.values()[index * dim..][..dim].to_vec();
                }
                rows.push(ImageRow {
                    path,
                    label: set.labels.get(row).copied().flatten(),
                    outcome: Ok(scores),
                });
            }
        }
        Ok(SetScores {
            name: set.name.clone(),
            kind: set.kind,
            rows,
            skipped_files: SkippedFiles::default(),
            parts: Vec::new(),
        })
    }
}
