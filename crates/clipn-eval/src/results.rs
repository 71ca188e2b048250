use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use clipn_data::{OodKind, SkippedFiles};
use clipn_ood::metrics::{CoarseScores, FprConvention, RankedScores, accuracy, aurc};
use clipn_ood::scores::{Score, by_name};

use crate::error::EvaluationError;
use crate::evaluation::{Evaluation, ImageRow, SetScores};
use crate::fpr_figure::{FprFigure, FprSettings, TPR_95, find, is_wide};

/// Name of one of [`clipn_ood::scores`].
type ScoreName = &'static str;

/// Values of every score on a set: `[scores][images]`.
pub(crate) type Columns = Vec<Vec<f64>>;

/// Name and size of the in-distribution set.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct IdSummary {
    /// Name of the set.
    pub name: String,
    /// Number of scored images, with those of sets with a covariate shift.
    pub n: usize,
    /// The set itself and those with a covariate shift, which count as in-distribution; empty without such
    /// sets.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parts: Vec<IdPart>,
}

/// One of the sets that count as in-distribution.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct IdPart {
    /// Name of the set.
    pub name: String,
    /// Number of scored images.
    pub n: usize,
    /// Accuracy on its images; `None` without labels.
    pub accuracy: Option<f64>,
}

/// Metrics of one score on one out-of-distribution set, as fractions rather than per cent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OodResult {
    /// Name of the score.
    #[serde(deserialize_with = "deserialize_score_name")]
    pub score: ScoreName,
    /// Name of the set.
    pub ood: String,
    /// `near` or `far`, if the benchmark defines it.
    pub kind: Option<OodKind>,
    /// Area under the ROC curve, in-distribution positive.
    pub auroc: f64,
    /// False-positive rate at which 95 % of the in-distribution images are kept, by the convention
    /// of the settings.
    pub fpr95: f64,
    /// Lowest and highest FPR95 over every order in which equal scores could be ranked
    /// ([`RankedScores::fpr_range`]). `None` in files of earlier versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fpr95_ties: Option<[f64; 2]>,
    /// Average precision, in-distribution positive.
    pub aupr_in: f64,
    /// Average precision, out-of-distribution positive.
    pub aupr_out: f64,
    /// AUPR by the trapezoidal rule, in-distribution positive, as OpenOOD reports it
    /// ([`RankedScores::aupr_in_trapezoid`]). `None` in files of earlier versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub aupr_in_trapezoid: Option<f64>,
    /// AUPR by the trapezoidal rule, out-of-distribution positive.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub aupr_out_trapezoid: Option<f64>,
    /// Area under the risk-coverage curve over the in-distribution images and the set, whose images are
    /// errors all ([`aurc`]); `None` without labels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub aurc: Option<f64>,
    /// FPR at every true positive rate of the settings, in every convention.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fpr: Vec<FprFigure>,
    /// Number of in-distribution images.
    pub n_id: usize,
    /// Number of out-of-distribution images.
    pub n_ood: usize,
    /// Why ties decide a part of the metrics, if the scores have few distinct values. `None` for
    /// means over runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub coarse: Option<CoarseScores>,
}

/// Mean metrics of one score over the out-of-distribution sets.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Average {
    /// Name of the score.
    #[serde(deserialize_with = "deserialize_score_name")]
    pub score: ScoreName,
    /// `near`, `far`, or `None` for all sets.
    pub kind: Option<OodKind>,
    /// Mean AUROC.
    pub auroc: f64,
    /// Mean FPR95.
    pub fpr95: f64,
    /// Lowest and highest mean FPR95 over every order of equal scores. `None` in files of earlier
    /// versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fpr95_ties: Option<[f64; 2]>,
    /// Mean of the average precision, in-distribution positive.
    pub aupr_in: f64,
    /// Mean of the average precision, out-of-distribution positive.
    pub aupr_out: f64,
    /// Mean AUPR by the trapezoidal rule, in-distribution positive. `None` in files of earlier versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub aupr_in_trapezoid: Option<f64>,
    /// Mean AUPR by the trapezoidal rule, out-of-distribution positive.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub aupr_out_trapezoid: Option<f64>,
    /// Mean AURC; `None` without labels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub aurc: Option<f64>,
    /// Mean FPR at every true positive rate of the settings, in every convention.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fpr: Vec<FprFigure>,
}

