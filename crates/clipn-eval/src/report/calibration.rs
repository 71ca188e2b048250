//! How the threshold behaves, and how far the confidences can be believed.

use super::charts::{TAIL, legend};
use super::gallery::published;
use super::html::{figure, percent, text};
use super::operating::{Point, operating_points};
use super::reliability::Reliability;
use super::sections::{Sections, column, unit};
use super::svg::{Axis, Chart};
use crate::{ImageRow, Precision, Scored};
use clipn_ood::scores::Score;

/// Thresholds at which the curves are drawn.
const STEPS: usize = 300;

/// The lines of out-of-distribution sets, by the classes of the page's style; told apart by dashes too.
const LINES: [&str; 7] = ["s5", "s3", "s1", "s6", "s2", "s0", "s4"];

/// One in-distribution image that was read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Judgement {
    pub(super) score: f64,
    pub(super) confidence: f64,
    /// Whether the prediction is right; `None` without a label.
    pub(super) right: Option<bool>,
}

/// The section; nothing where no score decides.
pub(super) fn section(sections: &Sections<'_>) -> String {
    let Some((index, threshold)) = sections.decider else {
        return String::new();
    };
    let (evaluation, precision) = (sections.evaluation, sections.options.precision);
    let score = evaluation.scores[index];
    let judgement = |row: &ImageRow| {
        let Scored {
            prediction,
            scores,
            confidence,
        } = row.outcome.as_ref().ok()?;
        let right = row.label.map(|label| label == *prediction);
        Some(Judgement {
            score: *scores.get(index)?,
            confidence: *confidence,
            right,
        })
    };
    let id: Vec<Judgement> = evaluation.id.rows.iter().filter_map(judgement).collect();
    let ood: Vec<(&str, Vec<f64>)> = evaluation
        .ood
        .iter()
        .map(|set| (set.name.as_str(), column(set, index)))
        .collect();

    let chart = shares_chart(score, precision, threshold, &id, &ood);
    let kept: Vec<Judgement> = id
        .iter()
        .copied()
        .filter(|j| j.score >= threshold)
        .collect();
    let reliability = Reliability::new(&kept).map_or(String::new(), |of_kept| {
        let all = Reliability::new(&id).map_or(String::new(), |all| {
            format!(
                " Of all, rejected ones included, it is {}&nbsp;%.",
                percent(all.ece())
            )
        });
        of_kept.figure(&all)
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

/// Kept and rejected shares over thresholds, with the chosen one marked.
fn shares_chart(
    score: &dyn Score,
    precision: Precision,
    threshold: f64,
    id: &[Judgement],
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
    let at = |share: f64| {
        all.get((all.len().saturating_sub(1) as f64 * share).round() as usize)
            .copied()
    };
    let (low, high) = (at(TAIL).unwrap_or(0.0), at(1.0 - TAIL).unwrap_or(1.0));
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
            format!("threshold: least {unit} that is kept"),
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
        let points: Vec<_> = thresholds.iter().map(|&t| (t, below(values, t))).collect();
        chart.line(&points, &format!("line {class}"));
        let rejected = percent(below(values, threshold));
        lines.push((class.to_owned(), format!("{name}: {rejected} % rejected")));
    }
    let points: Vec<_> = thresholds
        .iter()
        .map(|&t| (t, 1.0 - below(&id, t)))
        .collect();
    chart.line(&points, "line kept");
    let kept = percent(1.0 - below(&id, threshold));
    lines.push(("kept".to_owned(), format!("in-distribution: {kept} % kept")));
    lines.reverse();
    if (low..=high).contains(&threshold) {
        chart.line(&[(threshold, 0.0), (threshold, 1.0)], "line threshold");
    }
    let svg = chart.finish(&format!(
        "Kept and rejected shares over thresholds of {unit}"
    ));
    let shown = figure(published(score, precision, threshold));
    format!(
        "<figure class=\"chart wide\"><h3>What a threshold of {} keeps and rejects</h3>{svg}{}\
         <p class=\"note\">Kept: the share of in-distribution images that score at least the threshold; rejected: the \
         share of an out-of-distribution set that scores less. The shares are those at the dashed line, {shown}.</p></figure>",
        text(score.title()),
        legend(&lines),
    )
}

/// The share of ascending values that lies below a threshold.
pub(super) fn below(ascending: &[f64], threshold: f64) -> f64 {
    ascending.partition_point(|value| *value < threshold) as f64 / ascending.len().max(1) as f64
}

/// What other thresholds would do.
fn points_table(
    score: &dyn Score,
    precision: Precision,
    points: &[Point],
    ood: &[(&str, Vec<f64>)],
    labelled: bool,
) -> String {
    let mut head = "<th scope=\"col\">threshold</th><th scope=\"col\">kept</th>".to_owned();
    if labelled {
        head += "<th scope=\"col\">accuracy of the kept</th>";
    }
    for (name, _) in ood {
        head += &format!(
            "<th scope=\"col\" class=\"set\"><bdi>{}</bdi> rejected</th>",
            text(name)
        );
    }
    let mut rows = String::new();
    let mut chosen = String::new();
    for point in points {
        // As many digits as tell the score from its neighbours, to be copied.
        let threshold = (published(score, precision, point.threshold) as f32).to_string();
        let share = |share: &super::operating::Share| {
            let interval = if point.chosen {
                format!(
                    "<small>{} – {}</small>",
                    percent(share.low),
                    percent(share.high)
                )
            } else {
                String::new()
            };
            format!("<td>{}{interval}</td>", percent(share.value))
        };
        let class = if point.chosen {
            " class=\"chosen\""
        } else {
            ""
        };
        rows += &format!(
            "<tr{class}><th scope=\"row\">{}</th>{}",
            text(threshold.replace('-', "\u{2212}")),
            share(&point.kept)
        );
        if labelled {
            rows += &point
                .accuracy
                .as_ref()
                .map_or("<td>–</td>".to_owned(), share);
        }
        rows += &point.rejected.iter().map(share).collect::<String>();
        rows += "</tr>";
        if point.chosen {
            chosen = threshold;
        }
    }
    let title = text(score.title());
    let command = text(format!(
        "clipn classify --score {} --threshold {chosen}",
        score.name()
    ));
    format!(
        "<h3 class=\"above\">Other thresholds of {title}</h3>\
         <div class=\"scroll\"><table class=\"points\"><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>\
         <p class=\"note\">In per cent. The row that stands out is the threshold of this report, with 95&nbsp;% Wilson \
         intervals, which tell how far the numbers of images leave the shares open. The thresholds were read off these \
         images: others will be kept a little less, and what is rejected of other unknown things, no table tells. With the \
         same model, classes and templates, <code>{command}</code> decides so.</p>"
    )
}
