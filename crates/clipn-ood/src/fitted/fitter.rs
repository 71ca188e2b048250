use std::sync::Arc;

use super::bank::{FeatureBank, Reservoir, widen};
use super::fdbd::Fdbd;
use super::gaussian::{ClassGaussians, Gaussian, Whitening};
use super::knn::Knn;
use super::mds::Mds;
use super::moments::{Moments, norm};
use super::nnguide::NnGuide;
use super::react::{React, percentile};
use super::residual::Residual;
use super::rmds::Rmds;
use super::score_fit::{check_count, needs_bank};
use super::scorer::FeatureScorer;
use super::she::She;
use super::subspace::Residuals;
use super::vim::Vim;
use super::{FdbdNorm, FitError, FitSettings, FitSummary, FitWarning, ScoreFit};
use crate::scores::{ClassSums, FittedScore, FittedScoreSet, argmax, logsumexp};

/// Fits scores to in-distribution images in one pass, in bounded memory.
///
/// Means and covariances are exact, whatever the number of images. Neighbors, ReAct's percentile and the
/// α of ViM come from a bank: all images up to [`FitSettings::bank`], else a random sample of them. Memory
/// is O(D² + K·D + K² + bank·D).
///
/// ```
/// use clipn_ood::fitted::{FitSettings, ScoreFitter};
/// use clipn_ood::scores::{FittedScore, FittedScoreSet};
///
/// let settings: FitSettings = "knn-k=1".parse()?;
/// let classes = ["cat".to_owned(), "dog".to_owned()];
/// let scores: FittedScoreSet = [FittedScore::Knn].into_iter().collect();
/// let mut fitter = ScoreFitter::new(&classes, 2, scores, settings)?;
/// // Features [N, D], logits [N, K] and labels [N] of two images.
/// fitter.add(&[1.0, 0.0, 0.0, 1.0], &[100.0_f32, 0.0, 0.0, 100.0], &[Some(0), None])?;
/// // The weights of the classes [K, D], with the scale of the logits.
/// let fitted = fitter.finish(&[100.0_f32, 0.0, 0.0, 100.0])?;
/// assert!(fitted.left_out.is_empty());
///
/// let values = fitted.fit.values(&[0.6, 0.8], &[60.0, 80.0], &[]);
/// // The squared distance from (0, 1).
/// assert!((values.get(FittedScore::Knn) + 0.4).abs() < 1e-6);
/// # Ok::<(), clipn_ood::fitted::FitError>(())
/// ```
#[derive(Debug, Clone)]
pub struct ScoreFitter {
    class_names: Vec<String>,
    dim: usize,
    scores: FittedScoreSet,
    settings: FitSettings,
    moments: Moments,
    /// Features of the rightly classified images of each class.
    correct: Option<Moments>,
    softmax: Option<ClassSums>,
    reservoir: Option<Reservoir>,
    labeled: usize,
}

/// Fitted scores, and why others could not be fitted.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Fitted {
    /// The scores that could be fitted.
    pub fit: ScoreFit,
    /// One error for each of the other requested scores.
    pub left_out: Vec<(FittedScore, FitError)>,
}

/// Number of features of one block of a stream.
const BLOCK: usize = 1024;

impl ScoreFitter {
    /// Prepares to fit scores to features of dimension `dim` and logits of these classes.
    ///
    /// # Errors
    /// [`FitError::NoClasses`] without classes or for a dimension of 0, and the errors of
    /// [`FitSettings::validate`].
    pub fn new(
        class_names: &[String],
        dim: usize,
        scores: FittedScoreSet,
        settings: FitSettings,
    ) -> Result<Self, FitError> {
        settings.validate()?;
        let classes = class_names.len();
        if classes == 0 || dim == 0 {
            return Err(FitError::NoClasses { classes, dim });
        }
        let has = |score| scores.contains(score);
        let with_products = [
            FittedScore::Mds,
            FittedScore::Rmds,
            FittedScore::Vim,
            FittedScore::Residual,
        ]
        .into_iter()
        .any(has);
        let needs_reservoir =
            needs_bank(scores) || has(FittedScore::Vim) || has(FittedScore::React);
        Ok(Self {
            class_names: class_names.to_vec(),
            dim,
            scores,
            settings,
            moments: Moments::new(dim, classes, with_products),
            correct: has(FittedScore::She).then(|| Moments::new(dim, classes, false)),
            softmax: has(FittedScore::KlMatching).then(|| ClassSums::new(classes)),
            reservoir: needs_reservoir.then(|| Reservoir::new(dim, settings.bank, settings.seed)),
            labeled: 0,
        })
    }

    /// Number of images that were added.
    pub fn images(&self) -> usize {
        self.moments.count()
    }

