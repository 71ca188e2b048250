//! Opening a model, and building its classifier.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clipn::bundle::Bundle;
use clipn::classifier::{ClassPrompts, Classifier, ClassifierBuilder};
use clipn::count::count;
use clipn::detector::DetectorError;
use clipn::download::FetchPurpose;
use clipn::image::Preprocessing;
use clipn::model::{
    ImageTower, ModelConfig, ModelWeights, NoSideOrigin, Precision, PretrainedWeights,
    TowerFactory, WeightsMetadata,
};
use clipn::progress::Progress;
use clipn::prompts::TemplateSet;

use crate::common::args::{ModelArgs, PromptArgs};
use crate::common::classes::ClassesToEncode;
use crate::common::device::Device;
use crate::common::error::CliError;
use crate::common::messages::{detail, note, warning};
use crate::common::weights::{LocatedWeights, WeightsKeyArgs, locate};

/// Opened weights with their metadata.
#[derive(Debug)]
pub(crate) struct LoadedModel {
    pub weights: ModelWeights,
    /// File or directory that they were opened from.
    pub path: PathBuf,
    /// The weights' own preprocessing, or CLIP's if they have none.
    pub preprocessing: Preprocessing,
    /// Training epoch, from the file or its name (`epoch_10.pt`, `epoch-10/`).
    pub epoch: Option<String>,
    /// Templates, logit scale and vocabulary that the weights name.
    metadata: WeightsMetadata,
    /// Makes the towers.
    towers: Arc<dyn TowerFactory>,
}

impl LoadedModel {
    /// Opens config and weights. Warns if the "no" side is not trained.
    pub(crate) fn open(args: &ModelArgs, device: &Device) -> Result<Self, CliError> {
        let requested = args.requested();
        let located = locate(
            args.pretrained.as_deref(),
            args.model.as_deref(),
            &args.downloads,
            FetchPurpose::Compute,
        )?;
        let model = located
            .model
            .as_deref()
            .map(ModelConfig::resolve)
            .transpose()?;
        let origin = located.model.as_deref().unwrap_or("the weights").to_owned();
        let mut loaded =
            Self::from_located(located, model, requested, &origin, (&args.key, device))?;
        let precision = match device.precision() {
            // A ResNet has no other.
            _ if loaded.weights.config().vision.stages.is_some()
                && !device.has_requested_precision() =>
            {
                Precision::F32
            }
            precision => precision,
        };
        loaded.set_precision(precision)?;
        Ok(loaded)
    }

    /// Opens the weights that a bundle was built for: those of `--pretrained`, else those that the
    /// bundle names.
    pub(crate) fn for_bundle(
        bundle: &Bundle,
        at: &Path,
        args: &ModelArgs,
        device: &Device,
    ) -> Result<Self, CliError> {
        let config = bundle.identity().config.clone();
        let named = bundle.identity().source.as_deref().map(Path::new);
        let on_disk = bundle.find_weights(at);
        let requested = args.pretrained.as_deref().or(on_disk.as_deref()).or(named);
        let Some(requested) = requested else {
            return Err(DetectorError::ModelNotFound {
                bundle: at.to_owned(),
                source_name: None,
            }
            .into());
        };
        let is_tag = !requested.exists() && args.pretrained.is_none();
        let model = is_tag.then_some(config.name.as_str());
        let located = locate(
            Some(requested),
            model,
            &args.downloads,
            FetchPurpose::Compute,
        )?;
        let opened = (&args.key, device);
        let mut loaded =
            Self::from_located(located, Some(config), requested, "the bundle", opened)?;
        loaded.set_precision(device.precision_of_bundle(bundle.identity().precision))?;
        Ok(loaded)
    }

    /// Sets the precision of the towers that are made from now on.
    pub(crate) fn set_precision(&mut self, precision: Precision) -> Result<(), CliError> {
        self.weights = self.weights.clone().with_precision(precision)?;
        detail(format_args!("precision {precision}"));
        Ok(())
    }

    /// Opens located weights; `origin` is where the architecture comes from.
    fn from_located(
        located: LocatedWeights,
        model: Option<ModelConfig>,
        requested: &Path,
        origin: &str,
        (key, device): (&WeightsKeyArgs, &Device),
    ) -> Result<Self, CliError> {
        let pretrained = key.open(&located.path)?;
        let epoch = epoch(&pretrained, &located.path);
        let weights = pretrained.weights(model)?;
        let own = pretrained.preprocessing()?;
        let size = weights.config().vision.image_size;
        detail(format_args!(
            "architecture {}, from {origin}; preprocessing of {}",
            weights.config().name,
            own.as_ref().map_or("CLIP", |_| "the weights"),
        ));
        let preprocessing = Preprocessing {
            size,
            ..own.unwrap_or_else(|| Preprocessing::clip(size))
        };
        if weights.no_side_origin() == NoSideOrigin::CopiedFromYes {
            detail(format_args!(
                "{} is a plain CLIP, which has not learned \"no\"",
                requested.display()
            ));
        }
        Ok(Self {
            weights,
            path: located.path,
            preprocessing,
            epoch,
            metadata: pretrained.metadata(),
            towers: device.factory(),
        })
    }

