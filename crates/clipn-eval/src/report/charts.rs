//! The two charts of an out-of-distribution set: score histograms and ROC curves.

use clipn_ood::metrics::Roc;

use super::html::{escape, format_percent};
use super::svg::{Axis, Chart};

/// Number of bars in a histogram.
const BINS: usize = 40;

/// Fraction of scores beyond either end of a histogram's axis, so that single outliers do not
/// compress the rest.
pub(super) const TAIL_FRACTION: f64 = 0.002;

/// Resolution of a curve in steps per axis, finer than visible.
const RESOLUTION: f64 = 500.0;

/// One group of scores in a histogram.
pub(super) struct Outline<'a> {
    /// CSS class of its line and area.
    pub class: &'a str,
    pub scores: &'a [f64],
}

/// Draws a histogram of the fractions of ID and OOD scores, with the decision threshold if it is
/// within range.
pub(super) fn histogram(
    title: &str,
    unit: &str,
    id: &[f64],
    ood: &[f64],
    threshold: Option<f64>,
) -> String {
    let outlines = [
        Outline {
            class: "ood",
            scores: ood,
        },
        Outline {
            class: "id",
            scores: id,
        },
    ];
    histogram_chart(unit, &outlines, threshold).finish(title)
}

/// Draws a histogram of each group's scores as fractions of the group, the last group in front,
/// with the threshold if it is within range.
pub(super) fn histogram_chart(
    unit: &str,
    outlines: &[Outline<'_>],
    threshold: Option<f64>,
) -> Chart {
    let mut all: Vec<f64> = outlines
        .iter()
        .flat_map(|outline| outline.scores)
        .copied()
        .collect();
    all.sort_unstable_by(f64::total_cmp);
    let at = |fraction: f64| all[((all.len() - 1) as f64 * fraction).round() as usize];
    let (low, high) = if all.is_empty() {
        (0.0, 1.0)
    } else {
        (at(TAIL_FRACTION), at(1.0 - TAIL_FRACTION))
    };
    // A margin at either end keeps the first and the last bar off the frame, and gives a single
    // value some width.
    let spread = if high > low {
        high - low
    } else {
        low.abs().max(1.0) * 0.1
    };
    let (low, high) = (low - spread * 0.02, high + spread * 0.02);

    let bars: Vec<Vec<f64>> = outlines
        .iter()
        .map(|outline| fractions(outline.scores, low, high))
        .collect();
    let max = bars.iter().flatten().copied().fold(0.01, f64::max);
    let axes = (
        Axis::new(low, high, 4, unit),
        Axis::percent(max * 1.06, 4, "fraction of the set, %"),
    );
    let mut chart = Chart::new(260.0, 190.0, axes.0, axes.1);
    for (outline, bars) in outlines.iter().zip(&bars) {
        let steps = steps(bars, low, high);
        chart.area(&steps, &format!("fill {}", outline.class));
        chart.line(&steps, &format!("line {}", outline.class));
    }
    if let Some(threshold) = threshold.filter(|t| (low..=high).contains(t)) {
        chart.line(
            &[(threshold, 0.0), (threshold, max * 1.06)],
            "line threshold",
        );
    }
    chart
}

/// Returns the fraction of scores in each bar; the outermost bars include the values beyond them.
fn fractions(scores: &[f64], low: f64, high: f64) -> Vec<f64> {
    let mut counts = vec![0_usize; BINS];
    for score in scores {
        let position = (score - low) / (high - low) * BINS as f64;
        counts[(position.max(0.0) as usize).min(BINS - 1)] += 1;
    }
    counts
        .into_iter()
        .map(|count| count as f64 / scores.len().max(1) as f64)
        .collect()
}

/// Returns the outline of bars.
fn steps(bars: &[f64], low: f64, high: f64) -> Vec<(f64, f64)> {
    let width = (high - low) / bars.len() as f64;
    let edges = bars.iter().enumerate().flat_map(|(i, &fraction)| {
        let left = low + i as f64 * width;
        [(left, fraction), (left + width, fraction)]
    });
    edges.collect()
}

/// Number of CSS classes of curves; further curves repeat them.
const CURVE_STYLES: usize = 16;

/// Returns the CSS classes of the curve at `index`; that of the deciding score is solid and wide.
fn curve_class(index: usize, is_deciding: bool) -> String {
    let deciding = if is_deciding { " deciding" } else { "" };
    format!("s{}{deciding}", index % CURVE_STYLES)
}

/// The ROC curve of a score on a set.
#[derive(Debug, Clone)]
pub(super) struct ScoreCurve {
    pub name: String,
    /// Position of the score, which is its style in every chart.
    pub index: usize,
    /// Whether the score decides which example images are kept.
    pub is_deciding: bool,
    /// Fraction.
    pub auroc: f64,
    pub roc: Roc,
}

/// Number of curves with styles and names of their own: that of the deciding score, and the best of
/// the others.
const NAMED_CURVES: usize = 6;

/// Returns the chart of ROC curves and its legend. Beyond [`NAMED_CURVES`], curves are faint and share
/// an entry of the legend.
pub(super) fn roc_curves(title: &str, curves: &[ScoreCurve]) -> (String, String) {
    let x = Axis::percent(1.0, 5, "out-of-distribution images kept, %");
    let y = Axis::percent(1.0, 5, "in-distribution images kept, %");
    let mut chart = Chart::new(340.0, 330.0, x, y);
    chart.line(&[(0.0, 0.0), (1.0, 1.0)], "line chance");
    chart.line(&[(0.0, 0.95), (1.0, 0.95)], "line level");
    let mut best: Vec<&ScoreCurve> = curves.iter().collect();
    best.sort_by(|a, b| (b.is_deciding.cmp(&a.is_deciding)).then(b.auroc.total_cmp(&a.auroc)));
    let (named, faint) = best.split_at(best.len().min(NAMED_CURVES));
    for curve in faint {
        chart.line(&thinned(&curve.roc), "line faint");
    }
    let mut named = named.to_vec();
    named.sort_by_key(|curve| curve.index);
    let mut entries = Vec::new();
    for curve in named {
        let class = curve_class(curve.index, curve.is_deciding);
        chart.line(&thinned(&curve.roc), &format!("line {class}"));
        let name = format!("{} {}", curve.name, format_percent(curve.auroc));
        entries.push((class, name));
    }
    if let (Some(best), Some(worst)) = (faint.first(), faint.last()) {
        let range = match faint.len() {
            1 => format!("{} {}", best.name, format_percent(best.auroc)),
            many => format!(
                "{many} other scores, {} to {}",
                format_percent(worst.auroc),
                format_percent(best.auroc)
            ),
        };
        entries.push(("faint".to_owned(), range));
    }
    (chart.finish(title), legend(&entries))
}

/// Returns the points of a curve without those that look equal to the previous one.
fn thinned(curve: &Roc) -> Vec<(f64, f64)> {
    let cell = |(x, y): (f64, f64)| {
        (
            (x * RESOLUTION).round() as i64,
            (y * RESOLUTION).round() as i64,
        )
    };
    let mut points: Vec<(f64, f64)> = curve
        .fpr
        .iter()
        .copied()
        .zip(curve.tpr.iter().copied())
        .collect();
    points.dedup_by_key(|point| cell(*point));
    points
}

/// Returns the legend of curves: a piece of each line, styled by its CSS class, with its name.
pub(super) fn legend(lines: &[(String, String)]) -> String {
    let entry = |(class, name): &(String, String)| {
        let line = format!(
            "<svg class=\"key\" viewBox=\"0 0 28 8\" aria-hidden=\"true\"><path class=\"line {class}\" d=\"M1 4H27\"/></svg>"
        );
        format!("<li>{line}<bdi>{}</bdi></li>", escape(name))
    };
    let entries: String = lines.iter().map(entry).collect();
    format!("<ul class=\"legend\">{entries}</ul>")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn curves_beyond_the_best_are_faint() {
        let curve = |index: usize| ScoreCurve {
            name: format!("score {index}"),
            index,
            is_deciding: index == 0,
            auroc: index as f64 / 100.0,
            roc: Roc {
                fpr: vec![0.0, 1.0],
                tpr: vec![0.0, 1.0],
                thresholds: vec![f64::INFINITY, 0.0],
            },
        };
        let legend = |count| roc_curves("t", &(0..count).map(curve).collect::<Vec<_>>()).1;
        let all = legend(NAMED_CURVES);
        assert!(!all.contains("faint") && all.matches("<li>").count() == NAMED_CURVES);
        assert!(legend(NAMED_CURVES + 1).contains("score 1 1.00"));
        let many = legend(10);
        assert!(many.contains("4 other scores, 1.00 to 4.00"), "{many}");
        for (named, is_named) in [("score 0 ", true), ("score 4 ", false), ("score 5 ", true)] {
            assert_eq!(many.contains(named), is_named, "{named}: {many}");
        }
    }

    #[test]
    fn every_score_is_counted_in_a_bar() {
        let bars = fractions(&[-100.0, 0.0, 0.5, 1.0, 100.0, 0.5], 0.0, 1.0);
        assert!((bars.iter().sum::<f64>() - 1.0).abs() < 1e-12);
        assert!((bars[0] - 2.0 / 6.0).abs() < 1e-12 && (bars[BINS / 2] - 2.0 / 6.0).abs() < 1e-12);
        assert_eq!(fractions(&[], 0.0, 1.0), vec![0.0; BINS]);
    }

    #[test]
    fn degenerate_scores_make_a_histogram() {
        for (id, ood) in [
            (vec![1.0; 9], vec![1.0; 4]),
            (vec![0.0], vec![]),
            (vec![], vec![]),
            (vec![1e300], vec![-1e300]),
        ] {
            let svg = histogram("t", "u", &id, &ood, Some(1.0));
            assert!(
                svg.contains("fill ood") && !svg.contains("NaN") && !svg.contains("inf"),
                "{svg}"
            );
        }
    }

    #[test]
    fn curves_are_thinned_but_keep_their_ends() {
        let values: Vec<f64> = (0..=100_000).map(|i| f64::from(i) / 100_000.0).collect();
        let roc = Roc {
            fpr: values.clone(),
            tpr: values,
            thresholds: Vec::new(),
        };
        let points = thinned(&roc);
        assert!(points.len() < 1100, "{}", points.len());
        assert_eq!(points[0], (0.0, 0.0));
        assert!(points[points.len() - 1].0 > 0.998);
    }
}
