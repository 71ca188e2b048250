use std::path::Path;

use serde_json::Value;

use super::html::{images, text};
use super::results_table::{full_table, main_table};
use super::sections::Sections;
use super::{ReportError, calibration, runs, summary};
use crate::{Evaluation, Precision, Record, Results, Spread};
use clipn_ood::metrics::FprConvention;
use clipn_ood::scores::Score;

/// Options of a report.
#[derive(Debug, Clone)]
pub struct ReportOptions {
    /// Heading of the page, such as the benchmark's name.
    pub title: String,
    /// Description of the run, as in `results.json`: a JSON object, or null for none.
    pub settings: Value,
    /// Precision that the scores were computed in.
    pub precision: Precision,
    /// Convention of the results' FPR95.
    pub fpr_convention: FprConvention,
    /// Score that decides on the example images; `None` for ATD, else CTW, else the last of the
    /// evaluation.
    pub deciding_score: Option<&'static dyn Score>,
    /// Minimum score that is kept, in the published unit; `None` for the threshold that keeps 95 %
    /// of the in-distribution images.
    pub threshold: Option<f64>,
    /// Maximum number of images in a row; 0 for a report without images.
    pub examples: usize,
    /// Long side of a thumbnail, in pixels.
    pub thumbnail_side: u32,
    /// Spread of the metrics, if the evaluation was repeated.
    pub spread: Option<Spread>,
}

impl Default for ReportOptions {
    fn default() -> Self {
        Self {
            title: "Evaluation".to_owned(),
            settings: Value::Null,
            precision: Precision::default(),
            fpr_convention: FprConvention::default(),
            deciding_score: None,
            threshold: None,
            examples: 8,
            thumbnail_side: 192,
            spread: None,
        }
    }
}

/// Writes the report of an evaluation as one self-contained HTML file.
///
/// # Errors
/// Same as [`render_html`], and [`ReportError::Write`] if the file cannot be written.
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
         out-of-distribution, in the histograms below. The outermost bars include all values beyond \
         them. {rule}</p>\n"
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
pub fn write_record_html(path: &Path, record: &Record, title: &str) -> Result<(), ReportError> {
    let html = render_record_html(record, title);
    std::fs::write(path, html).map_err(|source| ReportError::Write {
        path: path.to_owned(),
        source,
    })
}

/// Renders a page of results without the images' scores: table, runs and settings, without charts
/// and images.
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
        lead: summary_line(results, sets.len(), sets.iter().map(|(_, n)| n).sum()),
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
    sets: String,
    id: String,
    convention: &'a str,
    settings: &'a Value,
}

impl Page<'_> {
    fn render(&self) -> String {
        let spread = self.spread.map_or(String::new(), |spread| {
            format!(" Shown: {}.", spread.explained())
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
    summary_line(results, evaluation.ood.len(), outside)
}

/// Returns a one-line description of the evaluation.
fn summary_line(results: &Results, sets: usize, outside: usize) -> String {
    let name = text(&results.id.name);
    format!(
        "<bdi>{name}</bdi> ({}) against {} of {sets} out-of-distribution {}",
        images(results.id.n),
        images(outside),
        if sets == 1 { "set" } else { "sets" },
    )
}