    /// Name or file of the templates: those of the flag, else those of the weights, else the
    /// published ones.
    pub(crate) fn templates_name<'a>(&'a self, prompts: &'a PromptArgs) -> &'a str {
        prompts
            .templates
            .as_deref()
            .or(self.metadata.templates.as_deref())
            .unwrap_or(TemplateSet::DEFAULT_NAME)
    }

    /// The prompts of any classes with these flags.
    pub(crate) fn class_prompts(&self, prompts: &PromptArgs) -> Result<ClassPrompts, CliError> {
        let templates = prompts.templates.as_deref().map(TemplateSet::resolve);
        let builder = self.builder(&[], prompts, templates.transpose()?);
        Ok(builder.prompts(&self.weights)?)
    }

    /// Builds the classifier of class names, and releases the memory of the text towers.
    pub(crate) fn classifier(
        &self,
        classes: &ClassesToEncode,
        prompts: &PromptArgs,
        progress: &dyn Progress,
    ) -> Result<(Classifier, ClassPrompts), CliError> {
        let templates = read_templates(prompts.templates.as_deref())?;
        let builder = self
            .builder(&classes.names, prompts, templates)
            .with_duplicates(classes.allow_duplicates)
            .with_progress(progress);
        let prompts = builder.prompts(&self.weights)?;
        let classifier = self.build(&builder)?;
        let templates = prompts.templates();
        let texts = match templates.sentences() {
            Some(sentences) => format!("{} per class", count(sentences.sentences(), "sentence")),
            None => count(templates.len(), "template").to_string(),
        };
        detail(format_args!(
            "{texts} of {}, variant {}; logit scale {}{}",
            templates.name(),
            prompts.variant(),
            classifier.scale(),
            match classifier.no_scale() {
                1.0 => String::new(),
                factor => format!(", \"no\" times {factor}"),
            }
        ));
        Ok((classifier, prompts))
    }

    /// Builds the classifier of further classes of a bundle with these prompts and the published
    /// logit scale.
    pub(crate) fn classifier_for_bundle(
        &self,
        classes: &ClassesToEncode,
        prompts: &ClassPrompts,
        progress: &dyn Progress,
    ) -> Result<Classifier, CliError> {
        let builder = ClassifierBuilder::new(&classes.names)
            .with_prompts(prompts.clone())
            .with_duplicates(classes.allow_duplicates)
            .with_progress(progress);
        self.build(&builder)
    }

    fn builder(
        &self,
        class_names: &[String],
        prompts: &PromptArgs,
        templates: Option<TemplateSet>,
    ) -> ClassifierBuilder<'static> {
        ClassifierBuilder::new(class_names)
            .with_metadata(&self.metadata)
            .with_templates(templates)
            .with_variant(prompts.variant.0)
            .with_logit_scale(prompts.logit_scale)
    }

    fn build(&self, builder: &ClassifierBuilder<'_>) -> Result<Classifier, CliError> {
        let builder = builder.clone().with_towers(&*self.towers);
        let built = builder.build_with_report(&self.weights)?;
        self.weights.release_pages();
        built.notes().iter().for_each(warning);
        Ok(built.classifier)
    }

    /// Image tower for inference.
    pub(crate) fn image_tower(&self) -> Result<Box<dyn ImageTower<f32>>, CliError> {
        Ok(self.towers.image_tower(&self.weights)?)
    }

    /// The factory of [`towers`](Self::towers), to keep.
    #[cfg(feature = "serve")]
    pub(crate) fn factory(&self) -> Arc<dyn TowerFactory> {
        Arc::clone(&self.towers)
    }

    /// Makes towers on the device of the model.
    pub(crate) fn towers(&self) -> &dyn TowerFactory {
        &*self.towers
    }
}

/// Reads templates, and notes in which form they were written.
pub(crate) fn read_templates(spec: Option<&str>) -> Result<Option<TemplateSet>, CliError> {
    let Some(spec) = spec else {
        return Ok(None);
    };
    let (templates, description) = TemplateSet::resolve_described(spec)?;
    if let Some(description) = description {
        note(description);
    }
    Ok(Some(templates))
}

/// The training epoch in the metadata of weights, or in their file name.
fn epoch(pretrained: &PretrainedWeights, path: &Path) -> Option<String> {
    let stem = path.file_stem().and_then(|stem| stem.to_str());
    let named = stem
        .and_then(|stem| stem.strip_prefix("epoch_").or(stem.strip_prefix("epoch-")))
        .filter(|number| number.bytes().all(|byte| byte.is_ascii_digit()));
    let stored = pretrained.checkpoint().metadata().get("epoch");
    stored.or(named).map(str::to_owned)
}
