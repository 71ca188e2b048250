//! Image classification with an "unknown" answer: a [`Detector`] combines a bundle with its image
//! tower, and returns a [`Detection`] with the label, scores and the reason for each image.
//!
//! ```
//! use clipn_detect::bundle::BundleBuilder;
//! use clipn_detect::classifier::ClassifierBuilder;
//! use clipn_detect::detector::Detector;
//! use clipn_image::RgbImage;
//! use clipn_model::PretrainedWeights;
//!
//! let bundle = BundleBuilder::new(ClassifierBuilder::new(["school bus", "pizza"]))
//!     .with_image_tower(true)
//!     .build(&PretrainedWeights::mini()?)?;
//! let detector = Detector::from_bundle(bundle)?;
//! let gray = RgbImage::new(64, 48, vec![128; 3 * 64 * 48])?;
//! let detection = detector.detect(&gray)?;
//! assert_eq!(detection.is_unknown(), detection.label.is_none());
//! println!("{}: {}", detection.label_or_unknown(), detection.reason);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Serialized form
//!
//! [`Detection`] implements serde's `Serialize` and `Deserialize`. The program's rows and the
//! server's results contain the same keys:
//!
//! | key | value |
//! |---|---|
//! | `schema_version` | [`Detection::SCHEMA_VERSION`], 2; in version 1, rows of the program had the label `unknown` instead of `null` |
//! | `label` | name of the class; `null` for an unknown image |
//! | `class` | index of the class; `null` for an unknown image |
//! | `unknown` | whether the image belongs to none of the classes |
//! | `score` | score that decided; `null` if it is not finite |
//! | `threshold` | minimum score of a known image; `null` if it is not finite |
//! | `p_value` | conformal p-value; `null` without a calibration |
//! | `top` | classes with the largest p: objects with `class`, `label`, `p` and `q`; `q` is `null` for a model that has not learned "no" |
//! | `no` | [`StrongestNo`]: `class`, `label`, `p`, `q` and `share`, or `null` |
//! | `negative` | [`NearestNegative`]: the `text` of the negative that the image resembles most, and its `p`; `null` without negatives |
//! | `reason` | explanation of the decision |
//! | `evidence` | [`Evidence`]: maps of the image that show where the class, its "no" and the negatives are seen; only if the detector computes them |

mod detection;
mod error;
mod evidence;
mod many;
mod reason;
mod schema;
mod sharing;

pub use detection::{Candidate, Detection, NearestNegative, StrongestNo, UNKNOWN};
pub use error::DetectorError;
pub use evidence::Evidence;
pub use many::DetectMany;

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use clipn_engine::CpuFactory;
use clipn_image::{Preprocessing, RgbImage};
use clipn_model::{
    FeatureMatrix, ImageBatch, ImageTower, ModelError, ModelWeights, PretrainedWeights,
    TowerFactory, has_direction,
};
use clipn_ood::calibration::Calibration;
use clipn_ood::scores::{DecisionRule, LogitsRow, MaxLogit, Score, ScoreInputs, predict};

use crate::bundle::Bundle;
use crate::classifier::{Classifier, ClassifierError};
use crate::inference::{
    BatchFeatures, InferenceError, InferencePipeline, ItemError, Patches, map_features,
};
use crate::negatives::Negatives;

/// Image tower of a detector for features.
struct AbsentTower {
    dim: usize,
}

impl ImageTower<f32> for AbsentTower {
    fn embed_dim(&self) -> usize {
        self.dim
    }

    fn image_size(&self) -> usize {
        1
    }

    fn encode(&self, _: ImageBatch<'_, f32>) -> Result<FeatureMatrix<f32>, ModelError> {
        Err(ModelError::Tower {
            source: "the detector has no image tower; it was created for features".into(),
        })
    }
}

/// Default number of top classes in a [`Detection`].
const DEFAULT_TOP_K: usize = 3;

