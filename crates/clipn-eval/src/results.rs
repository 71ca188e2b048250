use std::path::{Path, PathBuf};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{Evaluation, EvaluationError, ImageRow, ScoredSet};
use clipn_data::OodKind;
use clipn_ood::metrics::{FprConvention, RankedScores, accuracy};
use clipn_ood::scores::{Score, by_name};

/// The true-positive rate at which the false-positive rate is told.
const TPR: f64 = 0.95;

/// The name of one of [`clipn_ood::scores`].
type ScoreName = &'static str;

/// One score of every image of a set, a column a score: `[scores][images]`.
pub(super) type Columns = Vec<Vec<f64>>;

/// The in-distribution set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdSummary {
    /// Its name.
    pub name: String,
    /// Images scored.
    pub n: usize,
}

/// One score on one out-of-distribution set. Figures are fractions, not per cent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OodResult {
    /// The score's name.
    #[serde(deserialize_with = "known_score")]
    pub score: ScoreName,
    /// The set's name.
    pub ood: String,
    /// `near` or `far`, where the benchmark says so.
    pub kind: Option<OodKind>,
    /// Area under the ROC curve, in-distribution positive.
    pub auroc: f64,
    /// False-positive rate where 95 % of the in-distribution images are kept, by the convention of the settings.
    pub fpr95: f64,
    /// Average precision, in-distribution positive.
    pub aupr_in: f64,
    /// Average precision, out-of-distribution positive.
    pub aupr_out: f64,
    /// In-distribution images.
    pub n_id: usize,
    /// Out-of-distribution images.
    pub n_ood: usize,
}

/// One score's mean over the out-of-distribution sets.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Average {
    /// The score's name.
    #[serde(deserialize_with = "known_score")]
    pub score: ScoreName,
    /// `near`, `far`, or `None` for all sets.
    pub kind: Option<OodKind>,
    /// Mean AUROC.
    pub auroc: f64,
    /// Mean FPR95.
    pub fpr95: f64,
    /// Mean AUPR, in-distribution positive.
    pub aupr_in: f64,
    /// Mean AUPR, out-of-distribution positive.
    pub aupr_out: f64,
}

/// An image that could not be read and is in no figure.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Skipped {
    /// The set that it belongs to.
    pub set: String,
    /// The file.
    #[serde(serialize_with = "shown_path")]
    pub path: PathBuf,
    /// Why.
    pub error: String,
}

/// What an evaluation comes to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Results {
    /// Share of the in-distribution images whose best "yes" class is their own; `None` where they have no labels.
    #[serde(default)]
    pub accuracy: Option<f64>,
    /// The in-distribution set.
    pub id: IdSummary,
    /// One entry a score and out-of-distribution set, sets in order, scores in order within.
    pub results: Vec<OodResult>,
    /// Means over all sets and, where there are both kinds, over the near and the far ones.
    #[serde(default)]
    pub averages: Vec<Average>,
    /// Images that could not be read.
    #[serde(default)]
    pub skipped: Vec<Skipped>,
}

impl Results {
    /// Computes the metrics of scored images.
    ///
    /// # Errors
    /// A set of which nothing could be read, or scores that are not finite.
    pub fn compute(
        evaluation: &Evaluation,
        convention: FprConvention,
    ) -> Result<Self, EvaluationError> {
        let (id, ood) = (&evaluation.id, &evaluation.ood);
        let columns = |set: &ScoredSet| {
            (0..evaluation.scores.len())
                .map(|i| column(&set.rows, i))
                .collect()
        };
        let ood_columns: Vec<Columns> = ood.iter().map(columns).collect();
        let results = figures(evaluation, &columns(id), &ood_columns, convention)?;
        let skipped = std::iter::once(id).chain(ood).flat_map(|set| {
            let error = |row: &ImageRow| {
                let error = row.outcome.as_ref().err()?.clone();
                Some(Skipped {
                    set: set.name.clone(),
                    path: row.path.clone(),
                    error,
                })
            };
            set.rows.iter().filter_map(error).collect::<Vec<_>>()
        });
        Ok(Self {
            accuracy: id_accuracy(&id.rows),
            id: IdSummary {
                name: id.name.clone(),
                n: id.rows.iter().filter(|r| r.outcome.is_ok()).count(),
            },
            averages: averages(&names(&evaluation.scores), &results),
            results,
            skipped: skipped.collect(),
        })
    }
}

