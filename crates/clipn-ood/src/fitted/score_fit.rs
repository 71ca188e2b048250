use std::fmt;
use std::sync::Arc;

use super::bank::FeatureBank;
use super::fdbd::Fdbd;
use super::gaussian::{ClassGaussians, Gaussian};
use super::knn::Knn;
use super::mds::Mds;
use super::moments::norm;
use super::nnguide::NnGuide;
use super::react::React;
use super::residual::Residual;
use super::rmds::Rmds;
use super::scorer::{FeatureScorer, FitTensor, FittedImage, StoredTensors};
use super::she::She;
use super::subspace::Residuals;
use super::vim::Vim;
use super::{FitError, FitSummary};
use crate::scores::{FittedScore, FittedScoreSet, FittedValues, KlMatching, argmax, logsumexp};

/// Scores that were fitted to in-distribution images by a [`ScoreFitter`](super::ScoreFitter), whose
/// page has an example. Clones are cheap.
#[derive(Clone)]
pub struct ScoreFit {
    summary: Arc<FitSummary>,
    scorers: Vec<(FittedScore, Arc<dyn FeatureScorer>)>,
    bank: Arc<FeatureBank>,
}

/// Whether a score compares images with the bank.
pub(super) fn needs_bank(scores: FittedScoreSet) -> bool {
    [FittedScore::Knn, FittedScore::NnGuide]
        .into_iter()
        .any(|score| scores.contains(score))
}

impl ScoreFit {
    pub(super) fn new(
        summary: FitSummary,
        scorers: Vec<(FittedScore, Arc<dyn FeatureScorer>)>,
        bank: Arc<FeatureBank>,
    ) -> Self {
        let bank = if needs_bank(summary.scores) {
            bank
        } else {
            Arc::new(FeatureBank::new(Vec::new(), Vec::new(), summary.dim))
        };
        Self {
            summary: Arc::new(summary),
            scorers,
            bank,
        }
    }

    /// What the scores were fitted to, and how.
    pub fn summary(&self) -> &FitSummary {
        &self.summary
    }

    /// The fitted scores.
    pub fn scores(&self) -> FittedScoreSet {
        self.summary.scores
    }

    /// Keeps one score, and drops the state of the others.
    #[must_use]
    pub fn only(self, score: FittedScore) -> Self {
        let mut summary = (*self.summary).clone();
        let scorers = self.scorers.into_iter().filter(|(kept, _)| *kept == score);
        let scorers: Vec<_> = scorers.collect();
        summary.scores = scorers.iter().map(|(score, _)| *score).collect();
        if !needs_bank(summary.scores) {
            summary.bank = 0;
        }
        Self::new(summary, scorers, self.bank)
    }

    /// Features of the images to compare with, `[B, D]`, as they were given; empty if no score needs
    /// them.
    pub fn bank(&self) -> &[f32] {
        self.bank.rows()
    }

    /// Features of the images to compare with, of length 1, `[B, D]`.
    pub fn normalized_bank(&self) -> Vec<f32> {
        self.bank.normalized()
    }

    /// Computes the scores of one image from its feature `[D]`, finite and not 0, and its "yes" logits
    /// `[K]`. `cosines` are those of the feature with the [bank](Self::bank), `[B]`, computed in `f32`:
    /// a matrix product of many images is faster. They select candidates only, and are computed here
    /// if there are none.
    ///
    /// All values are NaN if a length does not match.
    pub fn values(&self, feature: &[f64], logits: &[f64], cosines: &[f32]) -> FittedValues {
        let mut values = FittedValues::default();
        let (summary, bank) = (&self.summary, &self.bank);
        let is_usable = feature.len() == summary.dim
            && logits.len() == summary.classes
            && feature.iter().chain(logits).all(|value| value.is_finite());
        if !is_usable {
            return values;
        }
        let computed;
        let cosines = if cosines.len() == bank.len() {
            cosines
        } else {
            let length = norm(feature);
            let unit: Vec<f64> = feature.iter().map(|value| value / length).collect();
            computed = bank.cosines(&unit);
            &computed
        };
        let image = FittedImage {
            feature,
            logits,
            energy: logsumexp(logits.iter().copied()),
            class: argmax(logits),
            cosines,
        };
        for (score, scorer) in &self.scorers {
            values.set(*score, scorer.value(&image));
        }
        values
    }

