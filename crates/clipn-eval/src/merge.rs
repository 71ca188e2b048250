//! Merging of several runs of one evaluation, such as with different seeds, into their mean and
//! spread.

use std::collections::BTreeMap;
use std::path::Path;

use clipn_base::count::count;
use indexmap::{IndexMap, IndexSet};
use serde_json::{Map, Value};

use clipn_data::SkippedFiles;
use clipn_ood::scores::LOGIT_SCALE;

use crate::error::EvaluationError;
use crate::metric_spread::SpreadSource;
use crate::record::EvaluationRecord;
use crate::results::{
    IdPart, IdResult, IdSummary, OodResult, Results, SkippedImage, averages, mean_of_all,
    mean_range,
};
use crate::spread::{OodSpread, RunSummary, Spread};

/// Settings in which runs of one evaluation may differ. Features in files stand for the weights that they
/// come from; sets are compared by name and number of images, as those of images are.
const VARYING: [&str; 13] = [
    "clipn",
    "pretrained",
    "weights",
    "epoch",
    "seed",
    "logit_scale",
    "text_cosines",
    "device",
    "batch_size",
    "workers",
    "features",
    "text_features",
    "no_features",
];

/// Seed of the groups of the negatives, which may differ too.
const NEGATIVES_SEED: &str = "settings.negatives.origin.grouping.seed";

/// Maximum number of characters of a setting in an error.
const MAX_SETTING_CHARS: usize = 80;

/// Results of one run to be merged.
#[derive(Debug, Clone)]
pub struct EvaluationRun {
    /// File of the results, or another unique name of the run.
    pub path: String,
    /// Results and settings of the run.
    pub record: EvaluationRecord,
}

/// Merges runs. Every metric becomes the mean over the runs, with its sample standard deviation in
/// [`EvaluationRecord::spread`]. Settings that are equal in all runs are kept; the others are listed for each
/// run.
///
/// # Errors
/// [`EvaluationError::TooFewRuns`] for fewer than two runs, [`EvaluationError::AlreadyMerged`] for
/// runs that are already means, and [`EvaluationError::RunsDiffer`] for runs that differ in more
/// than weights, seeds and machine: in sets, numbers of images, scores, conventions, templates,
/// architecture or preprocessing.
pub fn merge(runs: &[EvaluationRun]) -> Result<EvaluationRecord, EvaluationError> {
    let [first, others @ ..] = runs else {
        return Err(EvaluationError::TooFewRuns { n: 0 });
    };
    if others.is_empty() {
        return Err(EvaluationError::TooFewRuns { n: 1 });
    }
    for run in runs {
        if let Some(Spread {
            source: SpreadSource::Runs,
            n,
            ..
        }) = run.record.spread
        {
            return Err(EvaluationError::AlreadyMerged {
                path: run.path.clone(),
                n,
            });
        }
    }
    for other in others {
        same_sets(first, other)?;
    }
    check_comparable(
        &runs
            .iter()
            .map(|run| (run.path.clone(), run.record.settings.clone()))
            .collect::<Vec<_>>(),
    )?;
    let results: Vec<Results> = runs.iter().map(|run| run.record.results.clone()).collect();
    let varying: Vec<&String> = keys(runs)
        .into_iter()
        .filter(|key| !is_common(runs, key))
        .collect();
    let mut spread = Spread::from_repeats(&results, SpreadSource::Runs);
    spread.runs = runs.iter().map(|run| summary(run, &varying)).collect();
    let common = |map: &Map<String, Value>| {
        let kept = map.iter().filter(|(key, _)| !varying.contains(key));
        kept.map(|(key, value)| (key.clone(), value.clone()))
            .collect()
    };
    let settings = settings(&first.record).map_or(Value::Null, |map| Value::Object(common(map)));
    Ok(EvaluationRecord {
        results: mean(&first.record.results, runs, &spread),
        settings,
        spread: Some(spread),
        streams: None,
    })
}

fn settings(record: &EvaluationRecord) -> Option<&Map<String, Value>> {
    record.settings.as_object()
}

fn keys(runs: &[EvaluationRun]) -> IndexSet<&String> {
    runs.iter()
        .filter_map(|run| settings(&run.record))
        .flat_map(Map::keys)
        .collect()
}

fn is_common(runs: &[EvaluationRun], key: &str) -> bool {
    let value = |run: &EvaluationRun| run.record.settings.get(key).cloned();
    runs.windows(2)
        .all(|pair| value(&pair[0]) == value(&pair[1]))
}

