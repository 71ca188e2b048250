//! Sections of the page for each set: charts and example images.

use std::cell::Cell;
use std::path::PathBuf;

use clipn_ood::metrics::RankedScores;
use clipn_ood::scores::Score;

use super::charts::{ScoreCurve, histogram, roc_curves};
use super::decisions::{Example, KEPT_FRACTION, SetDecisions, threshold_for_fraction};
use super::error::ReportError;
use super::gallery::{Gallery, GalleryRow, View, common_parent, published};
use super::html::{escape, format_images, format_percent, format_score};
use super::options::ReportOptions;
use crate::evaluation::{Evaluation, ImageRow, ScorePrecision, SetScores};

/// Data common to all sections of a page.
pub(super) struct Sections<'a> {
    pub(super) evaluation: &'a Evaluation,
    pub(super) options: &'a ReportOptions,
    /// Index of the score that decides, and its threshold in the precision of the evaluation.
    pub(super) deciding_score: Option<(usize, f64)>,
    /// Number of figures with maps so far.
    maps: Cell<usize>,
}

/// Returns one score of every readable image of a set.
pub(super) fn column(set: &SetScores, index: usize) -> Vec<f64> {
    let value = |row: &ImageRow| row.outcome.as_ref().ok()?.scores.get(index).copied();
    set.rows.iter().filter_map(value).collect()
}

/// Returns the name of a score's values in the precision that they were computed in.
pub(super) fn unit(score: &dyn Score, precision: ScorePrecision) -> String {
    // A score whose unit differs in log space is a probability.
    let logarithm = precision == ScorePrecision::F64 && score.to_stable(0.5) != 0.5;
    if logarithm {
        format!("ln {}", score.display_name())
    } else {
        score.display_name().to_owned()
    }
}

impl<'a> Sections<'a> {
    /// Selects the score that decides and its threshold.
    pub(super) fn new(evaluation: &'a Evaluation, options: &'a ReportOptions) -> Self {
        let position = |name: &str| {
            evaluation
                .scores
                .iter()
                .position(|score| score.name() == name)
        };
        let index = match options.deciding_score {
            Some(score) => position(score.name()),
            None => ["atd-neg", "atd", "ctw", "neglabel", "maxlogit"]
                .into_iter()
                .find_map(position),
        };
        let index = index.or_else(|| evaluation.scores.len().checked_sub(1));
        let deciding_score = index.map(|index| {
            let given = options.threshold.map(|value| match options.precision {
                ScorePrecision::F32 => value,
                ScorePrecision::F64 => options
                    .stable_threshold
                    .unwrap_or_else(|| evaluation.scores[index].to_stable(value)),
            });
            (
                index,
                given.unwrap_or_else(|| {
                    threshold_for_fraction(&column(&evaluation.id, index), KEPT_FRACTION)
                }),
            )
        });
        Self {
            evaluation,
            options,
            deciding_score,
            maps: Cell::new(0),
        }
    }

    /// Returns a sentence on how the example images were decided.
    pub(super) fn rule(&self) -> String {
        let Some((index, threshold)) = self.deciding_score else {
            return String::new();
        };
        let score = self.evaluation.scores[index];
        let shown = format_score(published(score, self.options.precision, threshold));
        let why = match self.options.threshold {
            Some(_) => "as set for this report",
            None => "which keeps 95 % of the in-distribution images",
        };
        format!(
            "Example images are decided by {} at the threshold {shown}, {why}; \
             images below it are “unknown”.",
            score.display_name()
        )
    }

    /// Returns the section of the out-of-distribution set `set`, whose position is `number`.
    pub(super) fn ood(&self, number: usize, set: &SetScores) -> Result<String, ReportError> {
        let evaluation = self.evaluation;
        let mut curves = Vec::new();
        let mut histograms = String::new();
        for (index, score) in evaluation.scores.iter().enumerate() {
            let (id, ood) = (column(&evaluation.id, index), column(set, index));
            let wrap = |source| ReportError::Metric {
                score: score.name(),
                ood: set.name.clone(),
                source,
            };
            let ranked = RankedScores::new(&id, &ood).map_err(wrap)?;
            let is_deciding = self
                .deciding_score
                .is_some_and(|(deciding, _)| deciding == index);
            curves.push(ScoreCurve {
                name: score.display_name().to_owned(),
                index,
                is_deciding,
                auroc: ranked.auroc(),
                roc: ranked.roc(),
            });
            let threshold = self
                .deciding_score
                .filter(|(deciding_score, _)| *deciding_score == index)
                .map(|(_, t)| t);
            histograms += &self.histogram(*score, &set.name, &id, &ood, threshold);
        }
        let kind = set.kind.map_or(String::new(), |kind| {
            format!("<span class=\"badge\">{kind}</span>")
        });
        let mut html = format!(
            "<section id=\"set-{number}\"><h2><bdi>{}</bdi> {kind}</h2>",
            escape(&set.name)
        );
        if !curves.is_empty() {
            let title = format!("ROC curves on {}", set.name);
            let (roc, legend) = roc_curves(&title, &curves);
            html += &format!(
                "<div class=\"charts\"><figure class=\"chart roc\"><h3>ROC curves, AUROC in %</h3>{roc}{legend}</figure>\
                 <div class=\"histograms\">{histograms}</div></div>"
            );
        }
        Ok(html + &self.ood_examples(set) + "</section>")
    }

