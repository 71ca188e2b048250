//! `clipn metrics`: metrics of scores that any program wrote.

mod args;
mod output;

pub(crate) use args::MetricsArgs;

use std::path::PathBuf;

use clipn::count::count;
use clipn::evaluation::ScoreReport;
use clipn::evaluation::score_files::{
    ScoreSets, ScoreTableOptions, read_labeled_scores, read_score_list, read_score_table,
};
use clipn::metrics::CoarseCause;

use crate::common::args::named_path;
use crate::common::coarse::{CoarseEntry, warn_of_coarse};
use crate::common::error::CliError;
use crate::common::messages::{hint, warning};
use crate::common::progress::Bar;
use args::HigherIs;

/// `clipn metrics`.
pub(crate) fn run(args: &MetricsArgs) -> Result<(), CliError> {
    let sets = read(args)?;
    let bar = Bar::default();
    let report = ScoreReport::compute_with_progress(&sets, &args.settings(), &bar)?;
    warn(args, &report);
    output::print(&report, args.format)
}

/// Reads the scores that the arguments name.
fn read(args: &MetricsArgs) -> Result<ScoreSets, CliError> {
    let id_value = args.id_value.as_deref();
    match (&args.file, &args.labels, &args.id) {
        (Some(file), Some(labels), _) => Ok(read_labeled_scores(file, labels, id_value)?),
        (Some(file), None, _) => {
            let options = ScoreTableOptions::default()
                .with_score_columns(args.scores.clone())
                .with_set_column(args.set_column.clone())
                .with_id_value(args.id_value.clone());
            Ok(read_score_table(file, &options)?)
        }
        (None, _, Some(id)) => read_lists(id, &args.ood),
        (None, _, None) => Err(CliError::usage_with_hint(
            "no scores",
            "give a table, or --id and --ood",
        )),
    }
}

/// Reads one file per set.
fn read_lists(id: &str, ood: &[String]) -> Result<ScoreSets, CliError> {
    let mut lists: Vec<(String, Vec<f64>)> = Vec::new();
    let read = |spec: &str| -> Result<(String, PathBuf, Vec<f64>), CliError> {
        let (name, path) = named_path(spec);
        let values = read_score_list(&path)?;
        Ok((name, path, values))
    };
    let (id_name, id_path, id_values) = read(id)?;
    for (index, spec) in ood.iter().enumerate() {
        let (name, _, values) = read(spec)?;
        if lists.iter().any(|(other, _)| *other == name) {
            return Err(CliError::usage_with_hint(
                format!("duplicate name of --ood number {}: `{name}`", index + 1),
                "give each a name of its own, as NAME=FILE",
            ));
        }
        lists.push((name, values));
    }
    Ok(ScoreSets::from_lists((id_name, id_values), lists, id_path)?)
}

/// Warns of what makes the metrics doubtful: skipped rows, a wrong direction, ties.
fn warn(args: &MetricsArgs, report: &ScoreReport) {
    if report.skipped > 0 {
        warning(format_args!(
            "skipped {} that report an error instead of scores",
            count(report.skipped, "row")
        ));
    }
    let below: Vec<_> = report
        .results
        .iter()
        .filter(|r| r.metrics.auroc < 0.5)
        .collect();
    if let Some(first) = below.first() {
        let others = match below.len() - 1 {
            0 => String::new(),
            n => format!(" (and {} below 50 %)", count(n, "further AUROC")),
        };
        warning(format_args!(
            "{} with {} has an AUROC of {:.2} %, below 50 %{others}: higher scores were taken for {} \
             images",
            first.score,
            first.ood,
            100.0 * first.metrics.auroc,
            report.higher_is.as_str(),
        ));
        hint(match args.higher_is {
            HigherIs::Known => "--higher-is unknown, if a higher score means unknown",
            HigherIs::Unknown => "--higher-is known, if a higher score means known",
        });
    }
    let entries = report.results.iter().filter_map(|r| {
        Some(CoarseEntry {
            score: &r.score,
            ood: &r.ood,
            coarse: r.coarse?,
        })
    });
    warn_of_coarse(entries, advice);
}

fn advice(cause: CoarseCause) -> Option<&'static str> {
    Some(match cause {
        CoarseCause::F16 | CoarseCause::Bf16 => {
            "compute scores from features in float32, and store them in float32"
        }
        CoarseCause::Decimals(_) => "write scores with all their digits",
        CoarseCause::Saturated { .. } => {
            "store what does not saturate, such as logits or logarithms of probabilities"
        }
        _ => return None,
    })
}
