use std::sync::Arc;

use sha2::{Digest, Sha256};

use clipn_model::{FeatureMatrix, LocalFeatures, Real};
use clipn_ood::fitted::ScoreFit;
use clipn_ood::scores::{FittedScoreSet, LOGIT_SCALE, ScoreInputs, logsumexp};
use clipn_text::prompts::duplicate_names;

use crate::classifier::attached::AttachedNegatives;
use crate::classifier::attached_fit::AttachedFit;
use crate::classifier::logits::PatchLogits;
use crate::classifier::side::ClassifierSide;
use crate::classifier::{ClassifierError, Logits};
use crate::negatives::Negatives;

/// How far the length of a row may be from 1 to be left as it is: more than what rounding to 16 bits
/// does.
const UNIT_TOLERANCE: f64 = 1e-3;

/// Patches whose logits of all negatives are in memory at a time.
const PATCH_BLOCK: usize = 64;

/// Zero-shot classifier over K classes with D-dimensional features: W_yes `[K, D]`, and W_no `[K, D]`
/// if the model has learned to say "no". A plain CLIP has no "no" rows.
/// [`ClassifierBuilder`](crate::classifier::ClassifierBuilder) computes the rows from class names.
///
/// ```
/// use clipn_detect::classifier::Classifier;
/// use clipn_model::FeatureMatrix;
///
/// let names = vec!["cat".to_owned(), "dog".to_owned()];
/// let (yes, no) = (vec![1.0, 0.0, 0.0, 1.0], vec![0.6, 0.8, -1.0, 0.0]);
/// let classifier = Classifier::new(names, yes, no)?;
///
/// // Logits are 100 times the cosines with the rows.
/// let logits = classifier.logits(&FeatureMatrix::new(vec![1.0, 0.0], 2))?;
/// assert_eq!((logits.yes(), logits.no()), (&[100.0, 0.0][..], &[60.0, -100.0][..]));
/// # Ok::<(), clipn_detect::classifier::ClassifierError>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Classifier<T: Real = f32> {
    class_names: Vec<String>,
    yes: ClassifierSide<T>,
    no: Option<ClassifierSide<T>>,
    negatives: Option<Arc<AttachedNegatives<T>>>,
    fit: Option<Arc<AttachedFit>>,
    dim: usize,
    scale: f64,
    no_scale: f64,
}

impl<T: Real> Classifier<T> {
    /// Creates a classifier from W_yes and, unless it is `None`, W_no, each `[K, D]` for K class names.
    /// Rows are normalized to length 1, unless they have it already within the rounding of 16-bit
    /// numbers (0.001). The scale is the published 100.
    ///
    /// ```
    /// use clipn_detect::classifier::Classifier;
    ///
    /// let classifier = Classifier::new(vec!["cat".to_owned()], vec![3.0, 4.0], None)?;
    /// assert_eq!(classifier.yes_weights(), [0.6, 0.8]);
    /// # Ok::<(), clipn_detect::classifier::ClassifierError>(())
    /// ```
    ///
    /// # Errors
    /// [`ClassifierError::NoClasses`] if there are no names, [`ClassifierError::InvalidShape`] if the
    /// values do not form K rows of the same length each, [`ClassifierError::NotFinite`] for a row with
    /// NaN or infinite values or of zeros.
    pub fn new(
        class_names: Vec<String>,
        yes: Vec<T>,
        no: impl Into<Option<Vec<T>>>,
    ) -> Result<Self, ClassifierError> {
        let no = no.into();
        let dim = yes
            .len()
            .checked_div(class_names.len())
            .ok_or(ClassifierError::NoClasses)?;
        let no_len = no.as_ref().map_or(yes.len(), Vec::len);
        if yes.len() != no_len || dim * class_names.len() != yes.len() || dim == 0 {
            return Err(ClassifierError::InvalidShape {
                classes: class_names.len(),
                yes: yes.len(),
                no: no_len,
            });
        }
        let yes = unit_rows(yes, &class_names)?;
        let no = no.map(|no| unit_rows(no, &class_names)).transpose()?;
        let no = no.map(|no| ClassifierSide::new(no, dim)).transpose()?;
        Ok(Self {
            class_names,
            yes: ClassifierSide::new(yes, dim)?,
            no,
            negatives: None,
            fit: None,
            dim,
            scale: LOGIT_SCALE,
            no_scale: 1.0,
        })
    }