    /// Returns the scores with the rows of the bank replaced, `[B, D]`: those that a file can hold, such
    /// as values rounded to 16 bits.
    ///
    /// # Errors
    /// [`FitError::Length`] for another number of values, [`FitError::InvalidValues`] if one is not
    /// finite.
    pub fn with_bank(self, rows: Vec<f32>, weights: &[f64]) -> Result<Self, FitError> {
        let energies = self.bank.energies().to_vec();
        Self::from_tensors(
            (*self.summary).clone(),
            self.tensors(),
            rows,
            energies,
            weights,
        )
    }

    /// Returns the scores for the same classes in another order: class i is `order[i]` of this one.
    /// `weights` are those of the classes in the new order.
    ///
    /// # Errors
    /// [`FitError::Length`] if the order is no permutation of the classes.
    pub fn with_class_order(self, order: &[usize], weights: &[f64]) -> Result<Self, FitError> {
        let classes = self.summary.classes;
        let mut sorted = order.to_vec();
        sorted.sort_unstable();
        if !sorted.iter().copied().eq(0..classes) {
            return Err(FitError::Length {
                what: "different classes",
                expected: classes,
                got: order.len(),
            });
        }
        let tensors = self.tensors().into_iter();
        let tensors = tensors.map(|tensor| tensor.reordered(order)).collect();
        let (rows, energies) = (self.bank.rows().to_vec(), self.bank.energies().to_vec());
        Self::from_tensors((*self.summary).clone(), tensors, rows, energies, weights)
    }

    /// Returns the fitted state but for the bank, each part once.
    pub fn tensors(&self) -> Vec<FitTensor> {
        let mut tensors: Vec<FitTensor> = Vec::new();
        for tensor in self.scorers.iter().flat_map(|(_, scorer)| scorer.tensors()) {
            if tensors.iter().all(|known| known.name != tensor.name) {
                tensors.push(tensor);
            }
        }
        tensors
    }

    /// Log-sum-exp of the logits of the images to compare with, `[B]`.
    pub fn bank_energies(&self) -> &[f64] {
        self.bank.energies()
    }

    /// Creates fitted scores from stored state: [`summary`](Self::summary), [`tensors`](Self::tensors),
    /// [`bank`](Self::bank), [`bank_energies`](Self::bank_energies), and the weights of the classes
    /// `[K, D]` times the scale of the logits.
    ///
    /// # Errors
    /// [`FitError::Length`] for a part that is missing or has another shape,
    /// [`FitError::InvalidValues`] for one that is not finite, and the errors of
    /// [`FitSettings::validate`](super::FitSettings::validate).
    pub fn from_tensors(
        summary: FitSummary,
        tensors: Vec<FitTensor>,
        bank: Vec<f32>,
        bank_energies: Vec<f64>,
        weights: &[f64],
    ) -> Result<Self, FitError> {
        summary.settings.validate()?;
        let (dim, classes, images) = (summary.dim, summary.classes, summary.bank);
        if dim == 0 || classes == 0 {
            return Err(FitError::NoClasses { classes, dim });
        }
        for (what, expected, got) in [
            ("the bank", images.saturating_mul(dim), bank.len()),
            ("the energies of the bank", images, bank_energies.len()),
            ("weights", classes.saturating_mul(dim), weights.len()),
        ] {
            if expected != got {
                return Err(FitError::Length {
                    what,
                    expected,
                    got,
                });
            }
        }
        let bank_is_finite = bank.iter().all(|value| value.is_finite());
        let rows_have_direction = bank
            .chunks_exact(dim)
            .all(|row| row.iter().any(|v| *v != 0.0));
        let energies_are_finite = bank_energies.iter().all(|value| value.is_finite());
        if !(bank_is_finite && rows_have_direction && energies_are_finite) {
            let name = "bank".to_owned();
            return Err(FitError::InvalidValues { name });
        }
        let stored = Stored {
            tensors: StoredTensors::new(tensors),
            bank: Arc::new(FeatureBank::new(bank, bank_energies, dim)),
            weights: Arc::new(weights.to_vec()),
            summary: &summary,
        };
        let scorers = summary.scores.iter();
        let scorers = scorers.map(|score| Ok((score, stored.read(score)?)));
        let scorers = scorers.collect::<Result<Vec<_>, FitError>>()?;
        let bank = stored.bank;
        Ok(Self::new(summary, scorers, bank))
    }
}