/// Classifies images as one of its classes or as unknown. Clones are cheap and share all data;
/// methods can be called from many threads at once.
///
/// ```no_run
/// use clipn_detect::detector::Detector;
///
/// let detector = Detector::open("shop.clipn")?;
/// let found = detector.detect_file("photo.jpg")?;
/// match &found.label {
///     Some(label) => println!("{label}"),
///     None => println!("unknown: {}", found.reason),
/// }
/// # Ok::<(), clipn_detect::detector::DetectorError>(())
/// ```
#[derive(Clone)]
pub struct Detector {
    tower: Arc<dyn ImageTower<f32>>,
    classifier: Arc<Classifier>,
    preprocessing: Preprocessing,
    rule: DecisionRule,
    calibration: Option<Arc<Calibration>>,
    bundle: Option<Arc<Bundle>>,
    top_k: usize,
    evidence: bool,
}

impl Detector {
    /// Opens a bundle and its model. The image tower is taken from the bundle if it contains one,
    /// else from the weights that [`Bundle::find_weights`] finds.
    ///
    /// # Errors
    /// [`DetectorError::Bundle`] if the bundle cannot be read or does not match the weights,
    /// [`DetectorError::ModelNotFound`] if the weights are not found, [`DetectorError::Model`] if they
    /// cannot be used.
    pub fn open(bundle: impl AsRef<Path>) -> Result<Self, DetectorError> {
        Self::open_on(bundle, &CpuFactory)
    }

    /// Same as [`open`](Self::open), with the image tower on the device of `towers`.
    ///
    /// # Errors
    /// Same as [`open`](Self::open).
    pub fn open_on(
        bundle: impl AsRef<Path>,
        towers: &dyn TowerFactory,
    ) -> Result<Self, DetectorError> {
        let path = bundle.as_ref();
        let bundle = Bundle::open(path)?;
        if bundle.has_image_tower() {
            return Self::from_bundle_on(bundle, towers);
        }
        let weights = load_weights(&bundle, path)?;
        Self::new_on(bundle, &weights, towers)
    }

    /// Creates a detector from a bundle that contains its image tower.
    ///
    /// # Errors
    /// [`DetectorError::NoImageTower`] if it does not, [`DetectorError::Bundle`] if the tower is
    /// corrupt.
    pub fn from_bundle(bundle: Bundle) -> Result<Self, DetectorError> {
        Self::from_bundle_on(bundle, &CpuFactory)
    }

    /// Same as [`from_bundle`](Self::from_bundle), with the image tower on the device of `towers`.
    ///
    /// # Errors
    /// Same as [`from_bundle`](Self::from_bundle).
    pub fn from_bundle_on(
        bundle: Bundle,
        towers: &dyn TowerFactory,
    ) -> Result<Self, DetectorError> {
        match bundle.image_tower(towers)? {
            Some(tower) => Self::from_bundle_and_tower(bundle, tower.into()),
            None => Err(DetectorError::NoImageTower),
        }
    }

    /// Creates a detector from a bundle and the weights that it was built for.
    ///
    /// # Errors
    /// [`BundleError::ModelMismatch`](crate::bundle::BundleError::ModelMismatch) if the weights are those
    /// of another model.
    pub fn new(bundle: Bundle, weights: &ModelWeights) -> Result<Self, DetectorError> {
        Self::new_on(bundle, weights, &CpuFactory)
    }

    /// Same as [`new`](Self::new), with the image tower on the device of `towers`.
    ///
    /// # Errors
    /// Same as [`new`](Self::new), and [`DetectorError::Model`] if the device fails.
    pub fn new_on(
        bundle: Bundle,
        weights: &ModelWeights,
        towers: &dyn TowerFactory,
    ) -> Result<Self, DetectorError> {
        bundle.check_image_tower(weights)?;
        let tower = bundle.tower_of(weights, towers)?;
        Self::from_bundle_and_tower(bundle, tower.into())
    }

