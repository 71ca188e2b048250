//! Tables of all scores and sets.

use clipn_data::OodKind;
use clipn_ood::scores::by_name;

use super::html::{escape, format_count, format_images, format_percent};
use crate::fpr_figure::{FprFigure, find};
use crate::metric_spread::MetricSpread;
use crate::results::{OodResult, Results};
use crate::spread::{MetricSpreads, Spread};

/// A value for comparison, and its text.
type Shown = (f64, String);

/// AUROC and FPR95 of one score in one column group; `None` if the results have none.
type Cell = Option<(Shown, Shown)>;

/// A group of two columns: a set, or a mean over sets.
struct Group<'a> {
    name: String,
    detail: String,
    cell: Box<dyn Fn(&str) -> Cell + 'a>,
}

/// Returns the title of a score as in the published table.
pub(super) fn title(score: &str) -> &str {
    by_name(score).map_or(score, |score| score.display_name())
}

/// Formats a fraction as per cent, with its spread if there is one.
pub(super) fn format_with_spread(figure: f64, spread: Option<(&Spread, MetricSpread)>) -> String {
    match spread {
        Some((spread, v)) => format!(
            "{} ± {}",
            format_percent(spread.center(figure, &v)),
            format_percent(v.std)
        ),
        None => format_percent(figure),
    }
}

/// Formats a range of FPR95 over ties, to stand behind the figure.
pub(super) fn format_ties(ties: Option<[f64; 2]>) -> String {
    ties.map_or_else(String::new, |[low, high]| {
        format!(" [{}, {}]", format_percent(low), format_percent(high))
    })
}

/// Returns AUROC and FPR95 as values and texts.
fn cell(
    auroc: f64,
    fpr95: f64,
    ties: Option<[f64; 2]>,
    spread: Option<&Spread>,
    varied: Option<&MetricSpreads>,
) -> (Shown, Shown) {
    let shown = |figure: f64, of: fn(&MetricSpreads) -> MetricSpread| {
        let spread = spread.zip(varied.map(of));
        let value = spread.map_or(figure, |(spread, v)| spread.center(figure, &v));
        (value, format_with_spread(figure, spread))
    };
    let (value, text) = shown(fpr95, |v| v.fpr95);
    (
        shown(auroc, |v| v.auroc),
        (value, text + &format_ties(ties)),
    )
}

/// Returns the scores of the results, in their order.
fn scores(results: &Results) -> Vec<&'static str> {
    let mut scores: Vec<&'static str> = Vec::new();
    for result in &results.results {
        if !scores.contains(&result.score) {
            scores.push(result.score);
        }
    }
    scores
}

fn groups<'a>(results: &'a Results, spread: Option<&'a Spread>) -> Vec<Group<'a>> {
    let mut groups = Vec::new();
    let mut sets: Vec<&OodResult> = Vec::new();
    for result in &results.results {
        if sets.iter().all(|set| set.ood != result.ood) {
            sets.push(result);
        }
    }
    for kind in [None, Some(OodKind::Near), Some(OodKind::Far)] {
        let members = sets.iter().filter(|set| kind.is_none() || set.kind == kind);
        // The mean over one set is its column.
        let is_mean = members.count() > 1;
        if is_mean && results.averages.iter().any(|average| average.kind == kind) {
            let name = kind.map_or("mean of all".to_owned(), |kind| format!("mean of {kind}"));
            let cell = move |score: &str| {
                let found = results
                    .averages
                    .iter()
                    .find(|a| a.kind == kind && a.score == score)?;
                let varied = spread.and_then(|spread| spread.average(score, kind));
                Some(cell(
                    found.auroc,
                    found.fpr95,
                    found.wide_ties(),
                    spread,
                    varied,
                ))
            };
            groups.push(Group {
                name,
                detail: String::new(),
                cell: Box::new(cell),
            });
        }
    }
    groups.extend(sets.into_iter().map(|set| {
        let kind = set.kind.map_or(String::new(), |kind| format!("{kind}, "));
        let cell = move |score: &str| {
            let found = results
                .results
                .iter()
                .find(|r| r.ood == set.ood && r.score == score)?;
            let varied = spread.and_then(|spread| spread.result(score, &set.ood));
            Some(cell(
                found.auroc,
                found.fpr95,
                found.wide_ties(),
                spread,
                varied,
            ))
        };
        let detail = format!("{kind}{}", format_images(set.n_ood));
        Group {
            name: set.ood.clone(),
            detail,
            cell: Box::new(cell),
        }
    }));
    groups
}

/// Returns the table of AUROC and FPR95 of every score: the means, then each set, with the best
/// value of each column in bold.
pub(super) fn main_table(results: &Results, spread: Option<&Spread>) -> String {
    let (scores, groups) = (scores(results), groups(results, spread));
    let mut head = "<tr><th rowspan=\"2\" scope=\"col\">score</th>".to_owned();
    let mut second = "<tr>".to_owned();
    for group in &groups {
        let (name, detail) = (escape(&group.name), escape(&group.detail));
        head += &format!(
            "<th colspan=\"2\" scope=\"colgroup\" class=\"group\"><bdi>{name}</bdi><small>{detail}</small></th>"
        );
        second += "<th scope=\"col\" class=\"group\">AUROC&nbsp;↑</th><th scope=\"col\">FPR95&nbsp;↓</th>";
    }
    let cells: Vec<Vec<Cell>> = groups
        .iter()
        .map(|group| scores.iter().map(|score| (group.cell)(score)).collect())
        .collect();
    let mut rows = String::new();
    for (i, score) in scores.iter().enumerate() {
        rows += &format!("<tr><th scope=\"row\">{}</th>", escape(title(score)));
        for column in &cells {
            rows += &pair(column, i);
        }
        rows += "</tr>";
    }
    format!(
        "<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"Results\"><table class=\"results\"><thead>{head}</tr>{second}</tr></thead>\
         <tbody>{rows}</tbody></table></div>"
    )
}