    /// Sets the factor between cosines and logits, which is the published 100 by default. The
    /// model's own, with which it was trained, is
    /// [`logit_scale`](clipn_model::ModelWeights::logit_scale). Fitted scores are removed, as they
    /// depend on it.
    #[must_use]
    pub fn with_scale(self, scale: f64) -> Self {
        Self {
            scale,
            fit: None,
            ..self
        }
    }

    /// Sets the factor of the "no" logits over "yes" logits of the same cosine, which is 1 by default, as
    /// published. The model's own, with which "no" was trained, is
    /// [`no_scale`](clipn_model::ModelWeights::no_scale).
    ///
    /// ```
    /// use clipn_detect::classifier::Classifier;
    /// use clipn_model::FeatureMatrix;
    ///
    /// let classifier = Classifier::new(vec!["cat".to_owned()], vec![1.0, 0.0], vec![0.6, 0.8])?
    ///     .with_no_scale(2.5);
    /// let logits = classifier.logits(&FeatureMatrix::new(vec![1.0, 0.0], 2))?;
    /// assert_eq!((logits.yes(), logits.no()), (&[100.0][..], &[150.0][..]));
    /// # Ok::<(), clipn_detect::classifier::ClassifierError>(())
    /// ```
    #[must_use]
    pub fn with_no_scale(self, no_scale: f64) -> Self {
        Self { no_scale, ..self }
    }

    /// Takes both factors, that of all logits and that of the "no" logits, from another classifier of the
    /// same model. Fitted scores are removed, as for [`with_scale`](Self::with_scale).
    #[must_use]
    pub fn with_scales_of(self, other: &Self) -> Self {
        self.with_scale(other.scale).with_no_scale(other.no_scale)
    }

    /// Sets the negatives, or removes them.
    ///
    /// # Errors
    /// [`ClassifierError::DimensionMismatch`] if the negatives belong to a model with another feature
    /// dimension.
    pub fn with_negatives(
        self,
        negatives: impl Into<Option<Negatives<T>>>,
    ) -> Result<Self, ClassifierError> {
        let negatives = match negatives.into() {
            Some(negatives) if negatives.dim() != self.dim => {
                return Err(ClassifierError::DimensionMismatch {
                    left: self.dim,
                    right: negatives.dim(),
                });
            }
            Some(negatives) => Some(Arc::new(AttachedNegatives::new(negatives)?)),
            None => None,
        };
        Ok(Self { negatives, ..self })
    }

    /// Returns the negatives, if there are any.
    pub fn negatives(&self) -> Option<&Negatives<T>> {
        self.negatives.as_deref().map(AttachedNegatives::negatives)
    }

    /// Sets the scores that were fitted to in-distribution images with these classes, or removes them.
    ///
    /// # Errors
    /// [`ClassifierError::FitMismatch`] if they were fitted to another number of classes or another
    /// feature dimension.
    pub fn with_fit(self, fit: impl Into<Option<ScoreFit>>) -> Result<Self, ClassifierError> {
        let fit = match fit.into() {
            Some(fit) => {
                let (expected, found) = (
                    [self.len(), self.dim],
                    [fit.summary().classes, fit.summary().dim],
                );
                if expected != found {
                    return Err(ClassifierError::FitMismatch { expected, found });
                }
                Some(Arc::new(AttachedFit::new(fit)?))
            }
            None => None,
        };
        Ok(Self { fit, ..self })
    }

    /// Returns the scores that were fitted to in-distribution images, if there are any.
    pub fn fit(&self) -> Option<&ScoreFit> {
        self.fit.as_deref().map(AttachedFit::fit)
    }

    /// Returns the weights of the "yes" logits: W_yes `[K, D]` times the scale.
    pub fn scaled_yes_weights(&self) -> Vec<f64> {
        let wide = |value: &T| self.scale * value.to_f64().unwrap_or(f64::NAN);
        self.yes.rows().iter().map(wide).collect()
    }

    /// Describes the logits of the classifier, which decide what scores can be computed. Whether there
    /// are logits of patches depends on the image tower ([`ScoreInputs::with_local`]).
    pub fn score_inputs(&self) -> ScoreInputs {
        ScoreInputs {
            classes: self.len(),
            has_no: self.has_no(),
            has_negatives: self.negatives.is_some(),
            has_local: false,
            fitted: self
                .fit()
                .map_or_else(FittedScoreSet::default, ScoreFit::scores),
        }
    }

    /// Returns the factor between cosines and logits.
    pub fn scale(&self) -> f64 {
        self.scale
    }

    /// Returns the factor of the "no" logits over "yes" logits of the same cosine.
    pub fn no_scale(&self) -> f64 {
        self.no_scale
    }

