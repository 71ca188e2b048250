use clipn::checkpoint::Checkpoint;
use clipn::classifier::{Classifier, Wording, build};
use clipn::engine::{TextEncoder, image_tower};
use clipn::model::{ImageTower, ModelConfig, NoSide, Side, Weights};
use clipn::progress::Progress;
use clipn::prompts::TemplateSet;

use crate::args::{ModelArgs, PromptArgs};
use crate::error::CliError;

/// An opened weights file with what its names say beside the tensors.
#[derive(Debug)]
pub struct Loaded {
    pub weights: Weights,
    /// The training epoch, from the file or its name (`epoch_10.pt`).
    pub epoch: Option<String>,
}

impl Loaded {
    /// Opens config and weights, and warns where "no" has not been learned.
    pub fn open(args: &ModelArgs) -> Result<Self, CliError> {
        let config = ModelConfig::resolve(&args.model)?;
        let checkpoint = Checkpoint::open(&args.pretrained)?;
        let stem = args.pretrained.file_stem().and_then(|s| s.to_str()).unwrap_or_default();
        let named = stem.strip_prefix("epoch_").filter(|rest| rest.bytes().all(|b| b.is_ascii_digit()));
        let epoch = checkpoint.metadata().get("epoch").map(String::as_str).or(named).map(str::to_owned);
        let weights = Weights::new(config, checkpoint)?;
        if weights.no_side() == NoSide::CopiedFromYes {
            eprintln!(
                "warning: {} is a plain CLIP; its \"no\" side is a copy of the \"yes\" side, so CTW and ATD mean \
                 nothing before it is trained",
                args.pretrained.display()
            );
        }
        Ok(Self { weights, epoch })
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
