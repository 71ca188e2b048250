//! `results.json`: written after an evaluation, and validated completely when it is read.

use std::collections::HashMap;
use std::hash::Hash;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use clipn_base::content::ContentKind;
use clipn_base::files::read_at_most;
use indexmap::IndexSet;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::error::EvaluationError;
use crate::fpr_figure::FprFigure;
use crate::metric_spread::MetricSpread;
use crate::results::{OodResult, Results, averages};
use crate::spread::{MetricSpreads, Spread, metrics_of_result};
use crate::streams::StreamRecord;

/// Maximum size of the file in bytes; millions of skipped images fit.
const MAX_BYTES: u64 = 1 << 30;

/// Content of `results.json`: results, settings and, for repeats or merged runs, their spread.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EvaluationRecord {
    /// Metrics on all images, or the means over merged runs.
    #[serde(flatten)]
    pub results: Results,
    /// Description of the run, a JSON object.
    #[serde(default)]
    pub settings: Value,
    /// Mean and spread, if the evaluation was repeated or runs were merged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spread: Option<Spread>,
    /// Results of scores that learn from the stream of images, if they were evaluated. A mean over runs has
    /// none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub streams: Option<StreamRecord>,
}

impl EvaluationRecord {
    /// File name in an evaluation's directory.
    pub const FILE_NAME: &'static str = "results.json";

    /// Reads a `results.json`, or the one in a directory. Means over sets are recomputed.
    ///
    /// # Errors
    /// [`EvaluationError::Read`] if the file cannot be read; [`EvaluationError::InvalidResults`] if it
    /// has wrong types, metrics that are not fractions, a missing or duplicate combination of score
    /// and set, or counts of images that do not agree.
    pub fn read(path: impl AsRef<Path>) -> Result<Self, EvaluationError> {
        let path = path.as_ref();
        let file = if path.is_dir() {
            path.join(Self::FILE_NAME)
        } else {
            path.to_owned()
        };
        let invalid = |reason| EvaluationError::InvalidResults {
            path: file.clone(),
            reason,
        };
        let bytes = read_at_most(&file, MAX_BYTES).map_err(|source| match source.kind() {
            ErrorKind::FileTooLarge => {
                let limit = MAX_BYTES >> 20;
                invalid(format!("the file has more than {limit} MiB"))
            }
            _ => EvaluationError::Read {
                path: file.clone(),
                source,
            },
        })?;
        let expected = [ContentKind::Json, ContentKind::Text, ContentKind::Empty];
        match ContentKind::other_than(&bytes, &expected) {
            Some(kind) => Err(invalid(format!("expected JSON, got {kind}"))),
            None => Self::parse(&bytes).map_err(invalid),
        }
    }

    /// Parses the content of a `results.json`; the error describes what is wrong.
    fn parse(bytes: &[u8]) -> Result<Self, String> {
        let record: Self = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
        record.checked()
    }

    fn checked(mut self) -> Result<Self, String> {
        if !(self.settings.is_object() || self.settings.is_null()) {
            return Err("expected an object in `settings`".to_owned());
        }
        let results = &mut self.results;
        check_name("id", &results.id.name)?;
        check_fraction("accuracy", results.accuracy.unwrap_or_default())?;
        for skipped in &mut results.skipped {
            check_name("skipped", &skipped.set)?;
            let plain = |text: &str| text.replace(char::is_control, "\u{fffd}");
            skipped.error = plain(&skipped.error);
            skipped.path = PathBuf::from(plain(&skipped.path.to_string_lossy()));
        }
        for (set, skipped) in &results.skipped_files {
            check_name("skipped_files", set)?;
            for kind in skipped.counts().keys() {
                check_name("skipped_files", kind)?;
            }
        }
        for part in &results.id.parts {
            check_name("id.parts", &part.name)?;
            check_fraction("the accuracy of a part", part.accuracy.unwrap_or_default())?;
        }
        for r in &results.id_results {
            check_fraction(&format!("aurc of {}", r.score), r.aurc)?;
        }
        check_counts(results)?;
        results.results = in_order(std::mem::take(&mut results.results))?;
        let scores: IndexSet<&'static str> = results.results.iter().map(|r| r.score).collect();
        let scores: Vec<&'static str> = scores.into_iter().collect();
        results.averages = averages(&scores, &results.results);
        if let Some(spread) = self.spread.take() {
            self.spread = Some(check_spread(spread, &self.results)?);
        }
        if let Some(streams) = &self.streams {
            streams.check()?;
        }
        Ok(self)
    }
}

/// Names are printed to terminals unchanged, so they must not contain control characters.
fn check_name(what: &str, name: &str) -> Result<(), String> {
    if name.contains(char::is_control) {
        return Err(format!(
            "control character in the name {name:?} in `{what}`"
        ));
    }
    Ok(())
}

fn check_fraction(what: &str, value: f64) -> Result<(), String> {
    if (0.0..=1.0).contains(&value) {
        Ok(())
    } else {
        Err(format!(
            "{what}: expected a fraction from 0 to 1, got {value}"
        ))
    }
}

fn check_range(what: &str, range: Option<[f64; 2]>) -> Result<(), String> {
    match range {
        Some([low, high]) if !(0.0 <= low && low <= high && high <= 1.0) => Err(format!(
            "{what}: expected two ascending fractions from 0 to 1, got {low} and {high}"
        )),
        _ => Ok(()),
    }
}

