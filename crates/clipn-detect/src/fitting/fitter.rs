use clipn_base::features::row_problem;
use clipn_checkpoint::Tensor;
use clipn_model::Real;
use clipn_ood::fitted::{FitError, FitSettings, Fitted, ScoreFit, ScoreFitter};
use clipn_ood::scores::FittedScoreSet;
use half::f16;

use crate::classifier::{Classifier, ClassifierError};
use crate::fitting::FittingError;
use crate::inference::{ItemError, map_features, unit_features};

/// Images whose logits are computed at a time.
const BLOCK: usize = 4096;

/// Fits scores to features of in-distribution images of a classifier's model, in one pass and bounded
/// memory. The [module page](crate::fitting) has an example.
#[derive(Debug)]
pub struct ClassifierFitter {
    /// The "yes" side of the classifier, with its scale.
    classifier: Classifier,
    fitter: ScoreFitter,
    /// Features that were not yet added to the fitter, and their labels.
    features: Vec<f32>,
    labels: Vec<Option<usize>>,
}

impl ClassifierFitter {
    /// Prepares to fit scores.
    ///
    /// # Errors
    /// [`FittingError::Fit`] for invalid settings.
    pub fn new(
        classifier: &Classifier,
        scores: FittedScoreSet,
        settings: FitSettings,
    ) -> Result<Self, FittingError> {
        let names = classifier.class_names();
        let yes = classifier.yes_weights().to_vec();
        Ok(Self {
            classifier: Classifier::new(names.to_vec(), yes, None)?.with_scale(classifier.scale()),
            fitter: ScoreFitter::new(names, classifier.dim(), scores, settings)?,
            features: Vec::new(),
            labels: Vec::new(),
        })
    }

    /// Dimension D of the features.
    pub fn dim(&self) -> usize {
        self.classifier.dim()
    }

    /// Number of images that were added.
    pub fn images(&self) -> usize {
        self.fitter.images() + self.labels.len()
    }

    /// Adds the features `[D]` of an image, normalized or not, and its class.
    ///
    /// # Errors
    /// [`FittingError::Item`] for features that are not finite or 0, [`FittingError::Fit`] for a label
    /// out of range, [`FittingError::Classifier`] for another dimension: the image is then not added. Another
    /// error may be that of images that were added before, which are lost.
    pub fn add(&mut self, feature: &[f32], label: Option<usize>) -> Result<(), FittingError> {
        let (index, classes) = (self.images(), self.classifier.len());
        if feature.len() != self.dim() {
            return Err(ClassifierError::FeatureDimension {
                expected: self.dim(),
                found: feature.len(),
            }
            .into());
        }
        if let Some(problem) = row_problem(feature) {
            let source = ItemError::InvalidRow { problem };
            return Err(FittingError::Item { index, source });
        }
        if let Some(label) = label.filter(|&label| label >= classes) {
            return Err(FitError::Label {
                index,
                label,
                classes,
            }
            .into());
        }
        self.features.extend_from_slice(feature);
        self.labels.push(label);
        if self.labels.len() < BLOCK {
            return Ok(());
        }
        self.flush()
    }

    fn flush(&mut self) -> Result<(), FittingError> {
        let first = self.fitter.images();
        let dim = self.classifier.dim();
        let features = unit_features(std::mem::take(&mut self.features), dim);
        let labels = std::mem::take(&mut self.labels);
        let rows = map_features(&self.classifier, features.values(), |_, row| {
            row.map(|row| row.yes.to_vec())
        })?;
        let mut logits = Vec::with_capacity(rows.len() * self.classifier.len());
        for (index, row) in rows.into_iter().enumerate() {
            let index = first + index;
            logits.extend(row.map_err(|source| FittingError::Item { index, source })?);
        }
        Ok(self.fitter.add(features.values(), &logits, &labels)?)
    }

    /// Fits the scores.
    ///
    /// # Errors
    /// [`FittingError::Fit`] without images, and the errors of [`add`](Self::add). A score that cannot
    /// be fitted is in [`Fitted::left_out`] instead.
    pub fn finish(mut self) -> Result<Fitted, FittingError> {
        self.flush()?;
        Ok(self.fitter.finish(&self.classifier.scaled_yes_weights())?)
    }
}

/// Rounds the kept features of a fit to 16 bits, as bundles store them: so scores have the same bits
/// before and after a bundle.
///
/// # Errors
/// [`FittingError::Fit`] if the fit does not belong to the classifier.
pub fn round_bank(fit: ScoreFit, classifier: &Classifier) -> Result<ScoreFit, FittingError> {
    if fit.bank().is_empty() {
        return Ok(fit);
    }
    let half = half_bank(&fit)?;
    Ok(fit.with_bank(
        f32::load(&half).into_vec(),
        &classifier.scaled_yes_weights(),
    )?)
}

/// The kept features in `f16`, `[B, D]`.
pub(super) fn half_bank(fit: &ScoreFit) -> Result<Tensor, FittingError> {
    let bits = fit.bank().iter().map(|v| f16::from_f32(*v).to_bits());
    let bits: Vec<u16> = bits.collect();
    let summary = fit.summary();
    Ok(Tensor::from_f16_bits(&[summary.bank, summary.dim], &bits)?)
}
