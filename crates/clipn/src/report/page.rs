use std::path::Path;

use serde_json::Value;

use super::html::{images, text};
use super::results_table::{full_table, main_table};
use super::sections::Sections;
use super::{ReportError, summary};
use crate::evaluation::{Evaluation, Precision, Results};
use crate::metrics::FprConvention;
use crate::scores::Score;

/// What a report shows beside the figures.
#[derive(Debug, Clone)]
pub struct ReportOptions {
    /// The heading, the benchmark's name for instance.
    pub title: String,
    /// Whatever describes the run, as in `results.json`; an object, or null for none.
    pub settings: Value,
    /// The arithmetic that the scores were computed in.
    pub precision: Precision,
    /// How the results' FPR95 was read off the curve.
    pub fpr_convention: FprConvention,
    /// The score that decides on the pictures; without one ATD, CTW or the last of the evaluation, whichever is there.
    pub decider: Option<&'static dyn Score>,
    /// The least score that is kept, in the published unit; without one what keeps 95 % of the in-distribution images.
    pub threshold: Option<f64>,
    /// The most pictures in a row; 0 for a report without pictures.
    pub examples: usize,
    /// The long side of a picture's copy, in pixels.
    pub thumbnail_side: u32,
}

impl Default for ReportOptions {
    fn default() -> Self {
        Self {
            title: "Evaluation".to_owned(),
            settings: Value::Null,
            precision: Precision::default(),
            fpr_convention: FprConvention::default(),
            decider: None,
            threshold: None,
            examples: 8,
            thumbnail_side: 192,
        }
    }
}

/// Writes the report of an evaluation as one HTML file that needs no other.
///
/// # Errors
/// [`ReportError::Write`], and as [`render_html`].
pub fn write_html(
    path: &Path,
    evaluation: &Evaluation,
    results: &Results,
    options: &ReportOptions,
) -> Result<(), ReportError> {
    let html = render_html(evaluation, results, options)?;
    std::fs::write(path, html).map_err(|source| ReportError::Write { path: path.to_owned(), source })
}

/// The report of an evaluation. Pictures are read from their files; one that is gone leaves an empty frame.
///
/// # Errors
/// [`ReportError::Metric`] for scores of which there is no curve; [`Results::compute`] has refused those before.
pub fn render_html(
    evaluation: &Evaluation,
    results: &Results,
    options: &ReportOptions,
) -> Result<String, ReportError> {
    let sections = Sections::new(evaluation, options);
    let mut sets = String::new();
    let mut links = String::new();
    for (number, set) in evaluation.ood.iter().enumerate() {
        sets += &sections.ood(number, set)?;
        links += &format!("<a href=\"#set-{number}\"><bdi>{}</bdi></a>", text(&set.name));
    }
    let id = sections.id();
    if !id.is_empty() {
        links += &format!("<a href=\"#id\"><bdi>{}</bdi></a>", text(&evaluation.id.name));
    }
    let rule = if options.examples == 0 { String::new() } else { sections.rule() };
    Ok(format!(
        include_str!("page.html"),
        style = include_str!("style.css"),
        title = text(&options.title),
        lead = lead(evaluation, results),
        tiles = summary::tiles(results, evaluation.class_names.len()),
        links = links,
        table = main_table(results),
        convention = options.fpr_convention,
        rule = text(rule),
        sets = sets,
        id = id,
        full = full_table(results),
        skipped = summary::skipped(results),
        settings = summary::settings(&options.settings),
        version = env!("CARGO_PKG_VERSION"),
    ))
}

fn lead(evaluation: &Evaluation, results: &Results) -> String {
    let outside: usize =
        evaluation.ood.iter().map(|set| set.rows.iter().filter(|r| r.outcome.is_ok()).count()).sum();
    let (name, sets) = (text(&results.id.name), evaluation.ood.len());
    format!(
        "<bdi>{name}</bdi> ({}) against {} of {sets} out-of-distribution {}",
        images(results.id.n),
        images(outside),
        if sets == 1 { "set" } else { "sets" },
    )
}