    fn histogram(
        &self,
        score: &dyn Score,
        set: &str,
        id: &[f64],
        ood: &[f64],
        threshold: Option<f64>,
    ) -> String {
        let unit = unit(score, self.options.precision);
        let chart = histogram(&format!("{unit} on {set}"), &unit, id, ood, threshold);
        format!(
            "<figure class=\"chart\"><h3>{}</h3>{chart}</figure>",
            escape(score.display_name())
        )
    }

    fn gallery(&self, index: usize) -> Gallery<'_> {
        Gallery {
            class_names: &self.evaluation.class_names,
            score: self.evaluation.scores[index],
            precision: self.options.precision,
            side: self.options.thumbnail_side,
            evidence: &self.options.evidence,
            view: View::new(self.options.preprocessing.as_ref()),
            maps: &self.maps,
        }
    }

    fn ood_examples(&self, set: &SetScores) -> String {
        let Some((index, threshold)) = self.deciding_score else {
            return String::new();
        };
        let gallery = self.gallery(index);
        let root = root_of(set);
        let rows = self.ood_rows(&SetDecisions::new(set, index, threshold));
        rows.iter().map(|row| gallery.row(row, &root)).collect()
    }

    fn ood_rows<'s>(&self, decided: &SetDecisions<'s>) -> [GalleryRow<'s>; 2] {
        let (kept, all, max) = (
            decided.kept(),
            decided.examples.len(),
            self.options.max_examples,
        );
        let fraction = format_percent(kept as f64 / all.max(1) as f64);
        [
            GalleryRow {
                heading: "Wrongly kept as one of the classes",
                note: format!(
                    "{kept} of {} ({fraction} %) are kept; shown are the highest scores.",
                    format_images(all)
                ),
                right: false,
                examples: decided.highest(max, |e| e.kept),
            },
            GalleryRow {
                heading: "Correctly rejected as unknown",
                note: format!(
                    "{} of {}; shown are the lowest scores.",
                    all - kept,
                    format_images(all)
                ),
                right: true,
                examples: decided.lowest(max, |e| !e.kept),
            },
        ]
    }

    /// Returns the section of the in-distribution set.
    pub(super) fn id(&self) -> String {
        let Some((index, threshold)) = self.deciding_score else {
            return String::new();
        };
        let set = &self.evaluation.id;
        let (gallery, root) = (self.gallery(index), root_of(set));
        let rows = self.id_rows(&SetDecisions::new(set, index, threshold));
        let images_html: String = rows.iter().map(|row| gallery.row(row, &root)).collect();
        if images_html.is_empty() {
            return String::new();
        }
        let name = escape(&set.name);
        format!(
            "<section id=\"id\"><h2><bdi>{name}</bdi> <span class=\"badge\">in-distribution</span></h2>{images_html}</section>"
        )
    }

    fn id_rows<'s>(&self, decided: &SetDecisions<'s>) -> [GalleryRow<'s>; 3] {
        let (all, max) = (decided.examples.len(), self.options.max_examples);
        let labeled = |e: &Example<'_>| e.row.label.is_some();
        let wrong = |e: &Example<'_>| e.row.label.is_some_and(|label| label != e.prediction);
        let kept = if decided.examples.iter().any(labeled) {
            "Kept and correct"
        } else {
            "Kept"
        };
        let note = |which: &str, filter: &dyn Fn(&Example<'_>) -> bool| {
            let count = decided.examples.iter().filter(|e| filter(e)).count();
            format!(
                "{count} of {}; shown are the {which} scores.",
                format_images(all)
            )
        };
        [
            GalleryRow {
                heading: kept,
                note: note("highest", &|e| e.kept && !wrong(e)),
                right: true,
                examples: decided.highest(max, |e| e.kept && !wrong(e)),
            },
            GalleryRow {
                heading: "Kept, but assigned to a wrong class",
                note: note("highest", &|e| e.kept && wrong(e)),
                right: false,
                examples: decided.highest(max, |e| e.kept && wrong(e)),
            },
            GalleryRow {
                heading: "Wrongly rejected as unknown",
                note: note("lowest", &|e| !e.kept),
                right: false,
                examples: decided.lowest(max, |e| !e.kept),
            },
        ]
    }

    /// Returns the paths of all example images.
    pub(super) fn example_paths(&self) -> Vec<PathBuf> {
        let Some((index, threshold)) = self.deciding_score else {
            return Vec::new();
        };
        let decide = |set| SetDecisions::new(set, index, threshold);
        let mut rows: Vec<GalleryRow<'_>> = self.id_rows(&decide(&self.evaluation.id)).into();
        for set in &self.evaluation.ood {
            rows.extend(self.ood_rows(&decide(set)));
        }
        let examples = rows.iter().flat_map(|row| &row.examples);
        examples.map(|example| example.row.path.clone()).collect()
    }
}

fn root_of(set: &SetScores) -> PathBuf {
    common_parent(set.rows.iter().map(|row| row.path.as_path()))
}
