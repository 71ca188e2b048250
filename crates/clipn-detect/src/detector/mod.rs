//! Pictures in, labels or "unknown" out: a [`Detector`] is a bundle with its image tower, and a [`Detection`] is what it says
//! of a picture and why.

mod detection;
mod error;
mod many;
mod model;
mod reason;

pub use detection::{Candidate, Detection, NoVoice, UNKNOWN};
pub use error::DetectorError;
pub use many::DetectMany;
pub use model::weights_path;

use std::path::Path;
use std::sync::Arc;

use crate::bundle::Bundle;
use clipn_ood::calibration::Calibration;
use crate::classifier::Classifier;
use crate::inference::InferencePipeline;
use clipn_engine::{image_tower, image_tower_alone};
use clipn_image::{Preprocessing, RgbImage};
use clipn_model::{ImageTower, Weights};
use clipn_ood::scores::{LogitsRow, Rule};

/// Classes that are told of a picture where nothing else is said.
const TOP: usize = 3;

/// Gives pictures one of its classes, or none. Clones share everything; all of it may be used from many threads at once.
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
    rule: Rule,
    calibration: Option<Arc<Calibration>>,
    bundle: Option<Arc<Bundle>>,
    top: usize,
}

impl Detector {
    /// Opens a bundle and its model: the image tower that lies in it, else the weights at the path that it names (as it
    /// stands there, or beside the bundle), else the built-in model if it is that.
    ///
    /// # Errors
    /// Something is no bundle, or damaged; the weights are not there, or not those that the bundle was built for.
    pub fn open(bundle: impl AsRef<Path>) -> Result<Self, DetectorError> {
        let path = bundle.as_ref();
        let bundle = Bundle::open(path)?;
        if bundle.has_image_tower() {
            return Self::of_bundle_with_tower(bundle);
        }
        let weights = model::find(&bundle, path)?;
        Self::new(bundle, &weights)
    }

    /// A bundle that was read from a file with its image tower.
    ///
    /// # Errors
    /// [`DetectorError::NoModel`] where the tower does not lie in its file, and those of a damaged one.
    pub fn of_bundle_with_tower(bundle: Bundle) -> Result<Self, DetectorError> {
        match bundle.image_weights()? {
            Some(weights) => Self::of_bundle(bundle, image_tower_alone(&weights).into()),
            None => Err(DetectorError::NoModel {
                bundle: "the bundle".into(),
                source_name: None,
            }),
        }
    }

    /// A bundle with the weights that it was built for.
    ///
    /// # Errors
    /// [`BundleError::OtherModel`](crate::bundle::BundleError::OtherModel).
    pub fn new(bundle: Bundle, weights: &Weights) -> Result<Self, DetectorError> {
        bundle.check(weights)?;
        Self::of_bundle(bundle, image_tower(weights).into())
    }

    fn of_bundle(bundle: Bundle, tower: Arc<dyn ImageTower<f32>>) -> Result<Self, DetectorError> {
        let detector = Self::of_classifier(
            bundle.classifier().clone(),
            tower,
            bundle.preprocessing().clone(),
        )?;
        let calibration = bundle.calibration().cloned().map(Arc::new);
        let rule = calibration
            .as_ref()
            .map_or(detector.rule, |calibration| calibration.rule());
        Ok(Self {
            rule,
            calibration,
            bundle: Some(Arc::new(bundle)),
            ..detector
        })
    }

    /// A classifier with the image tower of the same model, without a bundle and without a calibrated threshold: the
    /// published rule of ATD decides.
    ///
    /// # Errors
    /// Their features have different lengths.
    pub fn of_classifier(
        classifier: Classifier,
        tower: Arc<dyn ImageTower<f32>>,
        preprocessing: Preprocessing,
    ) -> Result<Self, DetectorError> {
        let (expected, found) = (classifier.dim(), tower.embed_dim());
        if expected != found {
            return Err(
                crate::classifier::ClassifierError::FeatureDimension { expected, found }.into(),
            );
        }
        Ok(Self {
            tower,
            classifier: Arc::new(classifier),
            preprocessing,
            rule: Rule::AtdExtraClass,
            calibration: None,
            bundle: None,
            top: TOP,
        })
    }

    /// The same detector that tells the `k` best classes of a picture.
    #[must_use]
    pub fn with_top(self, k: usize) -> Self {
        Self { top: k, ..self }
    }

