//! The part of the page that belongs to one set: its charts and its pictures.

use std::path::PathBuf;

use super::charts::{histogram, legend, roc_curves};
use super::examples::{Example, Judged, KEPT, threshold};
use super::gallery::{Gallery, Row, common_folder, published};
use super::html::{figure, images, percent, text};
use super::{ReportError, ReportOptions};
use crate::{Evaluation, ImageRow, Precision, ScoredSet};
use clipn_ood::metrics::{RankedScores, Roc};
use clipn_ood::scores::Score;

/// The sections of a page: what they have in common.
pub(super) struct Sections<'a> {
    pub(super) evaluation: &'a Evaluation,
    pub(super) options: &'a ReportOptions,
    /// The index of the score that decides, and its threshold in the unit of the evaluation.
    pub(super) decider: Option<(usize, f64)>,
}

/// One score of every image of a set that was read.
pub(super) fn column(set: &ScoredSet, index: usize) -> Vec<f64> {
    let value = |row: &ImageRow| row.outcome.as_ref().ok()?.scores.get(index).copied();
    set.rows.iter().filter_map(value).collect()
}

/// What a score's values are called, in the arithmetic that they were computed in.
pub(super) fn unit(score: &dyn Score, precision: Precision) -> String {
    // A score that has another unit in log space is a probability there.
    let logarithm = precision == Precision::F64 && score.to_stable(0.5) != 0.5;
    if logarithm {
        format!("ln {}", score.title())
    } else {
        score.title().to_owned()
    }
}

impl<'a> Sections<'a> {
    /// Settles which score decides, and where.
    pub(super) fn new(evaluation: &'a Evaluation, options: &'a ReportOptions) -> Self {
        let wanted = |name: &str| {
            evaluation
                .scores
                .iter()
                .position(|score| score.name() == name)
        };
        let index = match options.decider {
            Some(score) => wanted(score.name()),
            None => wanted("atd").or_else(|| wanted("ctw")),
        };
        let index = index.or_else(|| evaluation.scores.len().checked_sub(1));
        let decider = index.map(|index| {
            let given = options.threshold.map(|value| match options.precision {
                Precision::F32 => value,
                Precision::F64 => evaluation.scores[index].to_stable(value),
            });
            (
                index,
                given.unwrap_or_else(|| threshold(&column(&evaluation.id, index), KEPT)),
            )
        });
        Self {
            evaluation,
            options,
            decider,
        }
    }

    /// How the decisions of the pictures come about.
    pub(super) fn rule(&self) -> String {
        let Some((index, threshold)) = self.decider else {
            return String::new();
        };
        let score = self.evaluation.scores[index];
        let shown = figure(published(score, self.options.precision, threshold));
        let why = match self.options.threshold {
            Some(_) => "as set for this report",
            None => "where 95 % of the in-distribution images are kept",
        };
        format!(
            "Pictures are judged by {} at {shown}, {why}; below it they are “unknown”.",
            score.title()
        )
    }

