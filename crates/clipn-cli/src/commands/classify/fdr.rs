//! Decisions about all pictures together.

use clipn::calibration::benjamini_hochberg;
use clipn::detector::UNKNOWN;

use super::rows::Row;

/// Calls those pictures unknown that Benjamini and Hochberg's procedure picks at `q`, and gives all others their best
/// class, whatever the threshold says. Rows without a p-value, those of unreadable pictures, stay as they are and do not
/// count.
pub fn decide(rows: &mut [Row], q: f64) {
    let p_values: Vec<f64> = rows.iter().filter_map(|row| row.p_value).collect();
    let picked = benjamini_hochberg(&p_values, q);
    let count = picked.iter().filter(|&&picked| picked).count();
    let all = picked.len();
    for ((row, picked), p) in rows
        .iter_mut()
        .filter(|row| row.p_value.is_some())
        .zip(picked)
        .zip(p_values)
    {
        row.label = match row.top.first() {
            Some(best) if !picked => Some(best.label.clone()),
            _ => Some(UNKNOWN.to_owned()),
        };
        row.threshold = None;
        let verdict = if picked { "one of" } else { "not one of" };
        row.reason = Some(format!(
            "p-value {p:.4}: {verdict} the {count} of {all} pictures that are called unknown at a false-discovery rate of \
             {q} (Benjamini and Hochberg)"
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::classify::rows::Candidate;

    #[test]
    fn the_lowest_p_values_are_unknown_and_errors_do_not_count() {
        let row = |p: Option<f64>| {
            let mut row = Row::failed("x".to_owned(), "broken");
            if p.is_some() {
                row.error = None;
                row.p_value = p;
                row.label = Some("dog".to_owned());
                row.top = vec![Candidate {
                    label: "cat".to_owned(),
                    p: 0.9,
                    q: 0.9,
                }];
            }
            row
        };
        let mut rows = [row(Some(0.001)), row(None), row(Some(0.5)), row(Some(0.04))];
        decide(&mut rows, 0.1);
        let labels: Vec<_> = rows.iter().map(|row| row.label.as_deref()).collect();
        assert_eq!(
            labels,
            [Some("unknown"), None, Some("cat"), Some("unknown")]
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
