use std::path::{Path, PathBuf};

use serde_json::Value;

use super::error::ReportError;
use super::html::{escape, format_images};
use super::options::ReportOptions;
use super::results_table::{full_table, main_table};
use super::sections::Sections;
use super::{calibration, runs, streams, summary};
use crate::evaluation::Evaluation;
use crate::record::EvaluationRecord;
use crate::results::Results;
use crate::spread::Spread;

/// Writes the report of an evaluation as one self-contained HTML file.
///
/// # Errors
/// Same as [`render_html`], and [`ReportError::Write`] if the file cannot be written.
pub fn write_html(
    path: impl AsRef<Path>,
    evaluation: &Evaluation,
    results: &Results,
    options: &ReportOptions,
) -> Result<(), ReportError> {
    let html = render_html(evaluation, results, options)?;
    let path = path.as_ref();
    clipn_base::files::replace(path, html).map_err(|source| ReportError::Write {
        path: path.to_owned(),
        source,
    })
}

/// Returns the paths of the example images of a report, for [`ReportOptions::with_evidence`].
pub fn example_images(evaluation: &Evaluation, options: &ReportOptions) -> Vec<PathBuf> {
    Sections::new(evaluation, options).example_paths()
}

/// Renders the report of an evaluation. Images are read from their files; an unreadable one leaves
/// an empty frame.
///
/// # Errors
/// [`ReportError::Metric`] if the ROC curve of a score cannot be computed. [`Results::compute`]
/// rejects such scores first.
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
    let streams = options.streams.as_ref();
    if streams.is_some() {
        links += &format!("<a href=\"#{}\">streams</a>", streams::ID);
    }
    for (number, set) in evaluation.ood.iter().enumerate() {
        sets += &sections.ood(number, set)?;
        links += &format!(
            "<a href=\"#set-{number}\"><bdi>{}</bdi></a>",
            escape(&set.name)
        );
    }
    let id = sections.id();
    if !id.is_empty() {
        links += &format!(
            "<a href=\"#id\"><bdi>{}</bdi></a>",
            escape(&evaluation.id.name)
        );
    }
    let rule = if options.max_examples == 0 {
        String::new()
    } else {
        escape(sections.rule())
    };
    let legend = format!(
        "<p class=\"note\"><span class=\"swatch id\"></span>in-distribution <span class=\"swatch ood\"></span>\
         out-of-distribution, in the histograms below. The outermost bars include all values beyond \
         them. {rule}</p>\n"
    );
    let page = Page {
        title: &options.title,
        lead: lead(evaluation, results) + &model(&options.settings),
        classes: Some(evaluation.class_names.len()),
        results,
        spread: options.spread.as_ref(),
        links,
        legend,
        calibration,
        streams: streams.map_or(String::new(), streams::section),
        sets,
        id,
        convention: options.fpr_convention.as_str(),
        settings: &options.settings,
    };
    Ok(page.render())
}

/// Writes a page with only the tables of results, such as those of merged runs; see
/// [`render_record_html`].
///
/// # Errors
/// [`ReportError::Write`] if the file cannot be written.
pub fn write_record_html(
    path: impl AsRef<Path>,
    record: &EvaluationRecord,
    title: &str,
) -> Result<(), ReportError> {
    let html = render_record_html(record, title);
    let path = path.as_ref();
    clipn_base::files::replace(path, html).map_err(|source| ReportError::Write {
        path: path.to_owned(),
        source,
    })
}

/// Renders a page of results without the images' scores: table, runs and settings, without charts
/// and images.
pub fn render_record_html(record: &EvaluationRecord, title: &str) -> String {
    let EvaluationRecord {
        results,
        settings,
        spread,
        streams,
    } = record;
    let mut sets: Vec<(&str, usize)> = results
        .results
        .iter()
        .map(|r| (r.ood.as_str(), r.n_ood))
        .collect();
    sets.dedup();
    let page = Page {
        title,
        lead: summary_line(results, sets.len(), sets.iter().map(|(_, n)| n).sum())
            + &model(settings),
        classes: settings["classes"]
            .as_u64()
            .and_then(|n| usize::try_from(n).ok()),
        results,
        spread: spread.as_ref(),
        links: String::new(),
        legend: String::new(),
        calibration: spread.as_ref().map_or(String::new(), runs::section),
        streams: streams.as_ref().map_or(String::new(), streams::section),
        sets: String::new(),
        id: String::new(),
        convention: settings["fpr_convention"].as_str().unwrap_or("unknown"),
        settings,
    };
    page.render()
}

/// Content of a page. Texts are HTML already, except for title and convention.
struct Page<'a> {
    title: &'a str,
    lead: String,
    classes: Option<usize>,
    results: &'a Results,
    spread: Option<&'a Spread>,
    links: String,
    legend: String,
    calibration: String,
    streams: String,
    sets: String,
    id: String,
    convention: &'a str,
    settings: &'a Value,
}

impl Page<'_> {
    fn render(&self) -> String {
        let spread = self.spread.map_or(String::new(), |spread| {
            format!(" Shown: {}.", spread.description())
        });
        let ties = self.results.ties_description();
        let spread = ties.map_or(String::new(), |ties| format!(" {ties}.")) + &spread;
        format!(
            include_str!("page.html"),
            style = include_str!("style.css"),
            title = escape(self.title),
            lead = self.lead,
            tiles = summary::tiles(self.results, self.spread, self.classes),
            links = self.links,
            table = main_table(self.results, self.spread),
            convention = escape(self.convention),
            spread = escape(spread),
            legend = self.legend,
            calibration = self.calibration,
            streams = self.streams,
            sets = self.sets,
            id = self.id,
            full = full_table(self.results, self.spread, self.convention),
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
    summary_line(results, evaluation.ood.len(), outside)
}

/// Returns the model of the settings, which follows the description; empty if they name none.
fn model(settings: &Value) -> String {
    let named = settings["bundle"]
        .as_str()
        .or(settings["pretrained"].as_str());
    let Some(weights) = named else {
        return String::new();
    };
    let architecture = settings["model"]["name"].as_str();
    format!(
        ", scored by <bdi>{}</bdi>{}",
        escape(weights),
        architecture.map_or(String::new(), |name| format!(" ({})", escape(name)))
    )
}

/// Returns a one-line description of the evaluation.
fn summary_line(results: &Results, sets: usize, outside: usize) -> String {
    let name = escape(&results.id.name);
    format!(
        "<bdi>{name}</bdi> ({}) against {} of {sets} out-of-distribution {}",
        format_images(results.id.n),
        format_images(outside),
        if sets == 1 { "set" } else { "sets" },
    )
}