    /// The section of the out-of-distribution set of that number.
    pub(super) fn ood(&self, number: usize, set: &ScoredSet) -> Result<String, ReportError> {
        let evaluation = self.evaluation;
        let (mut curves, mut names): (Vec<Roc>, Vec<(String, String)>) = Default::default();
        let mut histograms = String::new();
        for (index, score) in evaluation.scores.iter().enumerate() {
            let (id, ood) = (column(&evaluation.id, index), column(set, index));
            let wrap = |source| ReportError::Metric {
                score: score.name(),
                ood: set.name.clone(),
                source,
            };
            let ranked = RankedScores::new(&id, &ood).map_err(wrap)?;
            curves.push(ranked.roc());
            let name = format!("{} {}", score.title(), percent(ranked.auroc()));
            names.push((format!("s{index}"), name));
            let threshold = self
                .decider
                .filter(|(decider, _)| *decider == index)
                .map(|(_, t)| t);
            histograms += &self.histogram(*score, &set.name, &id, &ood, threshold);
        }
        let kind = set.kind.map_or(String::new(), |kind| {
            format!("<span class=\"badge\">{kind}</span>")
        });
        let mut html = format!(
            "<section id=\"set-{number}\"><h2><bdi>{}</bdi> {kind}</h2>",
            text(&set.name)
        );
        if !curves.is_empty() {
            let roc = roc_curves(&format!("ROC curves on {}", set.name), &curves);
            let legend = legend(&names);
            html += &format!(
                "<div class=\"charts\"><figure class=\"chart roc\"><h3>ROC curves, AUROC in %</h3>{roc}{legend}</figure>\
                 <div class=\"histograms\">{histograms}</div></div>"
            );
        }
        Ok(html + &self.ood_pictures(set) + "</section>")
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
            text(score.title())
        )
    }

    fn gallery(&self, index: usize) -> Gallery<'_> {
        Gallery {
            class_names: &self.evaluation.class_names,
            score: self.evaluation.scores[index],
            precision: self.options.precision,
            side: self.options.thumbnail_side,
        }
    }

    fn ood_pictures(&self, set: &ScoredSet) -> String {
        let Some((index, threshold)) = self.decider else {
            return String::new();
        };
        let (judged, gallery) = (Judged::new(set, index, threshold), self.gallery(index));
        let (kept, all, most) = (judged.kept(), judged.examples.len(), self.options.examples);
        let share = percent(kept as f64 / all.max(1) as f64);
        let root = root_of(set);
        let rows = [
            Row {
                heading: "Mistaken for one of the classes",
                note: format!(
                    "{kept} of {}, or {share} %, are kept; these score highest.",
                    images(all)
                ),
                right: false,
                examples: judged.highest(most, |e| e.kept),
            },
            Row {
                heading: "Rightly unknown",
                note: format!("{} of {}; these score lowest.", all - kept, images(all)),
                right: true,
                examples: judged.lowest(most, |e| !e.kept),
            },
        ];
        rows.iter().map(|row| gallery.row(row, &root)).collect()
    }

    /// The section of the in-distribution set.
    pub(super) fn id(&self) -> String {
        let Some((index, threshold)) = self.decider else {
            return String::new();
        };
        let set = &self.evaluation.id;
        let (judged, gallery) = (Judged::new(set, index, threshold), self.gallery(index));
        let (all, most, root) = (judged.examples.len(), self.options.examples, root_of(set));
        let labelled = |e: &Example<'_>| e.row.label.is_some();
        let wrong = |e: &Example<'_>| e.row.label.is_some_and(|label| label != e.prediction);
        let kept = if judged.examples.iter().any(labelled) {
            "Kept and right"
        } else {
            "Kept"
        };
        let note = |which: &str, wanted: &dyn Fn(&Example<'_>) -> bool| {
            let count = judged.examples.iter().filter(|e| wanted(e)).count();
            format!("{count} of {}; these score {which}.", images(all))
        };
        let rows = [
            Row {
                heading: kept,
                note: note("highest", &|e| e.kept && !wrong(e)),
                right: true,
                examples: judged.highest(most, |e| e.kept && !wrong(e)),
            },
            Row {
                heading: "Kept, but another class",
                note: note("highest", &|e| e.kept && wrong(e)),
                right: false,
                examples: judged.highest(most, |e| e.kept && wrong(e)),
            },
            Row {
                heading: "Mistaken for unknown",
                note: note("lowest", &|e| !e.kept),
                right: false,
                examples: judged.lowest(most, |e| !e.kept),
            },
        ];
        let pictures: String = rows.iter().map(|row| gallery.row(row, &root)).collect();
        if pictures.is_empty() {
            return String::new();
        }
        let name = text(&set.name);
        format!(
            "<section id=\"id\"><h2><bdi>{name}</bdi> <span class=\"badge\">in-distribution</span></h2>{pictures}</section>"
        )
    }
}

fn root_of(set: &ScoredSet) -> PathBuf {
    common_folder(set.rows.iter().map(|row| row.path.as_path()))
}