    fn from_bundle_and_tower(
        bundle: Bundle,
        tower: Arc<dyn ImageTower<f32>>,
    ) -> Result<Self, DetectorError> {
        let detector = Self::from_classifier(
            bundle.classifier().clone(),
            tower,
            bundle.preprocessing().clone(),
        )?;
        let calibration = bundle.calibration().cloned().map(Arc::new);
        let detector = match &calibration {
            Some(calibration) => detector.with_rule(calibration.rule())?,
            None => detector,
        };
        Ok(Self {
            calibration,
            bundle: Some(Arc::new(bundle)),
            ..detector
        })
    }

    /// Creates a detector from a classifier and the image tower of the same model, without a bundle
    /// or a calibrated threshold. The rule is [`ScoreInputs::default_rule`]: the published ATD rule with
    /// "no" rows, NegLabel with negatives, ATD-Neg with both. A classifier without either has nothing to reject with:
    /// every image gets its best label ([`DecisionRule::AcceptAll`]) until [`with_rule`](Self::with_rule)
    /// sets a threshold.
    ///
    /// [`ScoreInputs::default_rule`]: clipn_ood::scores::ScoreInputs::default_rule
    ///
    /// # Errors
    /// [`ClassifierError::FeatureDimension`] if the feature dimensions of classifier and tower differ.
    pub fn from_classifier(
        classifier: Classifier,
        tower: Arc<dyn ImageTower<f32>>,
        preprocessing: Preprocessing,
    ) -> Result<Self, DetectorError> {
        let (expected, found) = (classifier.dim(), tower.embed_dim());
        if expected != found {
            return Err(ClassifierError::FeatureDimension { expected, found }.into());
        }
        let rule = classifier.score_inputs().default_rule();
        Ok(Self {
            tower,
            classifier: Arc::new(classifier),
            preprocessing,
            rule: rule.unwrap_or(DecisionRule::AcceptAll { score: &MaxLogit }),
            calibration: None,
            bundle: None,
            top_k: DEFAULT_TOP_K,
            evidence: false,
        })
    }

    /// Creates a detector that has no image tower: it decides on features that were computed elsewhere
    /// ([`detect_features`](Self::detect_features)), and fails on images.
    #[must_use]
    pub fn for_features(classifier: Classifier) -> Self {
        let rule = classifier.score_inputs().default_rule();
        Self {
            tower: Arc::new(AbsentTower {
                dim: classifier.dim(),
            }),
            classifier: Arc::new(classifier),
            preprocessing: Preprocessing::clip(1),
            rule: rule.unwrap_or(DecisionRule::AcceptAll { score: &MaxLogit }),
            calibration: None,
            bundle: None,
            top_k: DEFAULT_TOP_K,
            evidence: false,
        }
    }

    /// Same as [`for_features`](Self::for_features), with the classes and the calibration of a bundle,
    /// whose model is not opened.
    ///
    /// # Errors
    /// [`DetectorError::Score`] if the calibrated score needs what the classifier does not have.
    pub fn for_features_of(bundle: Bundle) -> Result<Self, DetectorError> {
        let dim = bundle.classifier().dim();
        Self::from_bundle_and_tower(bundle, Arc::new(AbsentTower { dim }))
    }

    /// Classifies features `[N, D]` of the model that were computed elsewhere, normalized or not, on all
    /// cores. A row without a direction is an item with its error.
    ///
    /// # Errors
    /// [`ClassifierError::FeatureDimension`] if `features` are not a whole number of rows, [`DetectorError::Score`] if the
    /// rule's score reads features of patches.
    pub fn detect_features(
        &self,
        features: &[f32],
    ) -> Result<Vec<Result<Detection, ItemError>>, DetectorError> {
        self.classifier.score_inputs().check(self.rule.score())?;
        let decide = |_, row: Result<LogitsRow<'_, f32>, ItemError>| self.decide(row?);
        Ok(map_features(&self.classifier, features, decide)?)
    }

    /// Sets the number of top classes in a [`Detection`], 3 by default.
    #[must_use]
    pub fn with_top_k(self, k: usize) -> Self {
        Self { top_k: k, ..self }
    }