fn summary(run: &EvaluationRun, varying: &[&String]) -> RunSummary {
    let of_run = varying.iter().filter_map(|key| {
        let value = run.record.settings.get(key.as_str())?;
        Some(((*key).clone(), value.clone()))
    });
    RunSummary {
        path: run.path.clone(),
        accuracy: run.record.results.accuracy,
        averages: run.record.results.averages.clone(),
        settings: of_run.collect(),
    }
}

/// Returns the means of the metrics in the form of one evaluation's results.
fn mean(first: &Results, runs: &[EvaluationRun], spread: &Spread) -> Results {
    let ties = |index: usize| {
        let of_run = |run: &EvaluationRun| run.record.results.results.get(index)?.fpr95_ties;
        mean_range(runs.iter().map(of_run))
    };
    let result = |(index, (r, s)): (usize, (&OodResult, &OodSpread))| OodResult {
        auroc: s.metrics.auroc.mean,
        fpr95: s.metrics.fpr95.mean,
        fpr95_ties: ties(index),
        coarse: None,
        aupr_in: s.metrics.aupr_in.mean,
        aupr_out: s.metrics.aupr_out.mean,
        aupr_in_trapezoid: s.metrics.aupr_in_trapezoid.map(|v| v.mean),
        aupr_out_trapezoid: s.metrics.aupr_out_trapezoid.map(|v| v.mean),
        aurc: mean_of_all(
            runs.iter()
                .map(|run| run.record.results.results.get(index)?.aurc),
        ),
        fpr: s.metrics.fpr.clone(),
        ..r.clone()
    };
    let results: Vec<OodResult> = first
        .results
        .iter()
        .zip(&spread.results)
        .enumerate()
        .map(result)
        .collect();
    let scores: IndexSet<&'static str> = results.iter().map(|r| r.score).collect();
    // Each image once, with the error of the first run that skipped it.
    let mut skipped: IndexMap<(&str, &Path), &SkippedImage> = IndexMap::new();
    for image in runs.iter().flat_map(|run| &run.record.results.skipped) {
        skipped.entry((&image.set, &image.path)).or_insert(image);
    }
    Results {
        accuracy: spread.accuracy.map(|accuracy| accuracy.mean),
        id: IdSummary {
            parts: id_parts(first, runs),
            ..first.id.clone()
        },
        id_results: id_results(first, runs),
        averages: averages(&scores.into_iter().collect::<Vec<_>>(), &results),
        results,
        skipped: skipped.into_values().cloned().collect(),
        skipped_files: skipped_files(runs),
    }
}

/// Means of the accuracies of the sets that count as in-distribution.
fn id_parts(first: &Results, runs: &[EvaluationRun]) -> Vec<IdPart> {
    let mean = |(index, part): (usize, &IdPart)| IdPart {
        accuracy: mean_of_all(
            runs.iter()
                .map(|run| run.record.results.id.parts.get(index)?.accuracy),
        ),
        ..part.clone()
    };
    first.id.parts.iter().enumerate().map(mean).collect()
}

/// Means of the metrics on the in-distribution images alone; those that not all runs have are left out.
fn id_results(first: &Results, runs: &[EvaluationRun]) -> Vec<IdResult> {
    let mean = |r: &IdResult| {
        let of_run = |run: &EvaluationRun| {
            let results = run.record.results.id_results.iter();
            results
                .filter(|other| other.score == r.score)
                .map(|r| r.aurc)
                .next()
        };
        let aurc = mean_of_all(runs.iter().map(of_run))?;
        Some(IdResult { aurc, ..r.clone() })
    };
    first.id_results.iter().filter_map(mean).collect()
}

/// Files that any run skipped, by set. Files may have been added between the runs: the larger count
/// is kept.
fn skipped_files(runs: &[EvaluationRun]) -> BTreeMap<String, SkippedFiles> {
    let mut all = BTreeMap::<String, SkippedFiles>::new();
    for (set, skipped) in runs
        .iter()
        .flat_map(|run| &run.record.results.skipped_files)
    {
        let kept = all.entry(set.clone()).or_default();
        if skipped.total() > kept.total() {
            *kept = skipped.clone();
        }
    }
    all
}