    /// Adds images: features `[N, D]`, "yes" logits `[N, K]` and labels, `[N]` or none. The predicted
    /// class stands in for the label of an image without one.
    ///
    /// # Errors
    /// [`FitError::Length`] for shapes that do not match, [`FitError::NotFinite`] and
    /// [`FitError::Label`] with the index of the image among those of this call. After an error, none of
    /// the images was added.
    pub fn add<T: Copy + Into<f64>>(
        &mut self,
        features: &[f32],
        logits: &[T],
        labels: &[Option<usize>],
    ) -> Result<(), FitError> {
        let (dim, classes) = (self.dim, self.class_names.len());
        let images = features.len() / dim;
        for (what, expected, got) in [
            ("features", images * dim, features.len()),
            ("logits", images * classes, logits.len()),
        ] {
            if expected != got {
                return Err(FitError::Length {
                    what,
                    expected,
                    got,
                });
            }
        }
        if !labels.is_empty() && labels.len() != images {
            return Err(FitError::Length {
                what: "labels",
                expected: images,
                got: labels.len(),
            });
        }
        self.check(features, logits, labels)?;
        for first in (0..images).step_by(BLOCK) {
            let count = BLOCK.min(images - first);
            let labels = labels.get(first..first + count).unwrap_or_default();
            self.add_block(
                &features[first * dim..][..count * dim],
                &logits[first * classes..][..count * classes],
                labels,
            );
        }
        Ok(())
    }

    /// Checks every image of a call, before any is added.
    fn check<T: Copy + Into<f64>>(
        &self,
        features: &[f32],
        logits: &[T],
        labels: &[Option<usize>],
    ) -> Result<(), FitError> {
        let classes = self.class_names.len();
        let images = features.chunks_exact(self.dim);
        for (index, (row, logits)) in images.zip(logits.chunks_exact(classes)).enumerate() {
            let has_direction = row.iter().any(|value| *value != 0.0);
            let is_finite = row.iter().all(|value| value.is_finite())
                && logits.iter().all(|&logit| logit.into().is_finite());
            if !(is_finite && has_direction) {
                return Err(FitError::NotFinite { index });
            }
            let label = labels.get(index).copied().flatten();
            if let Some(label) = label.filter(|label| *label >= classes) {
                return Err(FitError::Label {
                    index,
                    label,
                    classes,
                });
            }
        }
        Ok(())
    }

    /// Adds at most [`BLOCK`] images that were checked.
    fn add_block<T: Copy + Into<f64>>(
        &mut self,
        features: &[f32],
        logits: &[T],
        labels: &[Option<usize>],
    ) {
        let (dim, classes) = (self.dim, self.class_names.len());
        let rows = widen(features);
        let mut assigned = Vec::with_capacity(rows.len() / dim);
        let mut is_correct = Vec::with_capacity(rows.len() / dim);
        let images = rows.chunks_exact(dim).zip(logits.chunks_exact(classes));
        for (index, (_, logits)) in images.enumerate() {
            let logits = widen(logits);
            let label = labels.get(index).copied().flatten();
            let predicted = argmax(&logits);
            self.labeled += usize::from(label.is_some());
            assigned.push(label.unwrap_or(predicted));
            is_correct.push(label.is_none_or(|label| label == predicted));
            if let Some(sums) = &mut self.softmax {
                sums.add(&logits);
            }
            if let Some(reservoir) = &mut self.reservoir {
                let own = &features[index * dim..][..dim];
                reservoir.add(own, logsumexp(logits.iter().copied()), logits[predicted]);
            }
        }
        self.moments.add(&rows, &assigned);
        if let Some(correct) = &mut self.correct {
            let images = rows.chunks_exact(dim).zip(&assigned).zip(&is_correct);
            let kept: Vec<(&[f64], usize)> = images
                .filter(|(_, is_correct)| **is_correct)
                .map(|((row, class), _)| (row, *class))
                .collect();
            let rows: Vec<f64> = kept.iter().flat_map(|(row, _)| *row).copied().collect();
            let classes: Vec<usize> = kept.iter().map(|(_, class)| *class).collect();
            if !classes.is_empty() {
                correct.add(&rows, &classes);
            }
        }
    }

