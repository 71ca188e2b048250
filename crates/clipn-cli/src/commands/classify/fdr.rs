//! False discovery rate control over all images of a run.

use clipn::calibration::{Calibration, benjamini_hochberg};
use clipn::count::count;

use super::rows::Row;
use crate::common::error::CliError;
use crate::common::messages::{hint, warning};

/// Refuses a detector without p-values, and warns of a rate below the smallest one.
pub(crate) fn check(q: f64, calibration: Option<&Calibration>) -> Result<(), CliError> {
    let Some(calibration) = calibration else {
        return Err(CliError::usage_with_hint(
            "--fdr needs p-values, and this detector has none",
            "give a --bundle that `clipn calibrate` has calibrated, without --score, --threshold and --no-reject",
        ));
    };
    let smallest = 1.0 / (calibration.len() as f64 + 1.0);
    if q < smallest {
        warning(format_args!(
            "--fdr {q}: no p-value of {} is below {smallest:.4}, so that no image is rejected",
            count(calibration.len(), "calibration image")
        ));
        hint("calibrate with more images, or give a higher rate");
    }
    Ok(())
}

/// Labels the images unknown that the Benjamini-Hochberg procedure rejects at rate `q`, and all
/// others with their best class, regardless of the threshold. Rows without a p-value, those of
/// unreadable images, stay unchanged and do not count.
pub(crate) fn decide(rows: &mut [Row], q: f64) {
    let p_values: Vec<f64> = rows.iter().filter_map(|row| row.p_value).collect();
    let rejected = benjamini_hochberg(&p_values, q);
    let count = rejected.iter().filter(|&&rejected| rejected).count();
    let all = rejected.len();
    for ((row, is_rejected), p) in rows
        .iter_mut()
        .filter(|row| row.p_value.is_some())
        .zip(rejected)
        .zip(p_values)
    {
        let best = row.top.first().filter(|_| !is_rejected).cloned();
        row.decide(best.as_ref());
        row.threshold = None;
        let verdict = if is_rejected { "one of" } else { "not one of" };
        row.reason = Some(format!(
            "p-value {p:.4}: {verdict} the {count} of {} rejected at false discovery rate \
             {q} (Benjamini-Hochberg)",
            clipn::count::count(all, "image")
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clipn::detector::Candidate;

    #[test]
    fn rejects_the_lowest_p_values_and_skips_errors() {
        let row = |p: Option<f64>| {
            let mut row = Row::failed("x".to_owned(), "broken");
            if p.is_some() {
                row.error = None;
                row.p_value = p;
                row.label = Some("dog".to_owned());
                row.top = vec![Candidate::new(7, "cat", 0.9, 0.9)];
            }
            row
        };
        let mut rows = [row(Some(0.001)), row(None), row(Some(0.5)), row(Some(0.04))];
        decide(&mut rows, 0.1);
        let labels: Vec<_> = rows.iter().map(|row| row.label.as_deref()).collect();
        assert_eq!(labels, [None, None, Some("cat"), None]);
        let classes: Vec<_> = rows.iter().map(|row| (row.class, row.unknown)).collect();
        assert_eq!(
            classes,
            [
                (None, Some(true)),
                (None, None),
                (Some(7), Some(false)),
                (None, Some(true))
            ]
        );
        assert!(
            rows[2]
                .reason
                .as_ref()
                .unwrap()
                .contains("not one of the 2 of 3"),
            "{:?}",
            rows[2].reason
        );
        assert_eq!(rows[1].error.as_deref(), Some("broken"));
    }
}
