//! Towers of a training run on the CPU: from loaded weights, or untrained.

mod image_tower;
mod init;

pub use image_tower::{CpuImageTower, FrozenResNet};

use image_tower::shared_tensors;
use init::{init_text, init_vision};

use clipn_checkpoint::{CheckpointError, Tensor};
use clipn_engine::{TextTransformer, VisionTransformer};
use clipn_model::{
    ModelConfig, ModelError, ModelWeights, NoSideOrigin, Real, TextSide, TrainableImageTower,
    TrainableTextTower,
};

/// ln(1 / 0.07), the initial logit scale of CLIP (section 2.5).
const INITIAL_LOGIT_SCALE: f64 = 2.659_260_036_932_778;

/// The towers of a training run, trainable and frozen.
#[derive(Debug, Clone)]
pub struct Towers<T, Image, Text> {
    /// Image tower.
    pub image: Image,
    /// "Yes" text tower.
    pub yes: Text,
    /// "No" text tower; `None` while a plain CLIP is trained.
    pub no: Option<Text>,
    /// Natural logarithm of the scale of the logits.
    pub logit_scale: T,
}

/// The towers of a training run on the CPU, in f32.
pub type CpuTowers = Towers<f32, CpuImageTower, TextTransformer>;

impl CpuTowers {
    /// Creates towers of loaded weights. With `no_prompts`, they include the "no" tower. If the
    /// weights have none of their own, it starts as a copy of the "yes" tower with `no_prompts`
    /// prompts of zeros.
    ///
    /// # Errors
    /// [`ModelError::NoPromptCount`] if the weights have another number of prompts.
    pub fn from_weights(
        weights: &ModelWeights,
        no_prompts: Option<usize>,
    ) -> Result<Self, ModelError> {
        let config = weights.config();
        let no = match no_prompts {
            None => None,
            Some(count) => {
                let mut params = weights.text_params(TextSide::No);
                let stored = weights.no_prompts();
                if weights.no_side_origin() == NoSideOrigin::CopiedFromYes && count > 0 {
                    let zeros = vec![0.0; count * config.text.context_length * config.text.width];
                    params.prompts = Some(zeros.into());
                } else if weights.no_side_origin() == NoSideOrigin::Stored && stored != count {
                    return Err(ModelError::NoPromptCount {
                        path: weights.path().to_owned(),
                        expected: count,
                        found: stored,
                    });
                }
                Some(TextTransformer::new(config, params))
            }
        };
        Ok(Self {
            image: CpuImageTower::from_weights(weights),
            yes: TextTransformer::from_weights(weights, TextSide::Yes),
            no,
            logit_scale: weights.logit_scale().ln() as f32,
        })
    }

    /// Creates the towers of an untrained CLIP, initialized as in open_clip from a seed.
    ///
    /// # Errors
    /// [`ModelError::UntrainableResNet`] if the image tower cannot be trained.
    pub fn untrained(config: &ModelConfig, seed: u64) -> Result<Self, ModelError> {
        CpuImageTower::check_trainable(config)?;
        Ok(Self {
            image: CpuImageTower::Vit(Box::new(VisionTransformer::new(
                config,
                init_vision(config, seed),
            ))),
            yes: TextTransformer::new(config, init_text(config, seed)),
            no: None,
            logit_scale: INITIAL_LOGIT_SCALE as f32,
        })
    }

    /// Returns every weight by open_clip's name, for a checkpoint. Tensors share the towers'
    /// memory: a training step copies what it changes until they are dropped.
    ///
    /// # Errors
    /// [`CheckpointError`] if a shape does not fit its values, which does not occur for valid
    /// towers.
    pub fn tensors(&self) -> Result<Vec<(String, Tensor)>, CheckpointError> {
        let mut tensors = self.image.tensors()?;
        let yes = self.yes.params();
        tensors.extend(shared_tensors(
            yes.named_tensors(TextSide::Yes),
            yes.buffers(),
        )?);
        if let Some(no) = self.no.as_ref().map(TrainableTextTower::params) {
            tensors.extend(shared_tensors(
                no.named_tensors(TextSide::No),
                no.buffers(),
            )?);
        }
        tensors.push((
            "logit_scale".to_owned(),
            Tensor::from_f32(&[], vec![self.logit_scale])?,
        ));
        Ok(tensors)
    }
}

/// Which parameters a run trains.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum TrainableTowers {
    /// The "no" tower with its prompts; everything else is frozen, as published.
    NoTower,
    /// The image tower, the "yes" tower and the logit scale, as in ordinary CLIP training.
    Clip,
}

/// A group of trained parameters and its size.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct TrainableGroup {
    /// Part of the parameter names before the first dot, such as `transformer_no`.
    pub name: String,
    /// Number of values in the group.
    pub parameters: usize,
}

impl<T: Real, Image: TrainableImageTower<T>, Text: TrainableTextTower<T>> Towers<T, Image, Text> {
    /// Returns the trained parameters, grouped by the first part of their names, in the order of
    /// the towers.
    pub fn trainable_groups(&self, trainable: TrainableTowers) -> Vec<TrainableGroup> {
        let names: Vec<(String, usize)> = match trainable {
            TrainableTowers::NoTower => {
                let no = self
                    .no
                    .iter()
                    .flat_map(|no| no.params().named_tensors(TextSide::No));
                no.map(|t| (t.name, t.values.len())).collect()
            }
            TrainableTowers::Clip => {
                let image = self.image.params().named_tensors().into_iter();
                let all = image
                    .chain(self.yes.params().named_tensors(TextSide::Yes))
                    .map(|t| (t.name, t.values.len()));
                all.chain([("logit_scale".to_owned(), 1)]).collect()
            }
        };
        let mut groups: Vec<TrainableGroup> = Vec::new();
        for (name, parameters) in names {
            let name = name.split('.').next().unwrap_or_default();
            match groups.iter_mut().find(|group| group.name == name) {
                Some(group) => group.parameters += parameters,
                None => groups.push(TrainableGroup {
                    name: name.to_owned(),
                    parameters,
                }),
            }
        }
        groups
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tensors_share_the_memory_of_the_towers() {
        let mut config = ModelConfig::resolve("ViT-B-32").unwrap();
        (
            config.vision.layers,
            config.vision.width,
            config.vision.image_size,
        ) = (1, 64, 64);
        (
            config.text.layers,
            config.text.width,
            config.text.vocab_size,
        ) = (1, 64, 100);
        let towers = CpuTowers::untrained(&config, 1).unwrap();
        let tensors = towers.tensors().unwrap();
        let named = towers
            .image
            .params()
            .named_tensors()
            .into_iter()
            .chain(towers.yes.params().named_tensors(TextSide::Yes));
        let mut count = 0;
        for (parameter, (name, tensor)) in named.zip(&tensors) {
            assert_eq!(
                (&parameter.name, &parameter.shape[..]),
                (name, tensor.shape())
            );
            assert_eq!(
                bytemuck::cast_slice::<f32, u8>(parameter.values).as_ptr(),
                tensor.bytes().as_ptr(),
                "{name}"
            );
            count += 1;
        }
        assert_eq!(
            (tensors.len(), &tensors[count].0[..]),
            (count + 1, "logit_scale")
        );
    }
}
