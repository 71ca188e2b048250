use std::io::Write;

use clipn::bundle::Bundle;
use clipn::calibration::{Calibration, Choice};
use serde_json::{Value, json};

use super::args::CalibrateArgs;
use super::score::Picture;
use crate::common::args::Format;
use crate::common::error::CliError;

/// Prints what was found.
pub fn print(
    args: &CalibrateArgs,
    bundle: &Bundle,
    calibration: &Calibration,
    lowest: &[&Picture],
) -> Result<(), CliError> {
    let mut out = std::io::stdout().lock();
    let names = bundle.classifier().class_names();
    match args.format {
        Format::Table => table(&mut out, names, calibration, lowest).map_err(CliError::Output),
        Format::Json => {
            let mut object = object(calibration);
            object["lowest"] = lowest
                .iter()
                .map(|picture| {
                    let score = calibration.score().from_stable(picture.looked.score);
                    json!({ "path": picture.path, "score": score, "best": names.get(picture.looked.prediction) })
                })
                .collect();
            serde_json::to_writer_pretty(&mut out, &object)?;
            writeln!(out).map_err(CliError::Output)
        }
        Format::Csv => csv_row(out, calibration),
    }
}

/// A calibration as JSON; scores in their published unit, shares as fractions.
pub fn object(calibration: &Calibration) -> Value {
    let score = calibration.score();
    let told = |value: f64| score.from_stable(value);
    json!({
        "score": score.name(),
        "threshold": told(calibration.threshold()),
        "threshold_bounds": calibration.threshold_bounds().map(|bound| bound.map(told)),
        "choice": calibration.choice(),
        "target_tpr": calibration.target_tpr(),
        "confidence": calibration.confidence(),
        "pictures": calibration.pictures(),
        "n": calibration.len(),
        "kept": calibration.kept(),
        "unknown": calibration.unknown(),
        "smallest_p_value": calibration.p_value(f64::NEG_INFINITY),
        "warnings": calibration.warnings().iter().map(ToString::to_string).collect::<Vec<_>>(),
    })
}

fn table(
    out: &mut impl Write,
    names: &[String],
    calibration: &Calibration,
    lowest: &[&Picture],
) -> std::io::Result<()> {
    let score = calibration.score();
    let told = |value: f64| format!("{:.6}", score.from_stable(value));
    let percent = |share: f64| format!("{:.1} %", 100.0 * share);
    let confidence = percent(calibration.confidence());
    let bound = |bound: Option<f64>| bound.map_or_else(|| "not bounded".to_owned(), told);
    let [low, high] = calibration.threshold_bounds().map(bound);
    write!(
        out,
        "threshold  {} {}",
        score.title(),
        told(calibration.threshold())
    )?;
    match calibration.choice() {
        Choice::Best => writeln!(out, ", the best between the two kinds of pictures")?,
        _ => writeln!(
            out,
            " (with all pictures there are: {low} to {high}, {confidence} confidence)"
        )?,
    }
    let kept = calibration.kept();
    writeln!(
        out,
        "keeps      {} of the {} pictures of {}; of further ones like them {} to {} ({confidence} confidence)",
        kept.count,
        kept.of,
        calibration.pictures(),
        percent(kept.lower),
        percent(kept.upper)
    )?;
    if let Some(unknown) = calibration.unknown() {
        let share = unknown.rejected;
        writeln!(
            out,
            "rejects    {} of {} examples of the unknown: {} ({} to {}), AUROC {:.2}",
            share.count,
            share.of,
            percent(share.rate()),
            percent(share.lower),
            percent(share.upper),
            100.0 * unknown.auroc
        )?;
        if let Some(accuracy) = unknown.balanced_accuracy {
            writeln!(
                out,
                "           these were chosen with; on pictures apart, mean of kept and rejected {}",
                percent(accuracy)
            )?;
        }
    }
    writeln!(
        out,
        "p-values   the least is {:.5}; a picture like these gets at most p with a probability of at most p",
        calibration.p_value(f64::NEG_INFINITY)
    )?;
    writeln!(
        out,
        "           (that rests on new pictures coming as these came: same source, same mixture)"
    )?;
    writeln!(
        out,
        "lowest     look at these; what is of no class here makes the threshold too low"
    )?;
    for picture in lowest {
        let best = names
            .get(picture.looked.prediction)
            .map_or("", String::as_str);
        writeln!(
            out,
            "           {}  {} ({best})",
            told(picture.looked.score),
            picture.path.display()
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
    let unknown = calibration.unknown();
    csv.write_record([
        score.name().to_owned(),
        score.from_stable(calibration.threshold()).to_string(),
        calibration.target_tpr().to_string(),
        kept.of.to_string(),
        kept.count.to_string(),
        kept.lower.to_string(),
        kept.upper.to_string(),
        count(unknown.map(|unknown| unknown.rejected.of)),
        count(unknown.map(|unknown| unknown.rejected.count)),
        number(unknown.map(|unknown| unknown.auroc)),
    ])?;
    csv.flush().map_err(CliError::Output)
}
