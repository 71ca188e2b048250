//! Tiles above the table, and lists at the end of the page.

use serde_json::Value;

use super::html::{escape, format_count, format_images};
use super::results_table::{format_ties, format_with_spread, title};
use crate::metric_spread::MetricSpread;
use crate::results::{Average, Results, SkippedImage};
use crate::spread::{MetricSpreads, Spread};

/// Maximum number of skipped images to list.
const MAX_LISTED: usize = 50;

/// Maximum number of characters of a setting.
const MAX_CHARS: usize = 400;

/// Returns the tiles of key metrics.
pub(super) fn tiles(results: &Results, spread: Option<&Spread>, classes: Option<usize>) -> String {
    let mut tiles = Vec::new();
    let means = results
        .averages
        .iter()
        .filter(|average| average.kind.is_none());
    let mut sets: Vec<&str> = results.results.iter().map(|r| r.ood.as_str()).collect();
    sets.sort_unstable();
    sets.dedup();
    let best_of = |metric: &str, score: &str| {
        let mean = if sets.len() > 1 { "mean " } else { "" };
        format!("best {mean}{metric}, {}", title(score))
    };
    let varied = |average: &Average, of: fn(&MetricSpreads) -> MetricSpread| {
        spread.and_then(|spread| Some((spread, of(spread.average(average.score, average.kind)?))))
    };
    if let Some(best) = means.clone().max_by(|a, b| a.auroc.total_cmp(&b.auroc)) {
        let figure = format_with_spread(best.auroc, varied(best, |v| v.auroc));
        tiles.push((figure + " %", best_of("AUROC", best.score)));
    }
    if let Some(best) = means.min_by(|a, b| a.fpr95.total_cmp(&b.fpr95)) {
        let figure = format_with_spread(best.fpr95, varied(best, |v| v.fpr95));
        let ties = format_ties(best.wide_ties());
        tiles.push((figure + &ties + " %", best_of("FPR95", best.score)));
    }
    if let Some(accuracy) = results.accuracy {
        let varied = spread.and_then(|spread| Some((spread, spread.accuracy?)));
        let classes = classes.map_or(String::new(), |n| {
            format!(" over {} classes", format_count(n))
        });
        tiles.push((
            format_with_spread(accuracy, varied) + " %",
            format!("accuracy{classes}"),
        ));
    }
    tiles.push((
        format_count(results.id.n),
        format!("images of {}", results.id.name),
    ));
    if !results.skipped.is_empty() {
        tiles.push((
            format_count(results.skipped.len()),
            "images that could not be read".to_owned(),
        ));
    }
    let tile = |(figure, what): &(String, String)| {
        // The spread does not fit beside the value.
        let (figure, what) = match figure
            .strip_suffix(" %")
            .and_then(|figure| figure.split_once(" ± "))
        {
            Some((center, spread)) => (format!("{center} %"), format!("± {spread}: {what}")),
            None => (figure.clone(), what.clone()),
        };
        format!(
            "<div class=\"tile\"><b>{}</b><span>{}</span></div>",
            escape(figure),
            escape(what)
        )
    };
    format!(
        "<div class=\"tiles\">{}</div>",
        tiles.iter().map(tile).collect::<String>()
    )
}

/// Returns the list of images excluded from the metrics; empty if all were read.
pub(super) fn skipped(results: &Results) -> String {
    if results.skipped.is_empty() {
        return String::new();
    }
    let item = |s: &SkippedImage| {
        format!(
            "<li><bdi>{}</bdi>: <bdi>{}</bdi></li>",
            escape(&s.set),
            escape(&s.error)
        )
    };
    let items: String = results.skipped.iter().take(MAX_LISTED).map(item).collect();
    let more = match results.skipped.len().saturating_sub(MAX_LISTED) {
        0 => String::new(),
        more => format!(
            "<p class=\"note\">and {} more, listed in results.json</p>",
            format_count(more)
        ),
    };
    format!(
        "<details><summary>{} could not be read and {} excluded from all metrics</summary>\
         <ul>{items}</ul>{more}</details>",
        format_images(results.skipped.len()),
        if results.skipped.len() == 1 {
            "is"
        } else {
            "are"
        },
    )
}

/// Returns the table of the run's settings, nested objects with dotted names; empty without
/// settings.
pub(super) fn settings(settings: &Value) -> String {
    let mut rows = Vec::new();
    flatten("", settings, &mut rows);
    if rows.is_empty() {
        return String::new();
    }
    let row = |(name, value): &(String, String)| {
        format!("<tr><th scope=\"row\">{name}</th><td>{value}</td></tr>")
    };
    let rows: String = rows.iter().map(row).collect();
    format!(
        "<details><summary>settings</summary><div class=\"scroll\"><table class=\"settings\"><tbody>{rows}</tbody></table>\
         </div></details>"
    )
}

fn flatten(name: &str, value: &Value, rows: &mut Vec<(String, String)>) {
    let shown = match value {
        Value::Object(map) => {
            for (key, value) in map {
                let inner = if name.is_empty() {
                    key.clone()
                } else {
                    format!("{name}.{key}")
                };
                flatten(&inner, value, rows);
            }
            return;
        }
        Value::Null if name.is_empty() => return,
        Value::Null => "–".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let cut: String = shown.chars().take(MAX_CHARS).collect();
    let ellipsis = if cut.len() < shown.len() { " …" } else { "" };
    rows.push((escape(name), escape(cut + ellipsis)));
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn nested_settings_have_dotted_names() {
        let html =
            settings(&json!({"a": {"b": [1, 2]}, "c": null, "d": "<x>", "e": "y".repeat(900)}));
        assert!(html.contains("a.b</th><td>[1,2]</td>"), "{html}");
        assert!(
            html.contains("c</th><td>–</td>") && html.contains("&lt;x&gt;"),
            "{html}"
        );
        assert!(html.contains(&("y".repeat(MAX_CHARS) + " …")), "{html}");
        assert_eq!(settings(&Value::Null), "");
        assert_eq!(settings(&json!({})), "");
    }
}
