//! The section on the threshold's effect and the calibration of confidence.

use clipn_ood::calibration::published_threshold;
use clipn_ood::scores::Score;

use super::charts::{TAIL_FRACTION, legend};
use super::decisions::{IdPrediction, fraction_below};
use super::gallery::published;
use super::html::{escape, format_percent, format_score};
use super::operating::{OperatingPoint, Proportion, operating_points};
use super::reliability::Reliability;
use super::sections::{Sections, column, unit};
use super::svg::{Axis, Chart};
use crate::evaluation::{ImageRow, ImageScores, ScorePrecision};

/// Number of intervals between the thresholds of a curve.
const STEPS: usize = 300;

/// CSS classes of the lines of out-of-distribution sets, which differ in color and dashes.
const LINES: [&str; 7] = ["s5", "s3", "s1", "s6", "s2", "s0", "s4"];

/// Returns the section; empty if the evaluation has no scores.
pub(super) fn section(sections: &Sections<'_>) -> String {
    let Some((index, threshold)) = sections.deciding_score else {
        return String::new();
    };
    let (evaluation, precision) = (sections.evaluation, sections.options.precision);
    let score = evaluation.scores[index];
    let prediction = |row: &ImageRow| {
        let ImageScores {
            prediction,
            scores,
            confidence,
            ..
        } = row.outcome.as_ref().ok()?;
        let right = row.label.map(|label| label == *prediction);
        Some(IdPrediction {
            score: *scores.get(index)?,
            confidence: *confidence,
            right,
        })
    };
    let id: Vec<IdPrediction> = evaluation.id.rows.iter().filter_map(prediction).collect();
    let ood: Vec<(&str, Vec<f64>)> = evaluation
        .ood
        .iter()
        .map(|set| (set.name.as_str(), column(set, index)))
        .collect();

    let chart = fractions_chart(score, precision, threshold, &id, &ood);
    let kept: Vec<IdPrediction> = id
        .iter()
        .copied()
        .filter(|j| j.score >= threshold)
        .collect();
    let reliability = Reliability::new(&kept).map_or(String::new(), |reliability| {
        let all = Reliability::new(&id).map_or(String::new(), |all| {
            format!(
                " Including rejected images, it is {}&nbsp;%.",
                format_percent(all.ece())
            )
        });
        reliability.figure(&all)
    });
    let points = operating_points(&id, &ood, threshold);
    let table = points_table(
        score,
        precision,
        &points,
        &ood,
        id.iter().any(|j| j.right.is_some()),
    );
    format!(
        "<section id=\"calibration\"><h2>Calibration</h2>\
         <div class=\"pair\">{chart}{reliability}</div>{table}</section>"
    )
}

/// Draws the fractions kept and rejected over thresholds, with the chosen threshold marked.
fn fractions_chart(
    score: &dyn Score,
    precision: ScorePrecision,
    threshold: f64,
    id: &[IdPrediction],
    ood: &[(&str, Vec<f64>)],
) -> String {
    let ascending = |mut values: Vec<f64>| {
        values.sort_unstable_by(f64::total_cmp);
        values
    };
    let id = ascending(id.iter().map(|j| j.score).collect());
    let ood: Vec<(&str, Vec<f64>)> = ood
        .iter()
        .map(|(name, values)| (*name, ascending(values.clone())))
        .collect();
    let all = ascending(
        id.iter()
            .chain(ood.iter().flat_map(|(_, values)| values))
            .copied()
            .collect(),
    );
    let at = |fraction: f64| {
        all.get((all.len().saturating_sub(1) as f64 * fraction).round() as usize)
            .copied()
    };
    let (low, high) = (
        at(TAIL_FRACTION).unwrap_or(0.0),
        at(1.0 - TAIL_FRACTION).unwrap_or(1.0),
    );
    let margin = if high > low {
        (high - low) * 0.02
    } else {
        low.abs().max(1.0) * 0.05
    };
    let (low, high) = (low - margin, high + margin);

    let unit = unit(score, precision);
    let axes = (
        Axis::new(
            low,
            high,
            5,
            format!("threshold: minimum {unit} that is kept"),
        ),
        Axis::percent(1.0, 5, "%"),
    );
    let mut chart = Chart::new(420.0, 300.0, axes.0, axes.1);
    let thresholds: Vec<f64> = (0..=STEPS)
        .map(|i| low + (high - low) * i as f64 / STEPS as f64)
        .collect();
    let mut lines = Vec::new();
    for (i, (name, values)) in ood.iter().enumerate().rev() {
        let class = LINES[i % LINES.len()];
        let points: Vec<_> = thresholds
            .iter()
            .map(|&t| (t, fraction_below(values, t)))
            .collect();
        chart.line(&points, &format!("line {class}"));
        let rejected = format_percent(fraction_below(values, threshold));
        lines.push((class.to_owned(), format!("{name}: {rejected} % rejected")));
    }
    let points: Vec<_> = thresholds
        .iter()
        .map(|&t| (t, 1.0 - fraction_below(&id, t)))
        .collect();
    chart.line(&points, "line kept");
    let kept = format_percent(1.0 - fraction_below(&id, threshold));
    lines.push(("kept".to_owned(), format!("in-distribution: {kept} % kept")));
    lines.reverse();
    if (low..=high).contains(&threshold) {
        chart.line(&[(threshold, 0.0), (threshold, 1.0)], "line threshold");
    }
    let svg = chart.finish(&format!(
        "Fractions kept and rejected over thresholds of {unit}"
    ));
    let shown = format_score(published(score, precision, threshold));
    format!(
        "<figure class=\"chart wide\"><h3>Images kept and rejected over thresholds of {}</h3>{svg}{}\
         <p class=\"note\">Kept: fraction of in-distribution images with a score of at least the \
         threshold. Rejected: fraction of an out-of-distribution set with a lower score. \
         The percentages are those at the dashed line, {shown}.</p></figure>",
        escape(score.display_name()),
        legend(&lines),
    )
}