    /// Sets whether detections of images have [`Evidence`], which takes up to 15 % more time.
    ///
    /// # Errors
    /// [`DetectorError::Model`] if the tower computes no features of patches.
    pub fn with_evidence(self, evidence: bool) -> Result<Self, DetectorError> {
        if evidence && !self.tower.has_local_features() {
            return Err(ModelError::NoLocalFeatures.into());
        }
        Ok(Self { evidence, ..self })
    }

    /// Returns the rule of a threshold in the published unit. A score that the bundle is calibrated for is compared as
    /// calibrated ([`Calibration::rule_at`]), others in `f32`.
    pub fn threshold_rule(&self, score: &'static dyn Score, threshold: f64) -> DecisionRule {
        let calibration = self.bundle().and_then(Bundle::calibration);
        calibration
            .filter(|calibration| calibration.score() == score)
            .and_then(|calibration| calibration.rule_at(threshold))
            .unwrap_or(DecisionRule::Threshold { score, threshold })
    }

    /// Sets the decision rule. P-values are only computed with the calibrated rule of the bundle.
    ///
    /// # Errors
    /// [`DetectorError::Score`] if the score of the rule needs "no" rows, negatives or more classes than
    /// the classifier has, or features of patches, which the tower does not compute;
    /// [`DetectorError::InvalidThreshold`] if its threshold is NaN.
    pub fn with_rule(self, rule: DecisionRule) -> Result<Self, DetectorError> {
        self.score_inputs().check(rule.score())?;
        if let DecisionRule::Ctw { threshold }
        | DecisionRule::Threshold { threshold, .. }
        | DecisionRule::Calibrated { threshold, .. } = rule
            && threshold.is_nan()
        {
            let score = rule.score().display_name();
            return Err(DetectorError::InvalidThreshold { score });
        }
        Ok(Self { rule, ..self })
    }

    /// Creates a detector with the same tower and other classes. A calibrated threshold is replaced
    /// by the default rule of its score, as it is valid only for its own classes; other rules are
    /// kept. If the classifier lacks what the score of a default rule needs, the rule is that of
    /// [`from_classifier`](Self::from_classifier), and [`DecisionRule::AcceptAll`] reports [`MaxLogit`].
    ///
    /// # Errors
    /// [`ClassifierError::FeatureDimension`] if the classifier belongs to a model with another feature dimension;
    /// [`DetectorError::Score`] if it lacks what the score of a rule needs that was set
    /// [otherwise](Self::with_rule).
    pub fn with_classifier(&self, classifier: Classifier) -> Result<Self, DetectorError> {
        let other =
            Self::from_classifier(classifier, self.tower.clone(), self.preprocessing.clone())?;
        let rule = match self.rule {
            DecisionRule::Calibrated { score, .. } => {
                DecisionRule::default_for(score).unwrap_or(other.rule)
            }
            rule => rule,
        };
        let is_default = Some(self.rule) == self.score_inputs().default_rule()
            || matches!(self.rule, DecisionRule::Calibrated { .. });
        let rule = match other.score_inputs().check(rule.score()) {
            Ok(()) => rule,
            Err(_) if is_default => other.rule,
            Err(_) if matches!(rule, DecisionRule::AcceptAll { .. }) => {
                DecisionRule::AcceptAll { score: &MaxLogit }
            }
            Err(error) => return Err(error.into()),
        };
        Ok(Self {
            rule,
            top_k: self.top_k,
            evidence: self.evidence,
            ..other
        })
    }

    /// Returns the bundle, if the detector was created from one.
    pub fn bundle(&self) -> Option<&Bundle> {
        self.bundle.as_deref()
    }

    /// Returns the classifier.
    pub fn classifier(&self) -> &Classifier {
        &self.classifier
    }

    /// Returns the decision rule.
    pub fn rule(&self) -> DecisionRule {
        self.rule
    }

    /// Returns the calibration, if its rule is the decision rule.
    pub fn calibration(&self) -> Option<&Calibration> {
        self.calibration
            .as_deref()
            .filter(|calibration| calibration.rule() == self.rule)
    }

    /// Returns the image preprocessing.
    pub fn preprocessing(&self) -> &Preprocessing {
        &self.preprocessing
    }

