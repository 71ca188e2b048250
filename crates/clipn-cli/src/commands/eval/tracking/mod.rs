//! Results of evaluations for experiment trackers: TensorBoard, MLflow and W&B. Files only, no network.

mod mlflow;
mod tensorboard;
mod utc;
mod wandb;

use std::hash::{BuildHasher, Hasher, RandomState};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clipn::evaluation::EvaluationRecord;
use serde_json::Value;

use crate::common::error::CliError;
use crate::common::messages::status;

/// Format of a tracker's files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tracker {
    TensorBoard,
    Mlflow,
    Wandb,
}

/// Tracker and directory, as `mlflow=mlruns`.
#[derive(Debug, Clone)]
pub(crate) struct TrackingTarget {
    tracker: Tracker,
    directory: PathBuf,
}

impl FromStr for TrackingTarget {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let expected =
            || format!("expected tensorboard=DIR, mlflow=DIR or wandb=DIR, got {text:?}");
        let (name, directory) = text.split_once('=').ok_or_else(expected)?;
        let tracker = match name {
            "tensorboard" => Tracker::TensorBoard,
            "mlflow" => Tracker::Mlflow,
            "wandb" => Tracker::Wandb,
            _ => return Err(expected()),
        };
        if directory.is_empty() {
            return Err(expected());
        }
        Ok(Self {
            tracker,
            directory: directory.into(),
        })
    }
}

/// One evaluation as trackers know it.
struct TrackedRun<'a> {
    /// Random identifier, 16 hexadecimal digits.
    id: String,
    /// Name of the run, such as that of the weights.
    name: &'a str,
    /// Time of the end.
    time: Duration,
    /// Names such as `msp/ninco/auroc`, and values.
    metrics: Vec<(String, f64)>,
    settings: &'a Value,
}

/// Writes an evaluation to every target.
pub(super) fn track(
    targets: &[TrackingTarget],
    name: &str,
    record: &EvaluationRecord,
) -> Result<(), CliError> {
    for target in targets {
        let run = TrackedRun {
            id: format!("{:016x}", RandomState::new().build_hasher().finish()),
            name,
            time: SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .unwrap_or_default(),
            metrics: metrics(record),
            settings: &record.settings,
        };
        let directory = &target.directory;
        let written = match target.tracker {
            Tracker::TensorBoard => tensorboard::write(directory, &run)?,
            Tracker::Mlflow => mlflow::write(directory, &run)
                .map_err(|(path, source)| CliError::WriteFile { path, source })?,
            Tracker::Wandb => wandb::write(directory, &run)
                .map_err(|(path, source)| CliError::WriteFile { path, source })?,
        };
        status(format_args!("tracked in {}", written.display()));
    }
    Ok(())
}

/// Error of writing a file.
type FileError = (PathBuf, std::io::Error);

/// Writes a file and creates its directory.
fn write_file(path: &Path, content: impl AsRef<[u8]>) -> Result<(), FileError> {
    let failed = |source| (path.to_owned(), source);
    if let Some(parent) = path.parent() {
        clipn::files::create_directories(parent).map_err(failed)?;
    }
    clipn::files::replace(path, content).map_err(failed)
}

/// All metrics of a record, as fractions: `SCORE/SET/METRIC`, with `mean`, `mean_near` and `mean_far` as sets.
fn metrics(record: &EvaluationRecord) -> Vec<(String, f64)> {
    let results = &record.results;
    let mut all: Vec<(String, f64)> = Vec::new();
    all.extend(
        results
            .accuracy
            .map(|accuracy| ("accuracy".to_owned(), accuracy)),
    );
    let is_ood = |name: &str| results.results.iter().any(|r| r.ood == name);
    let id = match is_ood(&results.id.name) {
        true => format!("{} (in-distribution)", results.id.name),
        false => results.id.name.clone(),
    };
    for r in &results.id_results {
        all.push((format!("{}/{id}/aurc", r.score), r.aurc));
    }
    for r in &results.results {
        let main = [r.auroc, r.fpr95, r.aupr_in, r.aupr_out];
        let more = [r.aupr_in_trapezoid, r.aupr_out_trapezoid, r.aurc];
        push(&mut all, &format!("{}/{}", r.score, r.ood), main, more);
    }
    for a in &results.averages {
        let mut set = a
            .kind
            .map_or("mean".to_owned(), |kind| format!("mean_{kind}"));
        if is_ood(&set) {
            set += " (of sets)";
        }
        let main = [a.auroc, a.fpr95, a.aupr_in, a.aupr_out];
        let more = [a.aupr_in_trapezoid, a.aupr_out_trapezoid, a.aurc];
        push(&mut all, &format!("{}/{set}", a.score), main, more);
    }
    all
}

fn push(all: &mut Vec<(String, f64)>, prefix: &str, main: [f64; 4], more: [Option<f64>; 3]) {
    let names = ["auroc", "fpr95", "aupr_in", "aupr_out"];
    let more_names = ["aupr_in_trapezoid", "aupr_out_trapezoid", "aurc"];
    all.extend(
        names
            .into_iter()
            .zip(main)
            .map(|(name, v)| (format!("{prefix}/{name}"), v)),
    );
    let more = more_names.into_iter().zip(more);
    all.extend(more.filter_map(|(name, v)| Some((format!("{prefix}/{name}"), v?))));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_tracker_and_directory() {
        let target: TrackingTarget = "mlflow=a=b".parse().unwrap();
        assert_eq!(
            (target.tracker, target.directory),
            (Tracker::Mlflow, "a=b".into())
        );
        for invalid in ["mlflow", "mlflow=", "comet=x", "=x"] {
            assert!(invalid.parse::<TrackingTarget>().is_err(), "{invalid}");
        }
    }
}