/// Returns the table of operating points.
fn points_table(
    score: &dyn Score,
    precision: ScorePrecision,
    points: &[OperatingPoint],
    ood: &[(&str, Vec<f64>)],
    labeled: bool,
) -> String {
    let mut head = "<th scope=\"col\">threshold</th><th scope=\"col\">kept</th>".to_owned();
    if labeled {
        head += "<th scope=\"col\">accuracy of kept images</th>";
    }
    for (name, _) in ood {
        head += &format!(
            "<th scope=\"col\" class=\"set\"><bdi>{}</bdi> rejected</th>",
            escape(name)
        );
    }
    let mut rows = String::new();
    let mut chosen = String::new();
    for point in points {
        let threshold = shown_threshold(score, precision, point.threshold);
        let cell = |fraction: &Proportion| {
            let interval = if point.chosen {
                format!(
                    "<small>{} – {}</small>",
                    format_percent(fraction.low),
                    format_percent(fraction.high)
                )
            } else {
                String::new()
            };
            format!("<td>{}{interval}</td>", format_percent(fraction.value))
        };
        let class = if point.chosen {
            " class=\"chosen\""
        } else {
            ""
        };
        rows += &format!(
            "<tr{class}><th scope=\"row\">{}</th>{}",
            escape(threshold.replace('-', "\u{2212}")),
            cell(&point.kept)
        );
        if labeled {
            rows += &point
                .accuracy
                .as_ref()
                .map_or("<td>–</td>".to_owned(), cell);
        }
        rows += &point.rejected.iter().map(cell).collect::<String>();
        rows += "</tr>";
        if point.chosen {
            chosen = threshold;
        }
    }
    let is_saturated = points.iter().enumerate().any(|(index, point)| {
        let same = |other: &OperatingPoint| {
            other.threshold != point.threshold
                && shown_threshold(score, precision, other.threshold)
                    == shown_threshold(score, precision, point.threshold)
        };
        points[..index].iter().any(same)
    });
    let saturated = if is_saturated {
        " Different thresholds have the same figure, since the score saturates: <code>clipn calibrate</code> stores one \
         in full precision."
    } else {
        ""
    };
    let title = escape(score.display_name());
    let advice = how_to_apply(score, &chosen);
    format!(
        "<h3 class=\"above\">Other thresholds of {title}</h3>\
         <div class=\"scroll\"><table class=\"points\"><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>\
         <p class=\"note\">In per cent. The highlighted row is the threshold of this report, with \
         95&nbsp;% Wilson intervals for the number of images. FPR95 in the table of results is interpolated between \
         two thresholds, and may differ by an image from what is counted here. The thresholds were chosen on these \
         images: slightly fewer of other in-distribution images will be kept, and rejection rates \
         for other unknown content may differ. {advice}{saturated}</p>"
    )
}

/// How to decide by a threshold in `clipn classify`.
fn how_to_apply(score: &dyn Score, threshold: &str) -> String {
    let name = escape(score.name());
    if score.fitted().is_some() {
        return format!(
            "The score is fitted to images: <code>clipn calibrate --score {name}</code> stores such a fit, and a \
             threshold of its own, in a bundle."
        );
    }
    let negatives = if score.uses_negatives() {
        ", templates and negatives"
    } else {
        " and templates"
    };
    let flags = escape(format!("--score {} --threshold {threshold}", score.name()));
    format!(
        "To apply the threshold, add <code>{flags}</code> to <code>clipn classify</code> with the same model, \
         classes{negatives}, and the same decoding of pixels."
    )
}

/// A threshold in the published unit, with enough digits to identify the score of an image, to be copied.
fn shown_threshold(score: &dyn Score, precision: ScorePrecision, threshold: f64) -> String {
    match precision {
        ScorePrecision::F64 => published_threshold(score, threshold).to_string(),
        ScorePrecision::F32 => (threshold as f32).to_string(),
    }
}