    /// Fits the scores. `weights` are the rows of the classes, `[K, D]`, times the scale of the logits.
    ///
    /// # Errors
    /// [`FitError::NoImages`] if none was added, [`FitError::Length`] if the weights have another shape.
    /// A score that cannot be fitted is in [`Fitted::left_out`] instead.
    pub fn finish<T: Copy + Into<f64>>(mut self, weights: &[T]) -> Result<Fitted, FitError> {
        let images = self.images();
        if images == 0 {
            return Err(FitError::NoImages);
        }
        let expected = self.class_names.len() * self.dim;
        if weights.len() != expected {
            return Err(FitError::Length {
                what: "weights",
                expected,
                got: weights.len(),
            });
        }
        let weights = Arc::new(widen(weights));
        let (bank, mean_max_logit) = match self.reservoir.take() {
            Some(reservoir) => reservoir.finish(),
            None => (FeatureBank::new(Vec::new(), Vec::new(), self.dim), 0.0),
        };
        let mut fitting = Fitting {
            summary: self.summary(&bank),
            bank: Arc::new(bank),
            mean_max_logit,
            weights,
            classes: None,
            residuals: None,
            fitter: self,
        };
        if fitting.bank.len() < images && fitting.bank.len() > 0 {
            fitting.summary.warnings.push(FitWarning::Sampled {
                bank: fitting.bank.len(),
                images,
            });
        }
        let (mut scorers, mut left_out) = (Vec::new(), Vec::new());
        for score in fitting.fitter.scores.iter() {
            match fitting.fit(score) {
                Ok(scorer) => scorers.push((score, scorer)),
                Err(error) => left_out.push((score, error)),
            }
        }
        let mut summary = fitting.summary;
        summary.scores = scorers.iter().map(|(score, _)| *score).collect();
        summary.bank = if needs_bank(summary.scores) {
            fitting.bank.len()
        } else {
            0
        };
        let fit = ScoreFit::new(summary, scorers, fitting.bank);
        Ok(Fitted { fit, left_out })
    }

    fn summary(&self, bank: &FeatureBank) -> FitSummary {
        FitSummary {
            scores: self.scores,
            settings: self.settings,
            dim: self.dim,
            principal_dim: self.settings.principal_dim(self.dim),
            classes: self.class_names.len(),
            images: self.images(),
            labeled: self.labeled,
            bank: bank.len(),
            nnguide_bank: self.settings.nnguide_bank(self.images(), bank.len()),
            warnings: Vec::new(),
        }
    }
}

/// What the scores are fitted from, and the parts that several of them share.
struct Fitting {
    fitter: ScoreFitter,
    summary: FitSummary,
    bank: Arc<FeatureBank>,
    mean_max_logit: f64,
    weights: Arc<Vec<f64>>,
    classes: Option<Arc<ClassGaussians>>,
    residuals: Option<Arc<Residuals>>,
}

impl Fitting {
    fn fit(&mut self, score: FittedScore) -> Result<Arc<dyn FeatureScorer>, FitError> {
        let settings = self.fitter.settings;
        Ok(match score {
            FittedScore::Knn => {
                let k = settings.knn_k;
                check_count(score, self.bank.len(), k)?;
                let bank = Arc::clone(&self.bank);
                Arc::new(Knn { bank, k })
            }
            FittedScore::NnGuide => {
                let (rows, k) = (self.summary.nnguide_bank, settings.nnguide_k);
                check_count(score, rows, k)?;
                let bank = Arc::clone(&self.bank);
                Arc::new(NnGuide { bank, rows, k })
            }
            FittedScore::Mds => Arc::new(Mds {
                classes: self.classes(score)?,
            }),
            FittedScore::Rmds => {
                let means = (0..self.fitter.class_names.len())
                    .filter(|&class| self.fitter.moments.class_mean(class).is_some());
                let present = means.count();
                if present < 2 {
                    let score = score.as_str();
                    return Err(FitError::TooFewClasses { score, present });
                }
                let classes = self.classes(score)?;
                let moments = &self.fitter.moments;
                let whitening = self.whitening(moments.covariance(), score)?;
                let background = Gaussian::new(whitening, &self.fitter.moments.mean());
                Arc::new(Rmds {
                    classes,
                    background,
                })
            }
            FittedScore::Residual => Arc::new(Residual {
                residuals: self.residuals(score)?,
            }),
            FittedScore::Vim => {
                let residuals = self.residuals(score)?;
                let rows = self.bank.rows().chunks_exact(self.fitter.dim);
                let lengths = rows.map(|row| {
                    let row = widen(row);
                    (residuals.length(&row), norm(&row))
                });
                let sums = lengths.fold((0.0, 0.0), |sums, (outside, whole)| {
                    (sums.0 + outside, sums.1 + whole)
                });
                // The images of the bank may all be in it, if it has a part of them. Alpha would be that of rounding errors.
                if sums.0 <= 0.01 * f64::from(f32::EPSILON) * sums.1 {
                    let score = score.as_str();
                    let images = self.bank.len();
                    return Err(FitError::NoResidual { score, images });
                }
                let mean = sums.0 / self.bank.len() as f64;
                let alpha = self.mean_max_logit / mean;
                Arc::new(Vim { residuals, alpha })
            }
            FittedScore::She => Arc::new(self.she()?),
            FittedScore::Fdbd => {
                if settings.fdbd_norm == FdbdNorm::Mean && !self.fitter.moments.varies() {
                    let score = score.as_str();
                    return Err(FitError::NoSpread { score });
                }
                let mean = self.fitter.moments.mean();
                let weights = Arc::clone(&self.weights);
                Arc::new(Fdbd::new(weights, mean, settings.fdbd_norm))
            }
            FittedScore::React => {
                let mut values = self.bank.rows().to_vec();
                Arc::new(React {
                    weights: Arc::clone(&self.weights),
                    threshold: percentile(&mut values, settings.react_percentile),
                })
            }
            FittedScore::KlMatching => match self.fitter.softmax.take() {
                Some(sums) => Arc::new(sums.finish()),
                None => return Err(FitError::NoImages),
            },
        })
    }

