use std::path::PathBuf;

use clipn::classifier::{Classifier, Wording, build};
use clipn::download::Purpose;
use clipn::engine::{TextEncoder, image_tower};
use clipn::image::Preprocessing;
use clipn::model::{ImageTower, ModelConfig, NoSide, Pretrained, Side, Weights};
use clipn::progress::Progress;
use clipn::prompts::TemplateSet;

use crate::args::{ModelArgs, PromptArgs};
use crate::error::CliError;
use crate::weights::locate;

/// Opened weights with what is told beside the tensors.
#[derive(Debug)]
pub struct Loaded {
    pub weights: Weights,
    /// The file or folder that they were opened from.
    pub path: PathBuf,
    /// The weights' own preprocessing, or CLIP's where they have none.
    pub preprocessing: Preprocessing,
    /// The training epoch, from the file or its name (`epoch_10.pt`, `epoch-10/`).
    pub epoch: Option<String>,
}

impl Loaded {
    /// Opens config and weights, and warns where "no" has not been learned.
    pub fn open(args: &ModelArgs) -> Result<Self, CliError> {
        let asked = args.asked();
        let located =
            locate(args.pretrained.as_deref(), args.model.as_deref(), &args.downloads, Purpose::Compute)?;
        let model = located.model.as_deref().map(ModelConfig::resolve).transpose()?;
        let pretrained = Pretrained::open(&located.path)?;
        let stem = located.path.file_stem().and_then(|s| s.to_str()).unwrap_or_default();
        let number = stem.strip_prefix("epoch_").or_else(|| stem.strip_prefix("epoch-"));
        let named = number.filter(|rest| rest.bytes().all(|b| b.is_ascii_digit()));
        let stored = pretrained.checkpoint().metadata().get("epoch").map(String::as_str);
        let epoch = stored.or(named).map(str::to_owned);
        let weights = pretrained.weights(model)?;
        let own = pretrained.preprocessing()?;
        let preprocessing = own.unwrap_or_else(|| Preprocessing::clip(weights.config().vision.image_size));
        if weights.no_side() == NoSide::CopiedFromYes {
            eprintln!(
                "warning: {} is a plain CLIP; its \"no\" side is a copy of the \"yes\" side, so CTW and ATD mean \
                 nothing before it is trained",
                asked.display()
            );
        }
        Ok(Self { weights, path: located.path, preprocessing, epoch })
    }

    /// Builds the classifier; the text towers leave memory when it is done.
    pub fn classifier(
        &self,
        class_names: &[String],
        prompts: &PromptArgs,
        progress: &dyn Progress,
    ) -> Result<(Classifier, Wording), CliError> {
        let templates = TemplateSet::resolve(&prompts.templates)?;
        let has_no_side = self.weights.no_side() == NoSide::Stored;
        let wording =
            prompts.variant.wording(has_no_side, self.weights.no_prompts(), templates.no().is_some());
        let yes = TextEncoder::from_weights(&self.weights, Side::Yes);
        let no = TextEncoder::from_weights(&self.weights, Side::No);
        let classifier = build(class_names, &templates, wording, &yes, &no, progress)?;
        drop((yes, no));
        self.weights.release();
        Ok((classifier, wording))
    }

    /// The image tower.
    pub fn image_tower(&self) -> Box<dyn ImageTower<f32>> {
        image_tower(&self.weights)
    }
}
