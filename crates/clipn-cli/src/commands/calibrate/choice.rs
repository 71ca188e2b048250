//! Choice of the score by comparison on the images.

use clipn::calibration::{ComparedScore, ComparisonSettings, ScoreColumn, ScoreComparison};
use clipn::calibration::{ThresholdMethod, compare_scores};
use clipn::count::count;
use clipn::scores::Score;

use super::score::ScoredImage;
use crate::common::error::CliError;
use crate::common::messages::{hint, warning};

/// The score that was chosen by a comparison.
#[derive(Debug)]
pub(crate) struct ChosenScore {
    pub comparison: ScoreComparison,
    /// The choice and its reason, in one sentence.
    pub reason: String,
}

/// Compares the candidates on the images. A score that is not finite for an image is left out with a
/// warning.
pub(crate) fn choose(
    candidates: &[&'static dyn Score],
    default: &dyn Score,
    [id, ood]: [&[ScoredImage]; 2],
    settings: &ComparisonSettings,
) -> Result<ChosenScore, CliError> {
    let mut columns = Vec::with_capacity(candidates.len());
    for (index, &score) in candidates.iter().enumerate() {
        let values = |images: &[ScoredImage]| -> Vec<f64> {
            images.iter().map(|image| image.candidates[index]).collect()
        };
        let column = ScoreColumn {
            score,
            id: values(id),
            ood: values(ood),
        };
        match column.non_finite() {
            0 => columns.push(column),
            left_out => warning(format_args!(
                "left out {score}: not finite for {left_out} of {}",
                count(id.len() + ood.len(), "image")
            )),
        }
    }
    let comparison = compare_scores(&columns, settings)?;
    let reason = reason(&comparison, default);
    Ok(ChosenScore { comparison, reason })
}

/// Warns that a guarantee does not cover the choice of the score.
pub(crate) fn warn_of_guarantee(method: ThresholdMethod) {
    if method == ThresholdMethod::Guaranteed {
        warning(
            "the guarantee does not cover the choice of the score, which was made on the same images",
        );
        hint("choose the score on other images, then calibrate with --score NAME");
    }
}

/// The choice and its reason, in one sentence.
fn reason(comparison: &ScoreComparison, default: &dyn Score) -> String {
    let best = comparison.best();
    let name = best.score.display_name();
    let auroc = |score: &ComparedScore| format!("{:.2}", 100.0 * score.auroc);
    let rejected = format!("{:.1} %", 100.0 * best.rejected);
    let others = || {
        let scores = comparison.scores().iter();
        scores.filter(|other| other.score != best.score)
    };
    let ties = others().filter(|other| other.auroc == best.auroc).count();
    let full_ties = others()
        .filter(|other| other.auroc == best.auroc && other.rejected == best.rejected)
        .count();
    let next = others().max_by(|a, b| a.auroc.total_cmp(&b.auroc));
    let mut text = match next {
        None => format!("took {name}: it is the only score to choose from"),
        Some(_) if full_ties > 0 => format!(
            "took {name}: it is the first of {} scores with the highest AUROC, {}, and the highest \
             rejected fraction, {rejected}",
            full_ties + 1,
            auroc(best)
        ),
        Some(_) if ties > 0 => format!(
            "took {name}: it rejects the most, {rejected}, of {} scores with the highest AUROC, {}",
            ties + 1,
            auroc(best)
        ),
        Some(next) => format!(
            "took {name}: it has the highest AUROC, {}; the next is {} with {}",
            auroc(best),
            next.score.display_name(),
            auroc(next)
        ),
    };
    // A default that is the next or ties is named already.
    let is_new = |other: &&ComparedScore| {
        other.auroc != best.auroc && next.is_none_or(|next| next.score != other.score)
    };
    let default = others().find(|other| other.score == default);
    if let Some(default) = default.filter(is_new) {
        let (name, auroc) = (default.score.display_name(), auroc(default));
        text.push_str(&format!("; the default, {name}, has {auroc}"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use clipn::scores::by_name;

    fn column(name: &str, offset: f64, slope: f64) -> ScoreColumn {
        let values = |count: u32, from: f64| (0..count).map(move |i| from + slope * f64::from(i));
        ScoreColumn {
            score: by_name(name).unwrap(),
            id: values(40, offset).collect(),
            ood: values(10, 0.0).collect(),
        }
    }

    fn reason_of(columns: &[ScoreColumn], default: &str) -> String {
        let comparison = compare_scores(columns, &ComparisonSettings::default()).unwrap();
        reason(&comparison, by_name(default).unwrap())
    }

    #[test]
    fn the_reason_names_the_next_and_the_default() {
        let columns = [
            column("msp", 0.0, 1.0),
            column("energy", 9.0, 1.0),
            column("gen", 20.0, 1.0),
        ];
        assert_eq!(
            reason_of(&columns, "msp"),
            "took GEN: it has the highest AUROC, 100.00; the next is Energy with 99.88; the default, \
             MSP, has 87.50"
        );
        assert_eq!(
            reason_of(&columns, "energy"),
            "took GEN: it has the highest AUROC, 100.00; the next is Energy with 99.88"
        );
        assert_eq!(
            reason_of(&columns[..1], "msp"),
            "took MSP: it is the only score to choose from"
        );
    }

    #[test]
    fn the_reason_names_what_decides_a_tie() {
        let perfect = [column("msp", 20.0, 1.0), column("gen", 30.0, 1.0)];
        assert_eq!(
            reason_of(&perfect, "msp"),
            "took MSP: it is the first of 2 scores with the highest AUROC, 100.00, and the highest \
             rejected fraction, 100.0 %"
        );
        let half = |name: &str, ood: f64| ScoreColumn {
            ood: [[-ood; 5], [99.0 + ood; 5]].concat(),
            ..column(name, 0.0, 1.0)
        };
        let constant = column("msp", 0.0, 0.0);
        assert_eq!(
            reason_of(&[constant, half("gen", 9.0)], "msp"),
            "took GEN: it rejects the most, 50.0 %, of 2 scores with the highest AUROC, 50.00"
        );
    }
}