    /// Inverts a covariance, and warns if it is singular.
    fn whitening(
        &mut self,
        covariance: Vec<f64>,
        score: FittedScore,
    ) -> Result<Whitening, FitError> {
        let dim = self.fitter.dim;
        let rounding = self.fitter.moments.rounding();
        let whitening = Whitening::new(covariance, dim, rounding, score.as_str())?;
        if whitening.rank() < dim {
            self.summary.warnings.push(FitWarning::SingularCovariance {
                score,
                rank: whitening.rank(),
                dim,
            });
        }
        Ok(whitening)
    }

    fn classes(&mut self, score: FittedScore) -> Result<Arc<ClassGaussians>, FitError> {
        if let Some(classes) = &self.classes {
            return Ok(Arc::clone(classes));
        }
        let whitening = self.whitening(self.fitter.moments.covariance_within_classes(), score)?;
        self.warn_of_predicted_labels();
        let means: Vec<Option<Vec<f64>>> = (0..self.fitter.class_names.len())
            .map(|class| self.fitter.moments.class_mean(class))
            .collect();
        let absent: Vec<usize> = (0..means.len()).filter(|c| means[*c].is_none()).collect();
        if let Some(&first) = absent.first() {
            let first = self.fitter.class_names[first].clone();
            self.summary
                .warnings
                .push(FitWarning::ClassesWithoutImages {
                    classes: absent.len(),
                    first,
                });
        }
        let classes = Arc::new(ClassGaussians::new(whitening, &means));
        self.classes = Some(Arc::clone(&classes));
        Ok(classes)
    }

    fn residuals(&mut self, score: FittedScore) -> Result<Arc<Residuals>, FitError> {
        if let Some(residuals) = &self.residuals {
            return Ok(Arc::clone(residuals));
        }
        let (dim, principal) = (self.fitter.dim, self.summary.principal_dim);
        let score = score.as_str();
        if principal >= dim {
            return Err(FitError::PrincipalDim {
                score,
                dim,
                principal,
            });
        }
        let second_moment = self.fitter.moments.second_moment();
        let images = self.fitter.images();
        let residuals = Arc::new(Residuals::new(
            second_moment,
            dim,
            principal,
            images,
            score,
        )?);
        self.residuals = Some(Arc::clone(&residuals));
        Ok(residuals)
    }

    fn she(&mut self) -> Result<She, FitError> {
        let (mut patterns, mut without_images, mut none_correct) =
            (Vec::new(), Vec::new(), Vec::new());
        for class in 0..self.fitter.class_names.len() {
            let correct = self.fitter.correct.as_ref();
            match correct.and_then(|correct| correct.class_mean(class)) {
                Some(mean) => patterns.extend(mean),
                None => match self.fitter.moments.class_mean(class) {
                    Some(mean) => {
                        none_correct.push(class);
                        patterns.extend(mean);
                    }
                    None => without_images.push(class),
                },
            }
        }
        if let Some(&first) = without_images.first() {
            return Err(FitError::ClassWithoutImages {
                score: FittedScore::She.as_str(),
                class: self.fitter.class_names[first].clone(),
                others: without_images.len() - 1,
            });
        }
        self.warn_of_predicted_labels();
        if let Some(&first) = none_correct.first() {
            let first = self.fitter.class_names[first].clone();
            self.summary
                .warnings
                .push(FitWarning::NoneRightlyClassified {
                    classes: none_correct.len(),
                    first,
                });
        }
        Ok(She {
            patterns,
            dim: self.fitter.dim,
        })
    }

    fn warn_of_predicted_labels(&mut self) {
        let images = self.summary.images;
        let unlabeled = images - self.summary.labeled;
        let warning = FitWarning::PredictedLabels { unlabeled, images };
        if unlabeled > 0 && !self.summary.warnings.contains(&warning) {
            self.summary.warnings.push(warning);
        }
    }
}
