use std::fmt;

use clipn_engine::image_tower;
use clipn_image::{DecodeOptions, Preprocessing};
use clipn_model::{ImageBatch, ModelConfig, ModelWeights, PretrainedWeights, has_direction};

use crate::bundle::{Bundle, BundleError, ModelIdentity};
use crate::classifier::ClassifierBuilder;

/// Builds a [`Bundle`] for user images from class names and pretrained weights.
///
/// ```
/// use clipn_detect::bundle::BundleBuilder;
/// use clipn_detect::classifier::ClassifierBuilder;
/// use clipn_detect::detector::Detector;
/// use clipn_model::PretrainedWeights;
/// use clipn_text::prompts::TemplateSet;
///
/// let classes = ClassifierBuilder::new(["school bus", "pizza"])
///     .with_templates(TemplateSet::built_in("simple")?);
/// let bundle = BundleBuilder::new(classes)
///     .with_image_tower(true)
///     .build(&PretrainedWeights::mini()?)?;
/// let detector = Detector::from_bundle(bundle)?;
/// assert_eq!(detector.classifier().len(), 2);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct BundleBuilder<'a> {
    classifier: ClassifierBuilder<'a>,
    config: Option<ModelConfig>,
    decode: DecodeOptions,
    image_tower: bool,
}

impl<'a> BundleBuilder<'a> {
    /// Creates a builder for the classes, templates and other settings of `classifier`. The metadata
    /// of the weights replaces its metadata.
    pub fn new(classifier: ClassifierBuilder<'a>) -> Self {
        Self {
            classifier,
            config: None,
            decode: DecodeOptions::for_display(),
            image_tower: false,
        }
    }

    /// Sets the architecture, for weights that do not specify it.
    #[must_use]
    pub fn with_config(self, config: impl Into<Option<ModelConfig>>) -> Self {
        Self {
            config: config.into(),
            ..self
        }
    }

    /// Sets how images are decoded [default: [`DecodeOptions::for_display`]].
    #[must_use]
    pub fn with_decode_options(self, decode: DecodeOptions) -> Self {
        Self { decode, ..self }
    }

    /// Sets whether the bundle contains the image tower [default: false], so that it needs no other
    /// file.
    #[must_use]
    pub fn with_image_tower(self, image_tower: bool) -> Self {
        Self {
            image_tower,
            ..self
        }
    }

    /// Encodes the class names with the text towers of `pretrained`, and combines the classifier with
    /// the preprocessing and the identity of the model.
    ///
    /// # Errors
    /// A [`BundleError`] if the weights are incomplete, their architecture is unknown or their image
    /// tower returns features that are not finite, or if [`ClassifierBuilder::build`] fails.
    pub fn build(&self, pretrained: &PretrainedWeights) -> Result<Bundle, BundleError> {
        let weights = pretrained.weights(self.config.clone())?;
        let classifier = self
            .classifier
            .clone()
            .with_metadata(&pretrained.metadata());
        let prompts = classifier.prompts(&weights)?;
        let classifier = classifier.build(&weights)?;
        let size = weights.config().vision.image_size;
        let own = pretrained
            .preprocessing()?
            .unwrap_or_else(|| Preprocessing::clip(size));
        let preprocessing = Preprocessing {
            size,
            decode: self.decode,
            ..own
        };
        let source = pretrained.checkpoint().path().display().to_string();
        let identity = ModelIdentity::from_weights(&weights, source);
        Bundle::check_features(&weights)?;
        let bundle = Bundle::new(classifier, prompts, identity, preprocessing);
        if self.image_tower {
            return bundle.with_image_tower(&weights);
        }
        Ok(bundle)
    }
}

impl fmt::Debug for BundleBuilder<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BundleBuilder")
            .field("classifier", &self.classifier)
            .field("config", &self.config)
            .field("decode", &self.decode)
            .field("image_tower", &self.image_tower)
            .finish()
    }
}

impl Bundle {
    /// Encodes one uniform image, so that damaged weights are found before the first image of a user.
    ///
    /// # Errors
    /// [`BundleError::DamagedImageTower`] if the features are NaN, infinite or zero.
    pub fn check_features(weights: &ModelWeights) -> Result<(), BundleError> {
        let size = weights.config().vision.image_size;
        let pixels = vec![0.5; 3 * size * size];
        let mut features = image_tower(weights).encode(ImageBatch::new(&pixels, size, size)?)?;
        features.normalize();
        if features.rows().all(has_direction) {
            Ok(())
        } else {
            Err(BundleError::DamagedImageTower)
        }
    }

    /// Builds a bundle for user images with the default settings of [`BundleBuilder`] and
    /// [`ClassifierBuilder`].
    ///
    /// ```
    /// use clipn_detect::bundle::Bundle;
    /// use clipn_detect::detector::Detector;
    /// use clipn_image::RgbImage;
    /// use clipn_model::PretrainedWeights;
    ///
    /// # let folder = tempfile::tempdir()?;
    /// # let path = folder.path().join("shop.clipn");
    /// Bundle::build(["school bus", "pizza"], &PretrainedWeights::mini()?)?.write(&path)?;
    ///
    /// let detector = Detector::open(&path)?;
    /// let yellow = RgbImage::new(64, 48, [220, 180, 30].repeat(64 * 48))?;
    /// let found = detector.detect(&yellow)?;
    /// assert!(["school bus", "pizza", "unknown"].contains(&found.label_or_unknown()));
    /// println!("{}: {}", found.label_or_unknown(), found.reason);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// Same as [`BundleBuilder::build`].
    pub fn build(
        class_names: impl IntoIterator<Item = impl Into<String>>,
        pretrained: &PretrainedWeights,
    ) -> Result<Self, BundleError> {
        BundleBuilder::new(ClassifierBuilder::new(class_names)).build(pretrained)
    }
}