/// Metrics of one score on the in-distribution images alone.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct IdResult {
    /// Name of the score.
    #[serde(deserialize_with = "deserialize_score_name")]
    pub score: ScoreName,
    /// Area under the risk-coverage curve ([`aurc`]).
    pub aurc: f64,
}

/// An image that could not be read and is excluded from the metrics.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SkippedImage {
    /// Name of the image's set.
    pub set: String,
    /// Path of the image.
    #[serde(serialize_with = "serialize_path")]
    pub path: PathBuf,
    /// Error message.
    pub error: String,
}

/// Metrics of an evaluation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Results {
    /// Fraction of the in-distribution images whose class with the highest "yes" logit is right;
    /// `None` without labels.
    #[serde(default)]
    pub accuracy: Option<f64>,
    /// In-distribution set.
    pub id: IdSummary,
    /// Metrics of every score on the in-distribution images alone; empty without labels.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub id_results: Vec<IdResult>,
    /// One entry for each score and out-of-distribution set, sorted by set, then by score.
    pub results: Vec<OodResult>,
    /// Means over all sets and, if there are both kinds, over the near and the far ones.
    #[serde(default)]
    pub averages: Vec<Average>,
    /// Images that could not be read.
    #[serde(default)]
    pub skipped: Vec<SkippedImage>,
    /// Files that were skipped because they are no images, by the name of their set.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub skipped_files: BTreeMap<String, SkippedFiles>,
}

impl OodResult {
    /// The range of FPR95 over ties, if it is wide enough to be worth showing: more than 0.05
    /// percentage points.
    pub fn wide_ties(&self) -> Option<[f64; 2]> {
        self.fpr95_ties.filter(is_wide)
    }
}

impl Average {
    /// The range of the mean FPR95 over ties, if it is wide enough to be worth showing: more than
    /// 0.05 percentage points.
    pub fn wide_ties(&self) -> Option<[f64; 2]> {
        self.fpr95_ties.filter(is_wide)
    }
}

impl Results {
    /// Describes the `[lowest, highest]` beside an FPR95 of the table, if there is one, as a phrase
    /// without final stop.
    pub fn ties_description(&self) -> Option<&'static str> {
        let shown = self.results.iter().any(|r| r.wide_ties().is_some())
            || self.averages.iter().any(|a| a.wide_ties().is_some());
        shown.then_some("[lowest, highest FPR95] over every order of equal scores")
    }

    /// Computes the metrics of scored images. A convention of FPR95 is enough as `fpr`.
    ///
    /// # Errors
    /// [`EvaluationError::Metric`] if no image of a set could be read, or a score is not finite.
    pub fn compute(
        evaluation: &Evaluation,
        fpr: impl Into<FprSettings>,
    ) -> Result<Self, EvaluationError> {
        let (id, ood) = (&evaluation.id, &evaluation.ood);
        let columns = |set: &SetScores| {
            (0..evaluation.scores.len())
                .map(|i| column(&set.rows, i))
                .collect()
        };
        let ood_columns: Vec<Columns> = ood.iter().map(columns).collect();
        let id_columns = columns(id);
        let wrong = wrong_predictions(&id.rows);
        let request = MetricRequest {
            fpr: &fpr.into(),
            wrong: wrong.as_deref(),
            is_repeat: false,
        };
        let results = compute_metrics(evaluation, &id_columns, &ood_columns, &request)?;
        let id_results = id_results(evaluation, &id_columns, wrong.as_deref())?;
        let sets = std::iter::once(id).chain(ood).flat_map(SetScores::parts);
        let skipped = sets.flat_map(|(name, rows)| {
            let error = |row: &ImageRow| {
                let error = row.outcome.as_ref().err()?.clone();
                Some(SkippedImage {
                    set: name.to_owned(),
                    path: row.path.clone(),
                    error,
                })
            };
            rows.iter().filter_map(error).collect::<Vec<_>>()
        });
        Ok(Self {
            accuracy: id_accuracy(&id.rows),
            id: IdSummary {
                name: id.name.clone(),
                n: count_read(&id.rows),
                parts: if id.parts.is_empty() {
                    Vec::new()
                } else {
                    id.parts().into_iter().map(id_part).collect()
                },
            },
            id_results,
            averages: averages(&score_names(&evaluation.scores), &results),
            results,
            skipped: skipped.collect(),
            skipped_files: skipped_files(std::iter::once(id).chain(ood)),
        })
    }
}

