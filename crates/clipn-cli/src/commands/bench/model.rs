//! The model of a task.

use std::path::Path;

use clipn::engine::{TextEncoder, TextTransformer, VisionTransformer};
use clipn::model::{
    ImageTower, ModelConfig, ModelWeights, Precision, PretrainedWeights, TextParams, TextSide,
    TextTower, VisionParams,
};

use super::args::{BenchArgs, Task};
use super::random::RandomInputs;
use crate::common::device::Device;
use crate::common::error::CliError;

/// Architecture of tasks without `--model`.
const DEFAULT_MODEL: &str = "ViT-B-32";

/// An architecture with weights from a file or random ones. A task builds only the towers that it
/// uses.
#[derive(Debug)]
pub(crate) struct Model {
    pub config: ModelConfig,
    weights: Option<ModelWeights>,
    precision: Precision,
}

impl Model {
    /// The model that a task measures.
    pub(crate) fn for_task(task: Task, args: &BenchArgs) -> Result<Self, CliError> {
        let precision = task.precision();
        match task {
            Task::ImageB16 | Task::ImageB16Int8 => Self::open("ViT-B-16", None, precision),
            task if task.has_fixed_model() => Self::open(DEFAULT_MODEL, None, precision),
            _ => Self::open(
                args.model.as_deref().unwrap_or(DEFAULT_MODEL),
                args.pretrained.as_deref(),
                precision,
            ),
        }
    }

    fn open(name: &str, weights: Option<&Path>, precision: Precision) -> Result<Self, CliError> {
        let config = ModelConfig::resolve(name)?;
        let weights = match weights {
            Some(path) => Some(PretrainedWeights::open(path)?.weights(Some(config.clone()))?),
            None => None,
        };
        Ok(Self {
            config,
            weights,
            precision,
        })
    }

    /// Image tower for inference on a device.
    pub(crate) fn image_tower_on(
        &self,
        device: &Device,
    ) -> Result<Box<dyn ImageTower<f32>>, CliError> {
        let precision = self.precision_on(device);
        Ok(device.image_tower(&self.config, self.vision()?, precision)?)
    }

    /// Text tower for inference on a device.
    pub(crate) fn text_tower_on(
        &self,
        device: &Device,
        side: TextSide,
    ) -> Result<Box<dyn TextTower<f32>>, CliError> {
        let precision = self.precision_on(device);
        Ok(device.text_tower(&self.config, self.text(side, 0), side, precision)?)
    }

    /// Precision of the task on the CPU, that of the flags on a GPU.
    fn precision_on(&self, device: &Device) -> Precision {
        match device.is_cpu() {
            true => self.precision,
            false => device.precision(),
        }
    }

    /// Frozen image tower for training.
    pub(crate) fn image_tower(&self) -> Result<VisionTransformer, CliError> {
        Ok(VisionTransformer::new(&self.config, self.vision()?).with_packed_weights())
    }

    /// Text tower for inference; `prompts` as in [`Model::text_tower`].
    pub(crate) fn text_encoder(&self, side: TextSide, prompts: usize) -> TextEncoder {
        TextEncoder::with_precision(&self.config, self.text(side, prompts), self.precision)
    }

    /// Text tower for training. A "no" tower with random weights has `prompts` learnable prompts.
    pub(crate) fn text_tower(&self, side: TextSide, prompts: usize) -> TextTransformer {
        TextTransformer::new(&self.config, self.text(side, prompts))
    }

    fn vision(&self) -> Result<VisionParams<f32>, CliError> {
        if self.config.vision.stages.is_some() {
            let name = &self.config.name;
            return Err(CliError::usage_with_hint(
                format!("the image tower of {name} is a ResNet, expected a ViT"),
                "give another --model",
            ));
        }
        Ok(match &self.weights {
            Some(weights) => weights.vision_params(),
            None => RandomInputs::new(1).vision(&self.config),
        })
    }

    fn text(&self, side: TextSide, prompts: usize) -> TextParams<f32> {
        match (&self.weights, side) {
            (Some(weights), side) => weights.text_params(side),
            (None, TextSide::Yes) => RandomInputs::new(2).text(&self.config, 0),
            (None, TextSide::No) => RandomInputs::new(3).text(&self.config, prompts),
        }
    }
}