fn check_counts(results: &Results) -> Result<(), String> {
    if results.results.is_empty() {
        return Err("`results` is empty".to_owned());
    }
    for r in &results.results {
        check_name("results", &r.ood)?;
        let of = format!("of {} on {}", r.score, r.ood);
        let values = metrics_of_result(r);
        for (name, value) in ["auroc", "fpr95", "aupr_in", "aupr_out"]
            .into_iter()
            .zip(values.main)
        {
            check_fraction(&format!("{name} {of}"), value)?;
        }
        for (name, value) in ["aupr_in_trapezoid", "aupr_out_trapezoid", "aurc"]
            .into_iter()
            .zip(values.trapezoid.into_iter().chain([r.aurc]))
        {
            check_fraction(&format!("{name} {of}"), value.unwrap_or_default())?;
        }
        r.fpr
            .iter()
            .try_for_each(|figure| check_figure(&of, figure))?;
        check_range(
            &format!("fpr95_ties of {} on {}", r.score, r.ood),
            r.fpr95_ties,
        )?;
        if r.n_id != results.id.n {
            return Err(format!(
                "{} on {}: expected {} in-distribution images as in `id`, got {}",
                r.score, r.ood, results.id.n, r.n_id
            ));
        }
        if r.n_id == 0 || r.n_ood == 0 {
            return Err(format!("{} on {}: a set has no images", r.score, r.ood));
        }
    }
    Ok(())
}

fn check_figure(of: &str, figure: &FprFigure) -> Result<(), String> {
    check_fraction(&format!("tpr {of}"), figure.tpr)?;
    let what = format!("fpr at {} {of}", figure.tpr);
    check_fraction(&what, figure.fpr)?;
    check_range(&format!("ties of the {what}"), Some(figure.ties))?;
    match &figure.spread {
        Some(spread) => check_spread_values(&what, spread),
        None => Ok(()),
    }
}

/// Sorts the results by set, then by score, both in order of first occurrence, and checks that each
/// set has every score.
fn in_order(results: Vec<OodResult>) -> Result<Vec<OodResult>, String> {
    let sets: IndexSet<String> = results.iter().map(|r| r.ood.clone()).collect();
    let scores: IndexSet<&'static str> = results.iter().map(|r| r.score).collect();
    let mut found: HashMap<(String, &'static str), OodResult> = HashMap::new();
    for result in results {
        let (ood, score) = (result.ood.clone(), result.score);
        if found.insert((ood.clone(), score), result).is_some() {
            return Err(format!("duplicate result of {score} on {ood}"));
        }
    }
    let mut ordered: Vec<OodResult> = Vec::with_capacity(found.len());
    for set in &sets {
        let mut of_set: Option<OodResult> = None;
        for score in &scores {
            let result = found.remove(&(set.clone(), *score));
            let result = result.ok_or_else(|| format!("missing result of {score} on {set}"))?;
            let first = of_set.get_or_insert_with(|| result.clone());
            if (first.kind, first.n_ood) != (result.kind, result.n_ood) {
                return Err(format!(
                    "{} and {score} differ in kind or number of images of {set}",
                    first.score
                ));
            }
            ordered.push(result);
        }
    }
    Ok(ordered)
}

/// Checks that the spread is complete and finite, and sorts it in the order of the results.
fn check_spread(mut spread: Spread, results: &Results) -> Result<Spread, String> {
    if spread.n < 2 {
        return Err(format!(
            "expected at least 2 repeats in `spread`, got {}",
            spread.n
        ));
    }
    if let Some(accuracy) = &spread.accuracy {
        check_spread_values("the accuracy", accuracy)?;
    }
    let keys = results.results.iter().map(|r| (r.score, r.ood.clone()));
    spread.results = matched(
        spread.results,
        |s| (s.score, s.ood.clone()),
        keys,
        |s| &s.metrics,
    )?;
    let keys = results.averages.iter().map(|a| (a.score, a.kind));
    spread.averages = matched(spread.averages, |s| (s.score, s.kind), keys, |s| &s.metrics)?;
    for run in &spread.runs {
        check_name("spread.runs", &run.path)?;
        for a in &run.averages {
            for value in [a.auroc, a.fpr95, a.aupr_in, a.aupr_out] {
                check_fraction("a mean of a run", value)?;
            }
            check_range("fpr95_ties of a run", a.fpr95_ties)?;
        }
        check_fraction("the accuracy of a run", run.accuracy.unwrap_or_default())?;
    }
    Ok(spread)
}

/// Returns one entry for each key, in the order of the keys.
fn matched<T, K: Eq + Hash>(
    entries: Vec<T>,
    key: impl Fn(&T) -> K,
    keys: impl Iterator<Item = K>,
    metrics: impl Fn(&T) -> &MetricSpreads,
) -> Result<Vec<T>, String> {
    let count = entries.len();
    let mut found: HashMap<K, T> = entries
        .into_iter()
        .map(|entry| (key(&entry), entry))
        .collect();
    let ordered: Vec<T> = keys.map_while(|key| found.remove(&key)).collect();
    if ordered.len() != count || !found.is_empty() {
        return Err("the entries of `spread` do not match `results`".to_owned());
    }
    for entry in &ordered {
        for spread in metrics(entry).all() {
            check_spread_values("a metric", spread)?;
        }
    }
    Ok(ordered)
}

fn check_spread_values(what: &str, v: &MetricSpread) -> Result<(), String> {
    for value in [v.mean, v.std, v.min, v.max]
        .into_iter()
        .chain(v.interval.into_iter().flatten())
    {
        check_fraction(&format!("the spread of {what}"), value)?;
    }
    Ok(())
}