    /// Returns the K class names, in row order.
    pub fn class_names(&self) -> &[String] {
        &self.class_names
    }

    /// Returns the number of classes K.
    pub fn len(&self) -> usize {
        self.class_names.len()
    }

    /// Always false, as [`Classifier::new`] requires a class.
    pub fn is_empty(&self) -> bool {
        self.class_names.is_empty()
    }

    /// Returns the feature dimension D.
    pub fn dim(&self) -> usize {
        self.dim
    }

    /// Returns W_yes, `[K, D]`, rows of length 1 (within 0.001).
    pub fn yes_weights(&self) -> &[T] {
        self.yes.rows()
    }

    /// Returns W_no, `[K, D]`, rows of length 1 (within 0.001); `None` for a model that has not learned "no".
    pub fn no_weights(&self) -> Option<&[T]> {
        self.no.as_ref().map(ClassifierSide::rows)
    }

    /// Whether there are "no" rows.
    pub fn has_no(&self) -> bool {
        self.no.is_some()
    }

    /// Concatenates two classifiers, with the classes of `other` last and the scales of `self`. The result
    /// has no negatives, as those of one may describe the classes of the other, and no fitted scores.
    ///
    /// # Errors
    /// [`ClassifierError::DimensionMismatch`] if the feature dimensions differ,
    /// [`ClassifierError::MixedNo`] if only one has "no" rows, [`ClassifierError::DuplicateClass`] if
    /// both have a class of the same
    /// name, as [`duplicate_names`] compares names.
    pub fn concat(&self, other: &Self) -> Result<Self, ClassifierError> {
        if self.dim != other.dim {
            return Err(ClassifierError::DimensionMismatch {
                left: self.dim,
                right: other.dim,
            });
        }
        let class_names = [self.class_names(), other.class_names()].concat();
        let is_in_both = |group: &Vec<usize>| {
            let second = group.iter().find(|&&class| class >= self.len())?;
            (group[0] < self.len()).then_some(*second)
        };
        if let Some(class) = duplicate_names(&class_names).iter().find_map(is_in_both) {
            return Err(ClassifierError::DuplicateClass {
                class: class_names[class].clone(),
            });
        }
        let yes = [self.yes_weights(), other.yes_weights()].concat();
        let no = match (self.no_weights(), other.no_weights()) {
            (Some(own), Some(others)) => Some([own, others].concat()),
            (None, None) => None,
            _ => return Err(ClassifierError::MixedNo),
        };
        Ok(Self {
            class_names,
            yes: ClassifierSide::new(yes, self.dim)?,
            no: no.map(|no| ClassifierSide::new(no, self.dim)).transpose()?,
            negatives: None,
            fit: None,
            dim: self.dim,
            scale: self.scale,
            no_scale: self.no_scale,
        })
    }

    /// Returns a classifier without the given classes; all classes with a given name are removed. The
    /// negatives stay, grouped for the number of classes that is left, and fitted scores are removed.
    ///
    /// # Errors
    /// [`ClassifierError::UnknownClass`] for an unknown name, [`ClassifierError::NoClasses`] if no
    /// class would be left, [`ClassifierError::Negatives`] if the negatives cannot be grouped.
    pub fn without_classes(&self, class_names: &[String]) -> Result<Self, ClassifierError> {
        if let Some(name) = class_names
            .iter()
            .find(|name| !self.class_names.contains(name))
        {
            return Err(ClassifierError::UnknownClass {
                class: name.clone(),
            });
        }
        let kept: Vec<usize> = (0..self.len())
            .filter(|&class| !class_names.contains(&self.class_names[class]))
            .collect();
        let rows = |side: &[T]| -> Vec<T> {
            kept.iter()
                .flat_map(|&class| &side[class * self.dim..][..self.dim])
                .copied()
                .collect()
        };
        let names = kept
            .iter()
            .map(|&class| self.class_names[class].clone())
            .collect();
        let no = self.no_weights().map(rows);
        let negatives = self
            .negatives()
            .map(|negatives| negatives.for_class_count(kept.len()))
            .transpose()?;
        Self::new(names, rows(self.yes_weights()), no)?
            .with_scales_of(self)
            .with_negatives(negatives)
    }