/// Stored state that scorers are read from.
struct Stored<'a> {
    tensors: StoredTensors,
    bank: Arc<FeatureBank>,
    weights: Arc<Vec<f64>>,
    summary: &'a FitSummary,
}

impl Stored<'_> {
    fn read(&self, score: FittedScore) -> Result<Arc<dyn FeatureScorer>, FitError> {
        let summary = self.summary;
        let (dim, classes, settings) = (summary.dim, summary.classes, summary.settings);
        let residuals = || Residuals::read(&self.tensors, dim, summary.principal_dim).map(Arc::new);
        let gaussians = || ClassGaussians::read(&self.tensors, classes, dim).map(Arc::new);
        let number = |name: &'static str| Ok::<f64, FitError>(self.tensors.values(name, &[1])?[0]);
        Ok(match score {
            FittedScore::Knn => {
                check_count(score, self.bank.len(), settings.knn_k)?;
                Arc::new(Knn {
                    bank: Arc::clone(&self.bank),
                    k: settings.knn_k,
                })
            }
            FittedScore::NnGuide => {
                let rows = summary.nnguide_bank.min(self.bank.len());
                check_count(score, rows, settings.nnguide_k)?;
                Arc::new(NnGuide {
                    bank: Arc::clone(&self.bank),
                    rows,
                    k: settings.nnguide_k,
                })
            }
            FittedScore::Mds => Arc::new(Mds {
                classes: gaussians()?,
            }),
            FittedScore::Rmds => Arc::new(Rmds {
                classes: gaussians()?,
                background: Gaussian::read(&self.tensors, dim)?,
            }),
            FittedScore::Vim => Arc::new(Vim {
                residuals: residuals()?,
                alpha: number("vim.alpha")?,
            }),
            FittedScore::Residual => Arc::new(Residual {
                residuals: residuals()?,
            }),
            FittedScore::She => Arc::new(She {
                patterns: self.tensors.values("she.patterns", &[classes, dim])?,
                dim,
            }),
            FittedScore::Fdbd => Arc::new(Fdbd::new(
                Arc::clone(&self.weights),
                self.tensors.values("fdbd.mean", &[dim])?,
                settings.fdbd_norm,
            )),
            FittedScore::React => Arc::new(React {
                weights: Arc::clone(&self.weights),
                threshold: number("react.threshold")?,
            }),
            FittedScore::KlMatching => {
                let means = self
                    .tensors
                    .values("kl-matching.ln_means", &[classes, classes])?;
                Arc::new(KlMatching::from_ln_means(classes, means))
            }
        })
    }
}

/// Checks that there are enough images to compare with.
pub(super) fn check_count(
    score: FittedScore,
    images: usize,
    required: usize,
) -> Result<(), FitError> {
    if images < required {
        return Err(FitError::TooFewImages {
            score: score.as_str(),
            required,
            images,
        });
    }
    Ok(())
}

impl PartialEq for ScoreFit {
    /// Compares the summary, the state and the bank.
    fn eq(&self, other: &Self) -> bool {
        self.summary == other.summary
            && self.bank == other.bank
            && self.tensors() == other.tensors()
    }
}

impl fmt::Debug for ScoreFit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ScoreFit")
            .field("summary", &self.summary)
            .finish_non_exhaustive()
    }
}