/// Files without an image by set; sets of one name have theirs together.
fn skipped_files<'a>(sets: impl Iterator<Item = &'a SetScores>) -> BTreeMap<String, SkippedFiles> {
    let mut skipped: BTreeMap<String, SkippedFiles> = BTreeMap::new();
    for set in sets.filter(|set| !set.skipped_files.is_empty()) {
        let of_name = skipped.entry(set.name.clone()).or_default();
        of_name.merge(&set.skipped_files);
    }
    skipped
}

/// What [`compute_metrics`] computes.
pub(crate) struct MetricRequest<'a> {
    pub(crate) fpr: &'a FprSettings,
    /// Whether the prediction of each in-distribution image is wrong, in the order of the columns;
    /// `None` without labels.
    pub(crate) wrong: Option<&'a [bool]>,
    /// Whether the metrics are of a repeat, which does not report ranges over ties, and the FPR only in
    /// the convention of the settings.
    pub(crate) is_repeat: bool,
}

/// Computes the metrics of every score on every set from the columns of the sets.
pub(crate) fn compute_metrics(
    evaluation: &Evaluation,
    id: &Columns,
    ood: &[Columns],
    request: &MetricRequest<'_>,
) -> Result<Vec<OodResult>, EvaluationError> {
    let convention = request.fpr.convention();
    let (conventions, tprs): (&[FprConvention], &[f64]) = if request.is_repeat {
        (&[convention], request.fpr.tprs())
    } else {
        (&FprConvention::ALL, request.fpr.tprs())
    };
    let mut results = Vec::new();
    for (set, columns) in evaluation.ood.iter().zip(ood) {
        for (score, (id, ood)) in evaluation.scores.iter().zip(id.iter().zip(columns)) {
            let wrap = |source| EvaluationError::Metric {
                score: score.name(),
                ood: set.name.clone(),
                source,
            };
            let ranked = RankedScores::new(id, ood).map_err(wrap)?;
            let fpr = FprFigure::compute(&ranked, tprs, conventions, !request.is_repeat);
            let fpr = fpr.map_err(wrap)?;
            let at_95 = find(&fpr, TPR_95, convention);
            let aurc = request.wrong.map(|wrong| aurc(id, wrong, ood));
            results.push(OodResult {
                score: score.name(),
                ood: set.name.clone(),
                kind: set.kind,
                auroc: ranked.auroc(),
                fpr95: at_95.map_or(f64::NAN, |figure| figure.fpr),
                fpr95_ties: at_95
                    .filter(|_| !request.is_repeat)
                    .map(|figure| figure.ties),
                aupr_in: ranked.aupr_in(),
                aupr_out: ranked.aupr_out(),
                aupr_in_trapezoid: Some(ranked.aupr_in_trapezoid()),
                aupr_out_trapezoid: Some(ranked.aupr_out_trapezoid()),
                aurc: aurc.transpose().map_err(wrap)?,
                fpr,
                n_id: ranked.id_len(),
                n_ood: ranked.ood_len(),
                coarse: ranked.coarse(),
            });
        }
    }
    Ok(results)
}

