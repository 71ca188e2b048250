//! Histograms of all scores in one SVG image, for use in documents.

use std::path::Path;

use clipn_data::OodKind;

use super::ReportError;
use super::charts::{Outline, histogram_chart};
use super::html::escape;
use super::sections::{column, unit};
use crate::evaluation::{Evaluation, ScorePrecision, SetScores};

/// Number of charts in a row.
const ACROSS: usize = 3;

/// Width of a chart in pixels.
const WIDTH: f64 = 280.0;
/// Height of a chart in pixels.
const HEIGHT: f64 = 222.0;
/// Height in pixels of the legend above the charts.
const TOP: f64 = 30.0;

const STYLE: &str = "text{font:11px system-ui,sans-serif;fill:#5c6470}.end{text-anchor:end}.mid{text-anchor:middle}\
    .name,.title{fill:#1d232b}.title{font-size:13px;font-weight:600;text-anchor:middle}.grid{stroke:#e4e7eb}\
    .axis{stroke:#5c6470;fill:none}.line{fill:none;stroke-width:1.6;stroke-linejoin:round}.fill{stroke:none;opacity:.2}\
    .fill.id{fill:#0072b2}.line.id{stroke:#0072b2}.fill.near{fill:#009e73}.line.near{stroke:#009e73;\
    stroke-dasharray:7 3}.fill.ood{fill:#d55e00}.line.ood{stroke:#d55e00;stroke-dasharray:3 2}";

/// Writes an SVG with one histogram per score: of the in-distribution set, the near, and the other
/// out-of-distribution images, each as fractions of its images.
///
/// # Errors
/// [`ReportError::Write`] if the file cannot be written.
pub fn write_histograms(
    path: impl AsRef<Path>,
    evaluation: &Evaluation,
    precision: ScorePrecision,
) -> Result<(), ReportError> {
    let svg = render(evaluation, precision);
    let path = path.as_ref();
    clipn_base::files::replace(path, svg).map_err(|source| ReportError::Write {
        path: path.to_owned(),
        source,
    })
}

fn render(evaluation: &Evaluation, precision: ScorePrecision) -> String {
    let (near, other): (Vec<&SetScores>, Vec<&SetScores>) = evaluation
        .ood
        .iter()
        .partition(|set| set.kind == Some(OodKind::Near));
    let groups = [
        ("ood", group_name(&other), other),
        ("near", "near out-of-distribution".to_owned(), near),
        ("id", evaluation.id.name.clone(), vec![&evaluation.id]),
    ];
    let shown: Vec<_> = groups
        .iter()
        .filter(|(_, _, sets)| !sets.is_empty())
        .collect();
    let mut body = String::new();
    for (number, (class, name, _)) in shown.iter().rev().enumerate() {
        let x = 20.0 + WIDTH * number as f64;
        body += &format!(
            "<path class=\"line {class}\" d=\"M{x} 15h26\"/><text class=\"name\" x=\"{}\" y=\"19\">{}</text>",
            x + 32.0,
            escape(name)
        );
    }
    for (index, score) in evaluation.scores.iter().enumerate() {
        let values: Vec<Vec<f64>> = shown
            .iter()
            .map(|(_, _, sets)| sets.iter().flat_map(|set| column(set, index)).collect())
            .collect();
        let outlines: Vec<Outline<'_>> = shown
            .iter()
            .zip(&values)
            .map(|((class, ..), values)| Outline {
                class,
                scores: values,
            })
            .collect();
        let chart = histogram_chart(&unit(*score, precision), &outlines, None);
        let (x, y) = (
            (index % ACROSS) as f64 * WIDTH,
            TOP + (index / ACROSS) as f64 * HEIGHT,
        );
        body += &format!(
            "<g transform=\"translate({x} {y})\"><text class=\"title\" x=\"145\" y=\"16\">{}</text>\
             <g transform=\"translate(0 20)\">{}</g></g>",
            escape(score.display_name()),
            chart.body()
        );
    }
    let rows = evaluation.scores.len().div_ceil(ACROSS).max(1);
    let (width, height) = (WIDTH * ACROSS as f64, TOP + rows as f64 * HEIGHT);
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" \
         height=\"{height}\" role=\"img\"><title>Histograms of every score on {}</title><style>{STYLE}</style>\
         <rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>{body}</svg>\n",
        escape(&evaluation.id.name)
    )
}

/// Returns the common name of the sets that are not near.
fn group_name(sets: &[&SetScores]) -> String {
    match sets {
        [one] => one.name.clone(),
        sets if sets.iter().all(|set| set.kind == Some(OodKind::Far)) => {
            "far out-of-distribution".to_owned()
        }
        _ => "out-of-distribution".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clipn_data::SkippedFiles;
    use clipn_ood::scores;

    use crate::evaluation::{ImageRow, ImageScores};

    fn set(name: &str, kind: Option<OodKind>, values: &[f64]) -> SetScores {
        let row = |&value: &f64| ImageRow {
            path: "a.png".into(),
            label: None,
            outcome: Ok(ImageScores {
                prediction: 0,
                scores: vec![value; 6],
                confidence: 0.5,
                feature: Vec::new(),
            }),
        };
        SetScores {
            name: name.to_owned(),
            kind,
            rows: values.iter().map(row).collect(),
            skipped_files: SkippedFiles::default(),
            parts: Vec::new(),
        }
    }

    #[test]
    fn every_score_has_its_histogram() {
        let evaluation = Evaluation {
            class_names: vec!["a".to_owned()],
            scores: scores::all()[..6].to_vec(),
            id: set("val <b>", None, &[0.5, 0.6, 0.9]),
            ood: vec![
                set("n", Some(OodKind::Near), &[0.4]),
                set("f", Some(OodKind::Far), &[0.1, 0.2]),
            ],
        };
        let svg = render(&evaluation, ScorePrecision::F32);
        assert_eq!(svg.matches("class=\"line id\"").count(), 7, "{svg}");
        assert_eq!(svg.matches("class=\"line near\"").count(), 7);
        assert!(svg.contains("val &lt;b&gt;") && !svg.contains("<b>") && svg.contains(">f<"));
    }

    #[test]
    fn sets_without_kind_share_one_line() {
        let evaluation = Evaluation {
            class_names: vec!["a".to_owned()],
            scores: scores::all()[..6].to_vec(),
            id: set("val", None, &[0.5]),
            ood: vec![set("x", None, &[0.4]), set("y", None, &[0.1])],
        };
        let svg = render(&evaluation, ScorePrecision::F32);
        assert!(
            svg.contains(">out-of-distribution<") && !svg.contains("class=\"line near\""),
            "{svg}"
        );
    }
}
