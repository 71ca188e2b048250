use super::{Bundle, BundleError, ModelIdentity};
use crate::classifier::{PromptVariant, build};
use clipn_base::progress::Progress;
use clipn_engine::TextEncoder;
use clipn_image::{DecodeOptions, Preprocessing};
use clipn_model::{LogitScale, ModelConfig, Pretrained, Side};
use clipn_text::prompts::TemplateSet;

impl Bundle {
    /// Builds a bundle for user images: encodes class names with the text towers of a model.
    ///
    /// Templates and logit scale are those named in the weights, else the published ones. `model`
    /// is the architecture for weights that do not specify it.
    ///
    /// ```
    /// use clipn_detect::bundle::Bundle;
    /// use clipn_detect::detector::Detector;
    /// use clipn_image::RgbImage;
    /// use clipn_model::Pretrained;
    /// use clipn_base::progress::NoProgress;
    ///
    /// # let folder = tempfile::tempdir()?;
    /// # std::env::set_current_dir(&folder)?;
    /// let names = ["school bus", "pizza"].map(String::from);
    /// Bundle::build(&names, &Pretrained::mini()?, None, &NoProgress)?.write("shop.clipn")?;
    ///
    /// let detector = Detector::open("shop.clipn")?;
    /// let yellow = RgbImage::new(64, 48, [220, 180, 30].repeat(64 * 48))?;
    /// let found = detector.detect(&yellow)?;
    /// assert!(["school bus", "pizza", "unknown"].contains(&found.label_or_unknown()));
    /// println!("{}: {}", found.label_or_unknown(), found.reason);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// A [`BundleError`] if the weights are incomplete or their architecture is unknown, if the
    /// templates are unknown, or if [`build`] fails.
    pub fn build(
        class_names: &[String],
        pretrained: &Pretrained,
        model: Option<ModelConfig>,
        progress: &dyn Progress,
    ) -> Result<Self, BundleError> {
        let weights = pretrained.weights(model)?;
        let notes = pretrained.notes();
        let templates =
            TemplateSet::resolve(notes.templates.as_deref().unwrap_or(TemplateSet::PUBLISHED))?;
        let wording = PromptVariant::for_weights(&weights, &templates);
        let yes = TextEncoder::from_weights(&weights, Side::Yes);
        let no = TextEncoder::from_weights(&weights, Side::No);
        let classifier = build(class_names, &templates, wording, &yes, &no, progress)?;
        let classifier = match notes.logit_scale {
            Some(LogitScale::Trained) => classifier.with_scale(weights.logit_scale()),
            Some(LogitScale::Published) | None => classifier,
        };
        let size = weights.config().vision.image_size;
        let own = pretrained
            .preprocessing()?
            .unwrap_or_else(|| Preprocessing::clip(size));
        let preprocessing = Preprocessing {
            size,
            decode: DecodeOptions::for_display(),
            ..own
        };
        let source = Some(pretrained.checkpoint().path().display().to_string());
        let identity = ModelIdentity::of(&weights, source);
        Ok(Self::new(
            classifier,
            templates,
            wording,
            identity,
            preprocessing,
        ))
    }
}
