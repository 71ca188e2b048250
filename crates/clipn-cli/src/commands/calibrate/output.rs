use std::io::Write;

use clipn::bundle::Bundle;
use clipn::calibration::{Calibration, ThresholdMethod};
use clipn::count::count;
use clipn::dataset::SkippedFiles;
use clipn::number::decimals;
use serde_json::{Value, json};

use super::choice::ChosenScore;
use super::score::ScoredImage;
use crate::common::args::Format;
use crate::common::error::CliError;
use crate::common::messages::status;
use crate::common::table::Table;
use crate::common::terminal::Escaped;

/// What is printed besides the bundle.
pub(crate) struct Report<'a> {
    pub calibration: &'a Calibration,
    /// Images with the lowest scores.
    pub lowest: &'a [&'a ScoredImage],
    pub chosen: Option<&'a ChosenScore>,
    /// Files that are no images.
    pub skipped: &'a SkippedFiles,
}

/// Prints the calibration in the requested format.
pub(crate) fn print(format: Format, bundle: &Bundle, report: &Report) -> Result<(), CliError> {
    let Report {
        calibration,
        lowest,
        chosen,
        skipped,
    } = *report;
    let mut out = std::io::stdout().lock();
    let names = bundle.classifier().class_names();
    if let (Some(chosen), Format::Json | Format::Csv) = (chosen, format) {
        status(&chosen.reason);
    }
    match format {
        Format::Table => {
            if let Some(chosen) = chosen {
                comparison_table(&mut Escaped(&mut out), chosen).map_err(CliError::Output)?;
            }
            table(&mut Escaped(&mut out), names, calibration, lowest).map_err(CliError::Output)?;
            if let Some(fit) = bundle.classifier().fit() {
                let summary = fit.summary();
                writeln!(Escaped(&mut out), "fit        {summary}").map_err(CliError::Output)?;
            }
            Ok(())
        }
        Format::Json => {
            let mut object = serde_json::to_value(calibration.summary())?;
            if let Some(fit) = bundle.classifier().fit() {
                object["fit"] = json!(fit.summary());
            }
            object["lowest"] = lowest
                .iter()
                .map(|image| {
                    let score = calibration.score().from_stable(image.sample.score);
                    let best = names.get(image.sample.prediction);
                    json!({ "path": image.path, "score": score, "best": best })
                })
                .collect();
            object["comparison"] = match chosen {
                Some(chosen) => comparison_object(chosen)?,
                None => Value::Null,
            };
            object["skipped_files"] = json!(skipped);
            serde_json::to_writer_pretty(&mut out, &object)?;
            writeln!(out).map_err(CliError::Output)
        }
        Format::Csv => csv_row(out, calibration),
    }
}

/// A comparison of scores as JSON.
fn comparison_object(chosen: &ChosenScore) -> Result<Value, CliError> {
    let mut object = serde_json::to_value(&chosen.comparison)?;
    object["best"] = chosen.comparison.best().score.name().into();
    object["reason"] = chosen.reason.as_str().into();
    Ok(object)
}

/// Prints a comparison of scores and the reason for the choice.
fn comparison_table(out: &mut impl Write, chosen: &ChosenScore) -> std::io::Result<()> {
    let comparison = &chosen.comparison;
    let mut table = Table::new(["score", "AUROC", "rejected", "kept"], 1);
    let percent = |fraction: f64| format!("{:.1} %", 100.0 * fraction);
    for row in comparison.scores() {
        table.row([
            row.score.display_name().to_owned(),
            format!("{:.2}", 100.0 * row.auroc),
            percent(row.rejected),
            percent(row.kept),
        ]);
    }
    table.write(out)?;
    writeln!(
        out,
        "rejected and kept: fractions of held-out images in {} folds, at thresholds for {} kept",
        comparison.settings().folds,
        percent(comparison.settings().target_tpr)
    )?;
    writeln!(out, "{}\n", chosen.reason)
}

fn table(
    out: &mut impl Write,
    names: &[String],
    calibration: &Calibration,
    lowest: &[&ScoredImage],
) -> std::io::Result<()> {
    let score = calibration.score();
    let shown = |value: f64| decimals(score.from_stable(value), 6);
    let percent = |fraction: f64| format!("{:.1} %", 100.0 * fraction);
    let confidence = percent(calibration.confidence());
    let bound = |bound: Option<f64>| bound.map_or_else(|| "unbounded".to_owned(), shown);
    let [low, high] = calibration.threshold_interval().map(bound);
    write!(
        out,
        "threshold  {} {}",
        score.display_name(),
        decimals(calibration.published_threshold(), 6)
    )?;
    match calibration.method() {
        ThresholdMethod::Best => writeln!(
            out,
            ", the best between in-distribution and out-of-distribution images"
        )?,
        _ => writeln!(
            out,
            " (for the whole population: {low} to {high}, {confidence} confidence)"
        )?,
    }
    let kept = calibration.kept();
    writeln!(
        out,
        "accepts    {} of the {} of {}; {} to {} of new images like them ({confidence} confidence)",
        kept.count,
        count(kept.total, "image"),
        calibration.description(),
        percent(kept.lower),
        percent(kept.upper)
    )?;
    if let Some(unknown) = calibration.ood_performance() {
        let rejected = unknown.rejected;
        writeln!(
            out,
            "rejects    {} of {}: {} ({} to {}), AUROC {:.2}",
            rejected.count,
            count(rejected.total, "out-of-distribution image"),
            percent(rejected.rate()),
            percent(rejected.lower),
            percent(rejected.upper),
            100.0 * unknown.auroc
        )?;
        if let Some(accuracy) = unknown.balanced_accuracy {
            writeln!(
                out,
                "           the threshold was chosen on these; balanced accuracy on held-out images {}",
                percent(accuracy)
            )?;
        }
    }
    writeln!(
        out,
        "p-values   minimum {:.5}; an image like these gets at most p with probability at most p",
        calibration.p_value(f64::NEG_INFINITY)
    )?;
    writeln!(
        out,
        "           (if new images come from the same source in the same mixture)"
    )?;
    writeln!(
        out,
        "lowest     check these; images of none of the classes make the threshold too low"
    )?;
    for image in lowest {
        let best = names
            .get(image.sample.prediction)
            .map_or("", String::as_str);
        writeln!(
            out,
            "           {}  {} ({best})",
            shown(image.sample.score),
            image.path.display()
        )?;
    }
    Ok(())
}

fn csv_row(out: impl Write, calibration: &Calibration) -> Result<(), CliError> {
    let (score, kept) = (calibration.score(), calibration.kept());
    let mut csv = csv::Writer::from_writer(out);
    csv.write_record([
        "score",
        "threshold",
        "target_tpr",
        "n",
        "kept",
        "lower",
        "upper",
        "n_ood",
        "rejected",
        "auroc",
    ])?;
    let number = |value: Option<f64>| value.map(|value| value.to_string()).unwrap_or_default();
    let count = |value: Option<usize>| value.map(|value| value.to_string()).unwrap_or_default();
    let unknown = calibration.ood_performance();
    csv.write_record([
        score.name().to_owned(),
        calibration.published_threshold().to_string(),
        calibration.target_tpr().to_string(),
        kept.total.to_string(),
        kept.count.to_string(),
        kept.lower.to_string(),
        kept.upper.to_string(),
        count(unknown.map(|unknown| unknown.rejected.total)),
        count(unknown.map(|unknown| unknown.rejected.count)),
        number(unknown.map(|unknown| unknown.auroc)),
    ])?;
    csv.flush().map_err(CliError::Output)
}
