use std::path::Path;

use clipn::engine::{TextEncoder, TransformerText, VisionEncoder, VisionTower};
use clipn::model::{ModelConfig, Pretrained, Side, TextParams, VisionParams, Weights};

use super::args::{BenchArgs, Task};
use super::random::Random;
use crate::common::error::CliError;

/// The architecture of the tasks that name none.
const DEFAULT: &str = "ViT-B-32";

/// An architecture with weights from a file or random ones, of which a task makes only the towers that it uses.
#[derive(Debug)]
pub struct Model {
    pub config: ModelConfig,
    weights: Option<Weights>,
}

impl Model {
    /// The model that a task measures.
    pub fn of(task: Task, args: &BenchArgs) -> Result<Self, CliError> {
        match task {
            Task::ImageB32 => Self::open("ViT-B-32", None),
            Task::ImageB16 => Self::open("ViT-B-16", None),
            _ => Self::open(
                args.model.as_deref().unwrap_or(DEFAULT),
                args.pretrained.as_deref(),
            ),
        }
    }

    fn open(name: &str, weights: Option<&Path>) -> Result<Self, CliError> {
        let config = ModelConfig::resolve(name)?;
        let weights = match weights {
            Some(path) => Some(Pretrained::open(path)?.weights(Some(config.clone()))?),
            None => None,
        };
        Ok(Self { config, weights })
    }

    /// The image tower for inference.
    pub fn image_encoder(&self) -> Result<VisionEncoder, CliError> {
        Ok(VisionEncoder::new(&self.config, self.vision()?))
    }

    /// The image tower as training has it, frozen.
    pub fn image_tower(&self) -> Result<VisionTower, CliError> {
        Ok(VisionTower::new(&self.config, self.vision()?).laid_out())
    }

    /// A text tower for inference; `prompts` as in [`Model::text_tower`].
    pub fn text_encoder(&self, side: Side, prompts: usize) -> TextEncoder {
        TextEncoder::new(&self.config, self.text(side, prompts))
    }

    /// The "yes" tower, or the "no" tower, which has `prompts` where the weights are random, as training has them.
    pub fn text_tower(&self, side: Side, prompts: usize) -> TransformerText {
        TransformerText::new(&self.config, self.text(side, prompts))
    }

    fn vision(&self) -> Result<VisionParams<f32>, CliError> {
        if self.config.vision.stages.is_some() {
            let name = &self.config.name;
            return Err(CliError::Usage(format!(
                "{name} has no ViT for its images, which is all that can be measured; give another --model"
            )));
        }
        Ok(match &self.weights {
            Some(weights) => weights.vision(),
            None => Random::new(1).vision(&self.config),
        })
    }

    fn text(&self, side: Side, prompts: usize) -> TextParams<f32> {
        match (&self.weights, side) {
            (Some(weights), side) => weights.text(side),
            (None, Side::Yes) => Random::new(2).text(&self.config, 0),
            (None, Side::No) => Random::new(3).text(&self.config, prompts),
        }
    }
}