/// Computes the metrics of every score on the in-distribution images alone.
fn id_results(
    evaluation: &Evaluation,
    id: &Columns,
    wrong: Option<&[bool]>,
) -> Result<Vec<IdResult>, EvaluationError> {
    let Some(wrong) = wrong else {
        return Ok(Vec::new());
    };
    let of_score = |(score, column): (&&'static dyn Score, &Vec<f64>)| {
        let wrap = |source| EvaluationError::Metric {
            score: score.name(),
            ood: evaluation.id.name.clone(),
            source,
        };
        Ok(IdResult {
            score: score.name(),
            aurc: aurc(column, wrong, &[]).map_err(wrap)?,
        })
    };
    evaluation.scores.iter().zip(id).map(of_score).collect()
}

/// Returns whether the prediction of each image that was read is wrong; `None` if one has no label.
fn wrong_predictions(rows: &[ImageRow]) -> Option<Vec<bool>> {
    let read = rows.iter().filter_map(|row| {
        let scored = row.outcome.as_ref().ok()?;
        Some(row.label.map(|label| label != scored.prediction))
    });
    read.collect()
}

fn count_read(rows: &[ImageRow]) -> usize {
    rows.iter().filter(|row| row.outcome.is_ok()).count()
}

fn id_part((name, rows): (&str, &[ImageRow])) -> IdPart {
    IdPart {
        name: name.to_owned(),
        n: count_read(rows),
        accuracy: id_accuracy(rows),
    }
}

/// Returns the names of scores.
pub(crate) fn score_names(scores: &[&'static dyn Score]) -> Vec<ScoreName> {
    scores.iter().map(|score| score.name()).collect()
}

/// Returns one score of every image that was read.
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

/// Computes the means of every score over all sets and, if there are both kinds, over the near and
/// the far ones.
pub(crate) fn averages(scores: &[ScoreName], results: &[OodResult]) -> Vec<Average> {
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
            let optional_mean =
                |value: fn(&OodResult) -> Option<f64>| mean_of_all(chosen.iter().map(|r| value(r)));
            if chosen.is_empty() {
                continue;
            }
            averages.push(Average {
                score,
                kind,
                auroc: mean(|r| r.auroc),
                fpr95: mean(|r| r.fpr95),
                fpr95_ties: mean_range(chosen.iter().map(|r| r.fpr95_ties)),
                aupr_in: mean(|r| r.aupr_in),
                aupr_out: mean(|r| r.aupr_out),
                aupr_in_trapezoid: optional_mean(|r| r.aupr_in_trapezoid),
                aupr_out_trapezoid: optional_mean(|r| r.aupr_out_trapezoid),
                aurc: optional_mean(|r| r.aurc),
                fpr: FprFigure::means(&chosen.iter().map(|r| &r.fpr[..]).collect::<Vec<_>>()),
            });
        }
    }
    averages
}

/// Mean of values; `None` if one is missing.
pub(crate) fn mean_of_all(values: impl ExactSizeIterator<Item = Option<f64>>) -> Option<f64> {
    let n = values.len() as f64;
    Some(values.sum::<Option<f64>>()? / n)
}

/// Means of the ends of ranges; `None` if one has no range. Orders of equal scores are independent, so
/// the mean of the lowest values is the lowest mean.
pub(crate) fn mean_range(
    ranges: impl ExactSizeIterator<Item = Option<[f64; 2]>>,
) -> Option<[f64; 2]> {
    let n = ranges.len() as f64;
    let mut sums = [0.0; 2];
    for range in ranges {
        let [low, high] = range?;
        sums = [sums[0] + low, sums[1] + high];
    }
    Some(sums.map(|sum| sum / n))
}

/// Deserializes the name of a score, which may be an alias.
pub(crate) fn deserialize_score_name<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<ScoreName, D::Error> {
    let name = String::deserialize(deserializer)?;
    by_name(&name)
        .map(Score::name)
        .map_err(serde::de::Error::custom)
}

/// Serializes a path as displayed; one that is not Unicode must not end the run.
fn serialize_path<S: Serializer>(path: &Path, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&path.display())
}