    /// Returns a SHA-256 hash of all that scores depend on, in hexadecimal digits: class names, rows, factors,
    /// negatives and fitted scores.
    pub fn hash(&self) -> String {
        let mut hash = Sha256::new();
        for name in &self.class_names {
            hash.update((name.len() as u64).to_le_bytes());
            hash.update(name);
        }
        for factor in [self.scale, self.no_scale] {
            hash.update(factor.to_le_bytes());
        }
        for side in [Some(self.yes_weights()), self.no_weights()] {
            let bytes: &[u8] = bytemuck::cast_slice(side.unwrap_or_default());
            hash.update((bytes.len() as u64).to_le_bytes());
            hash.update(bytes);
        }
        if let Some(negatives) = self.negatives() {
            hash.update(negatives.hash());
        }
        if let Some(fit) = self.fit() {
            for tensor in fit.tensors() {
                hash.update(&tensor.name);
                hash.update(bytemuck::cast_slice(&tensor.values));
            }
            hash.update(bytemuck::cast_slice(fit.bank()));
            hash.update(bytemuck::cast_slice(fit.bank_energies()));
            // The settings, such as the number of neighbors.
            if let Ok(summary) = serde_json::to_vec(fit.summary()) {
                hash.update(summary);
            }
        }
        let digest = hash.finalize();
        digest.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Computes the logits of normalized image features f `[N, D]`: scale·f·W_yesᵀ and, if there are
    /// "no" rows, no_scale·scale·f·W_noᵀ, each `[N, K]`; with negatives also their logits `[N, M]`, and the values
    /// of scores that were fitted.
    ///
    /// # Errors
    /// [`ClassifierError::FeatureDimension`] if the dimension of the features differs.
    pub fn logits(&self, features: &FeatureMatrix<T>) -> Result<Logits<T>, ClassifierError> {
        if features.dim() != self.dim {
            return Err(ClassifierError::FeatureDimension {
                expected: self.dim,
                found: features.dim(),
            });
        }
        let no = match &self.no {
            Some(no) => no.logits(features.values(), self.scale * self.no_scale)?,
            None => Vec::new(),
        };
        let yes = self.yes.logits(features.values(), self.scale)?;
        let logits = Logits::new(yes, no, self.len(), self.scale);
        let logits = match &self.fit {
            Some(attached) => {
                let values = attached.values(features.values(), logits.yes())?;
                logits.with_fitted(values)
            }
            None => logits,
        };
        let Some(attached) = &self.negatives else {
            return Ok(logits);
        };
        let negatives = attached.logits(features.values(), self.scale)?;
        Ok(logits.with_negatives(negatives, attached.negatives().group_ends().to_vec()))
    }

    /// Same as [`logits`](Self::logits), with the "yes" logits of the patches of each image,
    /// `[N, P, K]`, and if `evidence`, also what "no" and the negatives say of each patch. All features
    /// are normalized.
    ///
    /// # Errors
    /// Same as [`logits`](Self::logits).
    pub fn local_logits(
        &self,
        features: &LocalFeatures<T>,
        evidence: bool,
    ) -> Result<Logits<T>, ClassifierError> {
        let logits = self.logits(features.global())?;
        let patches = features.local();
        let mut local = PatchLogits {
            yes: self.yes.logits(patches.values(), self.scale)?,
            grid: features.grid(),
            ..PatchLogits::default()
        };
        if evidence {
            if let Some(no) = &self.no {
                local.no = no.logits(patches.values(), self.scale * self.no_scale)?;
            }
            if let Some(attached) = &self.negatives {
                // Block by block: an image has hundreds of patches, and there are thousands of words.
                let words = attached.negatives().len();
                for block in patches.values().chunks(PATCH_BLOCK * self.dim) {
                    let rows = attached.logits(block, self.scale)?;
                    local.negatives.extend(
                        rows.chunks_exact(words)
                            .map(|row| logsumexp(row.iter().copied())),
                    );
                }
            }
        }
        Ok(logits.with_local(local))
    }
}

/// Normalizes the rows `[K, D]` of K classes that do not have length 1.
fn unit_rows<T: Real>(mut rows: Vec<T>, class_names: &[String]) -> Result<Vec<T>, ClassifierError> {
    let dim = rows.len() / class_names.len();
    let wide = |value: T| value.to_f64().unwrap_or(f64::NAN);
    for (row, class) in rows.chunks_exact_mut(dim).zip(class_names) {
        let square: f64 = row.iter().map(|&v| wide(v).powi(2)).sum();
        let length = square.sqrt();
        if !length.is_finite() || length == 0.0 {
            return Err(ClassifierError::NotFinite {
                class: class.clone(),
            });
        }
        if (length - 1.0).abs() > UNIT_TOLERANCE {
            for value in row {
                *value = T::from_f64(wide(*value) / length);
            }
        }
    }
    Ok(rows)
}