/// Returns the two cells of row `i`. The best value of a column is bold, if there is more than one
/// row.
fn pair(column: &[Cell], i: usize) -> String {
    let Some((auroc, fpr95)) = &column[i] else {
        return "<td class=\"group\">–</td><td>–</td>".to_owned();
    };
    let has_rivals = column.len() > 1;
    let others = || column.iter().flatten();
    let mark = |best: bool, shown: &str| {
        if best && has_rivals {
            format!("<b>{shown}</b>")
        } else {
            shown.to_owned()
        }
    };
    let auroc = mark(others().all(|other| other.0.0 <= auroc.0), &auroc.1);
    let fpr95 = mark(others().all(|other| other.1.0 >= fpr95.0), &fpr95.1);
    format!("<td class=\"group\">{auroc}</td><td>{fpr95}</td>")
}

/// Returns the table of all metrics, one row per score and set. FPR at other true positive rates than 0.95 is
/// shown in `convention`.
pub(super) fn full_table(results: &Results, spread: Option<&Spread>, convention: &str) -> String {
    let further = |r: &OodResult| -> Vec<FprFigure> {
        let is_shown = |f: &&FprFigure| f.percent() != 95.0 && f.convention.as_str() == convention;
        r.fpr.iter().filter(is_shown).copied().collect()
    };
    let mut rows = String::new();
    for r in &results.results {
        rows += &format!(
            "<tr><th scope=\"row\"><bdi>{}</bdi></th><td class=\"word\">{}</td><td class=\"word\">{}</td>",
            escape(&r.ood),
            r.kind.map_or("–".to_owned(), |kind| kind.to_string()),
            escape(title(r.score)),
        );
        let varied = spread.and_then(|spread| spread.result(r.score, &r.ood));
        let of =
            |pick: fn(&MetricSpreads) -> Option<MetricSpread>| spread.zip(varied.and_then(pick));
        let mut cell = |value: Option<f64>,
                        spread: Option<(&Spread, MetricSpread)>,
                        ties: Option<[f64; 2]>| {
            let shown = value.map_or("–".to_owned(), |value| format_with_spread(value, spread));
            rows += &format!("<td>{shown}{}</td>", format_ties(ties));
        };
        cell(Some(r.auroc), of(|v| Some(v.auroc)), None);
        cell(Some(r.fpr95), of(|v| Some(v.fpr95)), r.wide_ties());
        for figure in further(r) {
            let varied = varied.and_then(|v| find(&v.fpr, figure.tpr, figure.convention)?.spread);
            cell(Some(figure.fpr), spread.zip(varied), figure.wide_ties());
        }
        cell(Some(r.aupr_in), of(|v| Some(v.aupr_in)), None);
        cell(Some(r.aupr_out), of(|v| Some(v.aupr_out)), None);
        cell(r.aupr_in_trapezoid, of(|v| v.aupr_in_trapezoid), None);
        cell(r.aupr_out_trapezoid, of(|v| v.aupr_out_trapezoid), None);
        cell(r.aurc, None, None);
        rows += &format!(
            "<td>{}</td><td>{}</td></tr>",
            format_count(r.n_id),
            format_count(r.n_ood)
        );
    }
    let columns_before_aurc = results.results.first().map_or(6, |r| 6 + further(r).len());
    for r in &results.id_results {
        rows += &format!(
            "<tr><th scope=\"row\"><bdi>{}</bdi></th><td class=\"word\">ID alone</td><td class=\"word\">{}</td>{}\
             <td>{}</td><td>{}</td><td>–</td></tr>",
            escape(&results.id.name),
            escape(title(r.score)),
            "<td>–</td>".repeat(columns_before_aurc),
            format_percent(r.aurc),
            format_count(results.id.n),
        );
    }
    let other_rates = results.results.first().map(further).unwrap_or_default();
    let heading: String = ["set", "kind", "score", "AUROC", "FPR95"]
        .map(str::to_owned)
        .into_iter()
        .chain(other_rates.iter().map(FprFigure::name))
        .chain(
            [
                "AUPR-in, average precision",
                "AUPR-out, average precision",
                "AUPR-in, trapezoid",
                "AUPR-out, trapezoid",
                "AURC",
                "ID images",
                "OOD images",
            ]
            .map(str::to_owned),
        )
        .map(|name| format!("<th scope=\"col\">{name}</th>"))
        .collect();
    format!(
        "<div class=\"scroll\"><table><thead><tr>{heading}</tr></thead><tbody>{rows}</tbody></table></div>\
         <p class=\"note\">AURC: area under the risk-coverage curve; out-of-distribution images and wrong \
         predictions are errors. Lower is better.</p>"
    )
}
