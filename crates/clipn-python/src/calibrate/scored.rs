//! Scored images, and the choice of a score for them.

use clipn::calibration::{ComparisonSettings, ScoreColumn, ScoreComparison, compare_scores};
use clipn::classifier::Classifier;
use clipn::count::count;
use clipn::detector::Detector;
use clipn::fitting::FitSplit;
use clipn::scores::Score;
use pyo3::prelude::*;

use super::fit::FitPlan;
use super::input::{Input, Run, Scored};
use crate::errors::{OrRaise, warn};

/// Images with the values of all candidates.
pub(super) struct ScoredImages {
    pub(super) candidates: Vec<&'static dyn Score>,
    id: Vec<Scored>,
    ood: Vec<Scored>,
    /// Indices of the in-distribution images that no score was fitted to; `None` if none was fitted.
    held_out: Option<Vec<usize>>,
    classifier: Classifier,
    /// What was skipped, and why.
    pub(super) skipped: Vec<String>,
}

impl ScoredImages {
    /// Fits the scores of the plan to a part of the in-distribution images, and scores all images. A comparison adds
    /// the scores that were fitted to the candidates.
    pub(super) fn new(
        py: Python<'_>,
        (id, ood): (Input, Option<Input>),
        mut detector: Detector,
        (mut candidates, plan): (Vec<&'static dyn Score>, Option<&FitPlan>),
        is_comparison: bool,
        run: Run<'_>,
    ) -> PyResult<Self> {
        let mut held_out = None;
        let (id, mut skipped) = match plan {
            None => id.scored(py, &detector, &candidates, run)?,
            Some(plan) => {
                let (rows, skipped) = id.features(py, &detector, run)?;
                let classifier = detector.classifier().clone();
                let classes = rows.classes(classifier.class_names());
                let split = FitSplit::new(&classes, plan.fraction, plan.settings.seed);
                let (features, of_features) =
                    split.rows_to_fit(&rows.features, &classes, classifier.dim());
                let fit = plan.fit(py, &classifier, (&features, &of_features))?;
                detector = detector
                    .with_classifier(classifier.with_fit(fit).or_raise()?)
                    .or_raise()?;
                if is_comparison {
                    candidates = detector.classifier().score_inputs().available();
                }
                held_out = Some(split.threshold);
                let scored = rows.scored(py, detector.classifier(), &candidates)?;
                (scored, skipped)
            }
        };
        let (ood, more) = match ood {
            Some(ood) => ood.scored(py, &detector, &candidates, run)?,
            None => (Vec::new(), Vec::new()),
        };
        skipped.extend(more);
        Ok(Self {
            candidates,
            id,
            ood,
            held_out,
            classifier: detector.classifier().clone(),
            skipped,
        })
    }

    /// The in-distribution images that no score was fitted to.
    fn held_out(&self) -> Vec<&Scored> {
        match &self.held_out {
            Some(indices) => indices.iter().map(|&index| &self.id[index]).collect(),
            None => self.id.iter().collect(),
        }
    }

    /// Compares the candidates. A score that is not finite for an image is left out with a warning.
    pub(super) fn compare(
        &self,
        py: Python<'_>,
        settings: &ComparisonSettings,
    ) -> PyResult<ScoreComparison> {
        let id = self.held_out();
        let mut columns = Vec::with_capacity(self.candidates.len());
        for (index, &score) in self.candidates.iter().enumerate() {
            let column = ScoreColumn {
                score,
                id: id.iter().map(|image| image.values[index]).collect(),
                ood: self.ood.iter().map(|image| image.values[index]).collect(),
            };
            match column.non_finite() {
                0 => columns.push(column),
                left_out => {
                    let images = count(id.len() + self.ood.len(), "image");
                    let message =
                        format!("left out {score}: not finite for {left_out} of {images}");
                    warn(py, &message)?;
                }
            }
        }
        compare_scores(&columns, settings).or_raise()
    }

    /// The images that the threshold of a candidate comes from, and the classifier that computes it: all
    /// in-distribution images for a score that is not fitted.
    pub(super) fn choose(
        mut self,
        score: &'static dyn Score,
    ) -> PyResult<(Vec<Scored>, Vec<Scored>, Classifier)> {
        let fit = match (score.fitted(), self.classifier.fit()) {
            (Some(fitted), Some(fit)) => {
                let fit = fit.clone().only(fitted);
                self.id = self.held_out().into_iter().cloned().collect();
                Some(fit)
            }
            _ => None,
        };
        if let Some(index) = self.candidates.iter().position(|other| *other == score) {
            for image in self.id.iter_mut().chain(&mut self.ood) {
                image.sample.choose(score, image.values[index]);
            }
        }
        Ok((self.id, self.ood, self.classifier.with_fit(fit).or_raise()?))
    }
}
