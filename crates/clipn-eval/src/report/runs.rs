//! The table of merged runs.

use serde_json::Value;

use super::html::{escape, format_percent};
use super::results_table::{format_ties, title};
use crate::spread::{RunSummary, Spread};

/// Maximum number of characters of a setting.
const MAX_CHARS: usize = 120;

/// Returns a table of the runs: accuracy, mean AUROC and FPR95 of every score, and the settings in
/// which the run differs; empty without runs.
pub(super) fn section(spread: &Spread) -> String {
    let Some(first) = spread.runs.first() else {
        return String::new();
    };
    let scores: Vec<&str> = first
        .averages
        .iter()
        .filter(|a| a.kind.is_none())
        .map(|average| average.score)
        .collect();
    let mut head = "<th scope=\"col\">run</th><th scope=\"col\">accuracy</th>".to_owned();
    for score in &scores {
        head += &format!("<th scope=\"col\">{}</th>", escape(title(score)));
    }
    head += "<th scope=\"col\" class=\"word\">differing settings</th>";
    let rows: String = spread.runs.iter().map(|run| row(run, &scores)).collect();
    format!(
        "<section id=\"runs\"><h2>Runs</h2><div class=\"scroll\"><table class=\"runs\"><thead><tr>{head}</tr></thead>\
         <tbody>{rows}</tbody></table></div>\
         <p class=\"note\">Mean AUROC / FPR95 over all sets for each run, in per cent.</p></section>"
    )
}

fn row(run: &RunSummary, scores: &[&str]) -> String {
    let accuracy = run.accuracy.map_or("–".to_owned(), format_percent);
    let mut row = format!(
        "<tr><th scope=\"row\"><bdi>{}</bdi></th><td>{accuracy}</td>",
        escape(&run.path)
    );
    for score in scores {
        let average = run
            .averages
            .iter()
            .find(|a| a.kind.is_none() && a.score == *score);
        let shown = average.map_or("–".to_owned(), |a| {
            format!(
                "{} / {}{}",
                format_percent(a.auroc),
                format_percent(a.fpr95),
                format_ties(a.wide_ties())
            )
        });
        row += &format!("<td>{shown}</td>");
    }
    let differing = run
        .settings
        .iter()
        .filter(|(_, value)| !value.is_object())
        .map(|(key, value)| {
            let shown = match value {
                Value::String(text) => text.clone(),
                other => other.to_string(),
            };
            let cut: String = shown.chars().take(MAX_CHARS).collect();
            escape(format!("{key} {cut}"))
        });
    row + &format!(
        "<td class=\"word\">{}</td></tr>",
        differing.collect::<Vec<_>>().join("<br>")
    )
}