    /// Returns the image tower.
    pub fn tower(&self) -> &dyn ImageTower<f32> {
        &*self.tower
    }

    /// Describes what scores can be computed: those that the classifier allows, and of patches if the
    /// tower computes them.
    pub fn score_inputs(&self) -> ScoreInputs {
        let inputs = self.classifier.score_inputs();
        inputs.with_local(self.tower.has_local_features())
    }

    /// Returns a pipeline of the tower, the classifier and the preprocessing, whose rows have what the
    /// decision rule needs, and the evidence if it is requested.
    ///
    /// # Errors
    /// [`InferenceError::Model`] if the score of the rule needs features of patches, and the tower does not
    /// compute them.
    pub fn pipeline(&self) -> Result<InferencePipeline<'_>, InferenceError> {
        self.pipeline_for(&[self.rule.score()])
    }

    /// Same as [`pipeline`](Self::pipeline), with rows that have what these scores need.
    ///
    /// # Errors
    /// Same as [`pipeline`](Self::pipeline).
    pub fn pipeline_for(
        &self,
        scores: &[&dyn Score],
    ) -> Result<InferencePipeline<'_>, InferenceError> {
        let pipeline = InferencePipeline::new(self.tower(), &self.classifier, &self.preprocessing)?;
        Ok(pipeline.with_patches(self.patches(scores))?)
    }

    /// What features of patches are computed for.
    fn patches(&self, scores: &[&dyn Score]) -> Patches {
        if self.evidence {
            Patches::Evidence
        } else if scores.iter().any(|score| score.uses_local()) {
            Patches::Scores
        } else {
            Patches::None
        }
    }

    /// Classifies one image.
    ///
    /// # Errors
    /// A [`DetectorError`] if preprocessing fails or the tower rejects its input.
    pub fn detect(&self, image: &RgbImage) -> Result<Detection, DetectorError> {
        let mut pixels = vec![0.0; self.preprocessing.tensor_len()];
        self.preprocessing
            .normalize_into(&self.preprocessing.crop(image)?, &mut pixels)?;
        self.detect_one(&pixels)
    }

    /// Classifies the image in a file.
    ///
    /// # Errors
    /// [`DetectorError::Image`] if the file cannot be read or decoded.
    pub fn detect_file(&self, path: impl AsRef<Path>) -> Result<Detection, DetectorError> {
        let mut pixels = vec![0.0; self.preprocessing.tensor_len()];
        self.preprocessing
            .preprocess_file(path.as_ref(), &mut pixels)?;
        self.detect_one(&pixels)
    }

    /// Classifies an encoded image, such as the content of a JPEG file.
    ///
    /// # Errors
    /// [`DetectorError::Image`] if the bytes cannot be decoded.
    pub fn detect_bytes(&self, bytes: &[u8]) -> Result<Detection, DetectorError> {
        let mut pixels = vec![0.0; self.preprocessing.tensor_len()];
        self.preprocessing.preprocess_bytes(bytes, &mut pixels)?;
        self.detect_one(&pixels)
    }

    fn detect_one(&self, pixels: &[f32]) -> Result<Detection, DetectorError> {
        self.detect_pixels(pixels)?
            .pop()
            .ok_or(DetectorError::ImageCount {
                expected: 1,
                found: 0,
            })
    }

    /// Classifies a batch of preprocessed images, `[N, 3, S, S]` as returned by [`Preprocessing`],
    /// with the size S of [`preprocessing`](Self::preprocessing).
    ///
    /// # Errors
    /// [`DetectorError::Model`] if `pixels` are not a whole number of images, [`DetectorError::Item`] if
    /// the features of one of them are not finite.
    pub fn detect_pixels(&self, pixels: &[f32]) -> Result<Vec<Detection>, DetectorError> {
        let patches = self.patches(&[self.rule.score()]);
        let logits = self
            .features(pixels, patches)?
            .logits(&self.classifier, patches)?;
        let detections = logits.rows().map(|row| self.decide(row));
        Ok(detections.collect::<Result<_, _>>()?)
    }

    /// Computes the normalized features of preprocessed images, all of them finite.
    fn features(&self, pixels: &[f32], patches: Patches) -> Result<BatchFeatures, DetectorError> {
        let pipeline = InferencePipeline::new(self.tower(), &self.classifier, &self.preprocessing)?;
        let features = pipeline.with_patches(patches)?.batch_features(pixels)?;
        if features.global().rows().all(has_direction) {
            Ok(features)
        } else {
            Err(ItemError::InvalidFeatures.into())
        }
    }

    /// Classifies a batch of preprocessed images `[N, 3, S, S]`, the i-th with the classes and the rule
    /// of the i-th detector. The image tower, that of `self`, runs once for all; the detectors must be
    /// made of it by [`with_classifier`](Self::with_classifier) or other `with_` methods.
    ///
    /// # Errors
    /// [`DetectorError::ImageCount`] if there is not one image for each detector, and the errors of
    /// [`detect_pixels`](Self::detect_pixels).
    pub fn detect_pixels_each(
        &self,
        pixels: &[f32],
        detectors: &[&Self],
    ) -> Result<Vec<Detection>, DetectorError> {
        // What the most demanding of the detectors needs.
        let patches = |each: &&Self| each.patches(&[each.rule.score()]);
        let most = detectors.iter().map(patches).max().unwrap_or(Patches::None);
        let features = self.features(pixels, most)?;
        let found = features.global().len();
        if found != detectors.len() {
            return Err(DetectorError::ImageCount {
                expected: detectors.len(),
                found,
            });
        }
        let mut detections = Vec::with_capacity(detectors.len());
        for (index, detector) in detectors.iter().enumerate() {
            let Some(features) = features.image(index) else {
                continue;
            };
            let logits = features.logits(&detector.classifier, patches(detector))?;
            for row in logits.rows() {
                detections.push(detector.decide(row)?);
            }
        }
        Ok(detections)
    }

    /// Decides on the logits of one image.
    ///
    /// # Errors
    /// [`ItemError::InvalidFeatures`] if a logit is NaN or infinite, [`ItemError::InvalidScore`] if the
    /// score is NaN all the same, as one of the caller's own may be. Such an image is not unknown:
    /// nothing is known about it.
    pub fn decide(&self, row: LogitsRow<'_, f32>) -> Result<Detection, ItemError> {
        if !row.is_finite() {
            return Err(ItemError::InvalidFeatures);
        }
        let p_value = self
            .calibration()
            .map(|calibration| calibration.p_value_for_logits(row));
        let context = detection::DetectionContext {
            class_names: self.classifier.class_names(),
            negatives: self.classifier.negatives().map(Negatives::words),
            top_k: self.top_k,
        };
        let decision = self.rule.decide(row);
        if decision.score.is_nan() {
            let score = self.score_name();
            return Err(ItemError::InvalidScore { score });
        }
        let mut detection = context.detection(row, decision, p_value);
        if self.evidence {
            let class = predict(row);
            let names = self.classifier.class_names();
            let label = names.get(class).map_or("", String::as_str);
            detection.evidence = Evidence::of(row, class, label);
        }
        detection.reason = reason::sentence(&self.rule, self.calibration(), &detection);
        Ok(detection)
    }

    /// Returns the name of the score that decides.
    pub fn score_name(&self) -> &'static str {
        self.rule.score().name()
    }
}

impl fmt::Debug for Detector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Detector")
            .field("classes", &self.classifier.len())
            .field("rule", &self.rule)
            .field("preprocessing", &self.preprocessing)
            .finish_non_exhaustive()
    }
}

/// Opens the weights that a bundle names.
fn load_weights(bundle: &Bundle, bundle_path: &Path) -> Result<ModelWeights, DetectorError> {
    let Some(path) = bundle.find_weights(bundle_path) else {
        return Err(DetectorError::ModelNotFound {
            bundle: bundle_path.to_owned(),
            source_name: bundle.identity().source.clone(),
        });
    };
    let config = bundle.identity().config.clone();
    Ok(PretrainedWeights::open(&path)?.weights(Some(config))?)
}