/// The figures of every score on every set, of the columns of the sets.
pub(super) fn figures(
    evaluation: &Evaluation,
    id: &Columns,
    ood: &[Columns],
    convention: FprConvention,
) -> Result<Vec<OodResult>, EvaluationError> {
    let mut results = Vec::new();
    for (set, columns) in evaluation.ood.iter().zip(ood) {
        for (score, (id, ood)) in evaluation.scores.iter().zip(id.iter().zip(columns)) {
            let wrap = |source| EvaluationError::Metric {
                score: score.name(),
                ood: set.name.clone(),
                source,
            };
            let ranked = RankedScores::new(id, ood).map_err(wrap)?;
            results.push(OodResult {
                score: score.name(),
                ood: set.name.clone(),
                kind: set.kind,
                auroc: ranked.auroc(),
                fpr95: ranked.fpr_at_tpr(TPR, convention).map_err(wrap)?,
                aupr_in: ranked.aupr_in(),
                aupr_out: ranked.aupr_out(),
                n_id: ranked.id_len(),
                n_ood: ranked.ood_len(),
            });
        }
    }
    Ok(results)
}

/// The names of scores.
pub(super) fn names(scores: &[&'static dyn Score]) -> Vec<ScoreName> {
    scores.iter().map(|score| score.name()).collect()
}

/// One score of every image that has been read.
fn column(rows: &[ImageRow], index: usize) -> Vec<f64> {
    rows.iter()
        .filter_map(|row| row.outcome.as_ref().ok())
        .map(|scored| scored.scores[index])
        .collect()
}

fn id_accuracy(rows: &[ImageRow]) -> Option<f64> {
    let pairs = rows
        .iter()
        .filter_map(|row| Some((row.outcome.as_ref().ok()?.prediction, row.label?)));
    let (predictions, labels): (Vec<usize>, Vec<usize>) = pairs.unzip();
    accuracy(&predictions, &labels).ok()
}

/// The means of every score over all sets and, where there are both kinds, over the near and the far ones.
pub(super) fn averages(scores: &[ScoreName], results: &[OodResult]) -> Vec<Average> {
    let mut kinds = vec![None];
    let near_and_far = [OodKind::Near, OodKind::Far];
    if near_and_far
        .iter()
        .all(|&kind| results.iter().any(|r| r.kind == Some(kind)))
    {
        kinds.extend(near_and_far.map(Some));
    }
    let mut averages = Vec::new();
    for kind in kinds {
        for &score in scores {
            let of_score = |r: &&OodResult| r.score == score && (kind.is_none() || r.kind == kind);
            let chosen: Vec<&OodResult> = results.iter().filter(of_score).collect();
            let mean = |value: fn(&OodResult) -> f64| {
                chosen.iter().map(|r| value(r)).sum::<f64>() / chosen.len() as f64
            };
            if chosen.is_empty() {
                continue;
            }
            averages.push(Average {
                score,
                kind,
                auroc: mean(|r| r.auroc),
                fpr95: mean(|r| r.fpr95),
                aupr_in: mean(|r| r.aupr_in),
                aupr_out: mean(|r| r.aupr_out),
            });
        }
    }
    averages
}

/// Reads the name of a score, which may be an alias.
pub(super) fn known_score<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<ScoreName, D::Error> {
    let name = String::deserialize(deserializer)?;
    by_name(&name)
        .map(Score::name)
        .map_err(serde::de::Error::custom)
}

/// A path as it is read; one that is no Unicode must not end the run.
fn shown_path<S: Serializer>(path: &Path, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&path.display())
}