/// Checks that the settings of runs differ only in weights, seeds and machine. Each run is a name
/// and its settings.
///
/// # Errors
/// [`EvaluationError::RunsDiffer`] for the first difference.
pub fn check_comparable(runs: &[(String, Value)]) -> Result<(), EvaluationError> {
    let [(first_path, first), others @ ..] = runs else {
        return Ok(());
    };
    let differ =
        |(what, first, other): Difference, other_path: &String| EvaluationError::RunsDiffer {
            what,
            first: format!("{first} in {first_path}"),
            other: format!("{other} in {other_path}"),
        };
    others
        .iter()
        .try_for_each(|(path, other)| match different_settings(first, other) {
            Some(difference) => Err(differ(difference, path)),
            None => Ok(()),
        })
}

fn same_sets(a: &EvaluationRun, b: &EvaluationRun) -> Result<(), EvaluationError> {
    let check = |what: &str, describe: &dyn Fn(&Results) -> String| {
        let (first, other) = (describe(&a.record.results), describe(&b.record.results));
        if first == other {
            return Ok(());
        }
        let (first, other) = (
            format!("{first} in {}", a.path),
            format!("{other} in {}", b.path),
        );
        Err(EvaluationError::RunsDiffer {
            what: what.to_owned(),
            first,
            other,
        })
    };
    let listed = |names: Vec<String>| {
        names
            .into_iter()
            .collect::<IndexSet<_>>()
            .into_iter()
            .collect::<Vec<_>>()
            .join(", ")
    };
    check("the in-distribution set", &|r| {
        format!("`{}` of {}", r.id.name, count(r.id.n, "image"))
    })?;
    check("the list of sets that count as in-distribution", &|r| {
        let part = |part: &IdPart| format!("`{}` of {}", part.name, count(part.n, "image"));
        r.id.parts.iter().map(part).collect::<Vec<_>>().join(", ")
    })?;
    check("the list of scores", &|r| {
        listed(r.results.iter().map(|r| r.score.to_owned()).collect())
    })?;
    check("the list of out-of-distribution sets", &|r| {
        let set = |r: &OodResult| {
            let kind = r.kind.map_or(String::new(), |kind| format!("{kind}, "));
            format!("{} ({kind}{})", r.ood, count(r.n_ood, "image"))
        };
        listed(r.results.iter().map(set).collect())
    })?;
    check("the accuracy", &|r| {
        if r.accuracy.is_some() {
            "present"
        } else {
            "absent"
        }
        .to_owned()
    })
}

/// What differs, and its value on either side.
type Difference = (String, String, String);

fn different_settings(a: &Value, b: &Value) -> Option<Difference> {
    let none = Map::new();
    let (left, right) = (
        a.as_object().unwrap_or(&none),
        b.as_object().unwrap_or(&none),
    );
    let mut keys = left
        .keys()
        .chain(right.keys())
        .filter(|key| !VARYING.contains(&key.as_str()));
    let difference =
        keys.find_map(|key| difference(&format!("settings.{key}"), left.get(key), right.get(key)));
    // Models may have learned different scales, but the published scale is another convention.
    let published =
        |map: &Map<String, Value>| map.get("logit_scale")?.as_f64().map(|s| s == LOGIT_SCALE);
    let scale = || {
        let describe = |map: &Map<String, Value>| shown(map.get("logit_scale"));
        (published(left) != published(right)).then(|| {
            (
                "settings.logit_scale".to_owned(),
                describe(left),
                describe(right),
            )
        })
    };
    difference.or_else(scale)
}

/// Returns the first difference of two values.
fn difference(name: &str, a: Option<&Value>, b: Option<&Value>) -> Option<Difference> {
    if a == b || name == NEGATIVES_SEED {
        return None;
    }
    if let (Some(Value::Object(left)), Some(Value::Object(right))) = (a, b) {
        let mut keys = left.keys().chain(right.keys());
        return keys
            .find_map(|key| difference(&format!("{name}.{key}"), left.get(key), right.get(key)));
    }
    let (left, right) = (shown(a), shown(b));
    // Long lists, as of class names, may differ where they are cut.
    if left == right
        && let (Some(Value::Array(left)), Some(Value::Array(right))) = (a, b)
    {
        if left.len() != right.len() {
            let name = format!("the length of {name}");
            return Some((name, left.len().to_string(), right.len().to_string()));
        }
        let mut pairs = left.iter().zip(right).enumerate();
        return pairs.find_map(|(i, (a, b))| difference(&format!("{name}[{i}]"), Some(a), Some(b)));
    }
    Some((name.to_owned(), left, right))
}

fn shown(value: Option<&Value>) -> String {
    let text = value.map_or("absent".to_owned(), Value::to_string);
    let cut: String = text.chars().take(MAX_SETTING_CHARS).collect();
    if cut.len() < text.len() {
        cut + "…"
    } else {
        cut
    }
}
