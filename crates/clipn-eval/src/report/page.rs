use std::path::Path;

use serde_json::Value;

use super::html::{images, text};
use super::results_table::{full_table, main_table};
use super::sections::Sections;
use super::{ReportError, calibration, runs, summary};
use crate::{Evaluation, Precision, Record, Results, Spread};
use clipn_ood::metrics::FprConvention;
use clipn_ood::scores::Score;

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
    /// How the figures vary, where the evaluation was repeated.
    pub spread: Option<Spread>,
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
            spread: None,
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
    std::fs::write(path, html).map_err(|source| ReportError::Write {
        path: path.to_owned(),
        source,
    })
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
    let calibration = calibration::section(&sections);
    if !calibration.is_empty() {
        links += "<a href=\"#calibration\">calibration</a>";
    }
    for (number, set) in evaluation.ood.iter().enumerate() {
        sets += &sections.ood(number, set)?;
        links += &format!(
            "<a href=\"#set-{number}\"><bdi>{}</bdi></a>",
            text(&set.name)
        );
    }
    let id = sections.id();
    if !id.is_empty() {
        links += &format!(
            "<a href=\"#id\"><bdi>{}</bdi></a>",
            text(&evaluation.id.name)
        );
    }
    let rule = if options.examples == 0 {
        String::new()
    } else {
        text(sections.rule())
    };
    let legend = format!(
        "<p class=\"note\"><span class=\"swatch id\"></span>in-distribution <span class=\"swatch ood\"></span>\
         out-of-distribution, in the histograms below. The outermost bars hold what lies beyond them. {rule}</p>\n"
    );
    let page = Page {
        title: &options.title,
        lead: lead(evaluation, results),
        classes: Some(evaluation.class_names.len()),
        results,
        spread: options.spread.as_ref(),
        links,
        legend,
        calibration,
        sets,
        id,
        convention: options.fpr_convention.name(),
        settings: &options.settings,
    };
    Ok(page.render())
}

/// Writes a page with the tables of results alone, as those of merged runs; see [`render_record_html`].
///
/// # Errors
/// [`ReportError::Write`].
pub fn write_record_html(path: &Path, record: &Record, title: &str) -> Result<(), ReportError> {
    let html = render_record_html(record, title);
    std::fs::write(path, html).map_err(|source| ReportError::Write {
        path: path.to_owned(),
        source,
    })
}

/// The page of results of which the images' scores are not at hand: table, runs, settings, without charts and pictures.
pub fn render_record_html(record: &Record, title: &str) -> String {
    let Record {
        results,
        settings,
        spread,
    } = record;
    let mut sets: Vec<(&str, usize)> = results
        .results
        .iter()
        .map(|r| (r.ood.as_str(), r.n_ood))
        .collect();
    sets.dedup();
    let page = Page {
        title,
        lead: told(results, sets.len(), sets.iter().map(|(_, n)| n).sum()),
        classes: settings["classes"]
            .as_u64()
            .and_then(|n| usize::try_from(n).ok()),
        results,
        spread: spread.as_ref(),
        links: String::new(),
        legend: String::new(),
        calibration: spread.as_ref().map_or(String::new(), runs::section),
        sets: String::new(),
        id: String::new(),
        convention: settings["fpr_convention"].as_str().unwrap_or("unknown"),
        settings,
    };
    page.render()
}

/// What a page is made of; text that is HTML already, but for the title and the convention.
struct Page<'a> {
    title: &'a str,
    lead: String,
    classes: Option<usize>,
    results: &'a Results,
    spread: Option<&'a Spread>,
    links: String,
    legend: String,
    calibration: String,
    sets: String,
    id: String,
    convention: &'a str,
    settings: &'a Value,
}

impl Page<'_> {
    fn render(&self) -> String {
        let spread = self.spread.map_or(String::new(), |spread| {
            format!(" ±: {}.", spread.explained())
        });
        format!(
            include_str!("page.html"),
            style = include_str!("style.css"),
            title = text(self.title),
            lead = self.lead,
            tiles = summary::tiles(self.results, self.spread, self.classes),
            links = self.links,
            table = main_table(self.results, self.spread),
            convention = text(self.convention),
            spread = text(spread),
            legend = self.legend,
            calibration = self.calibration,
            sets = self.sets,
            id = self.id,
            full = full_table(self.results, self.spread),
            skipped = summary::skipped(self.results),
            settings = summary::settings(self.settings),
            version = env!("CARGO_PKG_VERSION"),
        )
    }
}

fn lead(evaluation: &Evaluation, results: &Results) -> String {
    let outside: usize = evaluation
        .ood
        .iter()
        .map(|set| set.rows.iter().filter(|r| r.outcome.is_ok()).count())
        .sum();
    told(results, evaluation.ood.len(), outside)
}

/// What was evaluated, in a line.
fn told(results: &Results, sets: usize, outside: usize) -> String {
    let name = text(&results.id.name);
    format!(
        "<bdi>{name}</bdi> ({}) against {} of {sets} out-of-distribution {}",
        images(results.id.n),
        images(outside),
        if sets == 1 { "set" } else { "sets" },
    )
}