    /// The same detector with another rule. P-values are told only with the calibrated one.
    #[must_use]
    pub fn with_rule(self, rule: Rule) -> Self {
        Self { rule, ..self }
    }

    /// The same tower with other classes, and without a calibrated threshold, which belongs to the classes that it was
    /// calibrated with; a rule that is not a calibrated one stays.
    ///
    /// # Errors
    /// The classifier belongs to another model.
    pub fn with_classifier(&self, classifier: Classifier) -> Result<Self, DetectorError> {
        let other =
            Self::of_classifier(classifier, self.tower.clone(), self.preprocessing.clone())?;
        let rule = match self.rule {
            Rule::Calibrated { score, .. } => Rule::default_for(score).unwrap_or(other.rule),
            rule => rule,
        };
        Ok(Self {
            rule,
            top: self.top,
            ..other
        })
    }

    /// The bundle that was opened.
    pub fn bundle(&self) -> Option<&Bundle> {
        self.bundle.as_deref()
    }

    /// The classes.
    pub fn classifier(&self) -> &Classifier {
        &self.classifier
    }

    /// What decides.
    pub fn rule(&self) -> Rule {
        self.rule
    }

    /// The calibration, where its rule decides.
    pub fn calibration(&self) -> Option<&Calibration> {
        self.calibration
            .as_deref()
            .filter(|calibration| calibration.rule() == self.rule)
    }

    /// How pictures become tensors.
    pub fn preprocessing(&self) -> &Preprocessing {
        &self.preprocessing
    }

    /// The image tower.
    pub fn tower(&self) -> &dyn ImageTower<f32> {
        &*self.tower
    }

    /// What a picture is.
    ///
    /// # Errors
    /// The tower refuses its input.
    pub fn detect(&self, image: &RgbImage) -> Result<Detection, DetectorError> {
        let mut pixels = vec![0.0; self.preprocessing.tensor_len()];
        self.preprocessing
            .normalise_into(&self.preprocessing.crop(image)?, &mut pixels)?;
        self.detect_one(&pixels)
    }

    /// What the picture in a file is.
    ///
    /// # Errors
    /// The file cannot be read, or is no picture that can.
    pub fn detect_file(&self, path: impl AsRef<Path>) -> Result<Detection, DetectorError> {
        let mut pixels = vec![0.0; self.preprocessing.tensor_len()];
        self.preprocessing.file_into(path.as_ref(), &mut pixels)?;
        self.detect_one(&pixels)
    }

    /// What the picture is that the bytes of a file hold.
    ///
    /// # Errors
    /// They are no picture that can be read.
    pub fn detect_bytes(&self, bytes: &[u8]) -> Result<Detection, DetectorError> {
        let mut pixels = vec![0.0; self.preprocessing.tensor_len()];
        self.preprocessing.bytes_into(bytes, &mut pixels)?;
        self.detect_one(&pixels)
    }

    fn detect_one(&self, pixels: &[f32]) -> Result<Detection, DetectorError> {
        self.detect_pixels(pixels)?
            .pop()
            .ok_or(DetectorError::Empty)
    }

    /// What each of many pictures is, `[N, 3, S, S]` as [`Preprocessing`] leaves them; S is that of
    /// [`preprocessing`](Self::preprocessing).
    ///
    /// # Errors
    /// They are not a whole number of pictures.
    pub fn detect_pixels(&self, pixels: &[f32]) -> Result<Vec<Detection>, DetectorError> {
        let pipeline = InferencePipeline::new(self.tower(), &self.classifier, &self.preprocessing)?;
        let logits = pipeline.logits(pixels)?;
        Ok(logits.rows().map(|row| self.decide(row)).collect())
    }

    /// What the logits of a picture say.
    pub fn decide(&self, row: LogitsRow<'_, f32>) -> Detection {
        let p_value = self
            .calibration()
            .map(|calibration| calibration.p_value_of(row));
        let told = detection::Told {
            names: self.classifier.class_names(),
            top: self.top,
        };
        let decision = self.rule.decide(row);
        let mut detection = told.detection(row, decision, p_value);
        detection.reason = reason::sentence(&self.rule, self.calibration(), &detection);
        detection
    }

    /// The score that decides.
    pub fn score_name(&self) -> &'static str {
        self.rule.score().name()
    }
}

impl std::fmt::Debug for Detector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Detector")
            .field("classes", &self.classifier.len())
            .field("rule", &self.rule)
            .field("preprocessing", &self.preprocessing)
            .finish_non_exhaustive()
    }
}
