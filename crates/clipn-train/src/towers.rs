use clipn_checkpoint::{Buffer, CheckpointError, Tensor};
use clipn_engine::{TransformerText, VisionTower};
use clipn_model::{
    ModelConfig, ModelError, NamedTensor, NoSide, Real, Side, TrainImage, TrainText, Weights,
};

use super::image::CpuImage;
use super::init::{fresh_text, fresh_vision};

/// ln(1 / 0.07), where CLIP's logit scale starts (CLIP, section 2.5).
const FIRST_LOGIT_SCALE: f64 = 2.659_260_036_932_778;

/// The towers that a run trains or computes with.
#[derive(Debug, Clone)]
pub struct Towers<T, I, X> {
    /// The image tower.
    pub image: I,
    /// The "yes" text tower.
    pub yes: X,
    /// The "no" text tower; none while a plain CLIP is trained.
    pub no: Option<X>,
    /// The logarithm of the scale of the logits.
    pub logit_scale: T,
}

/// The fast towers of a real run.
pub type CpuTowers = Towers<f32, CpuImage, TransformerText>;

impl CpuTowers {
    /// Towers of loaded weights. With `no_prompts`, the "no" tower is among them, and where the weights have none of
    /// its own it starts as a copy of the "yes" tower with so many prompts of zeros.
    ///
    /// # Errors
    /// The weights hold another number of prompts.
    pub fn from_weights(weights: &Weights, no_prompts: Option<usize>) -> Result<Self, ModelError> {
        let config = weights.config();
        let no = match no_prompts {
            None => None,
            Some(count) => {
                let mut params = weights.text(Side::No);
                let stored = weights.no_prompts();
                if weights.no_side() == NoSide::CopiedFromYes && count > 0 {
                    let zeros = vec![0.0; count * config.text.context_length * config.text.width];
                    params.prompts = Some(zeros.into());
                } else if weights.no_side() == NoSide::Stored && stored != count {
                    return Err(ModelError::Input(format!(
                        "{} holds {stored} \"no\" prompts and {count} are asked for; ask for as many, or start from \
                         a plain CLIP",
                        weights.path().display()
                    )));
                }
                Some(TransformerText::new(config, params))
            }
        };
        Ok(Self {
            image: CpuImage::from_weights(weights),
            yes: TransformerText::from_weights(weights, Side::Yes),
            no,
            logit_scale: weights.logit_scale().ln() as f32,
        })
    }

    /// An untrained CLIP of a config, initialised as open_clip does, from a seed.
    ///
    /// # Errors
    /// The image tower is one that cannot learn.
    pub fn fresh(config: &ModelConfig, seed: u64) -> Result<Self, ModelError> {
        CpuImage::check_learns(config)?;
        Ok(Self {
            image: CpuImage::Vit(Box::new(VisionTower::new(
                config,
                fresh_vision(config, seed),
            ))),
            yes: TransformerText::new(config, fresh_text(config, seed)),
            no: None,
            logit_scale: FIRST_LOGIT_SCALE as f32,
        })
    }

    /// Every weight by open_clip's name, for a checkpoint. Tensors share the towers' memory, so that a step before they
    /// are dropped copies what it changes.
    ///
    /// # Errors
    /// A shape that does not fit its values, which towers do not have.
    pub fn tensors(&self) -> Result<Vec<(String, Tensor)>, CheckpointError> {
        let mut tensors = self.image.tensors()?;
        let yes = self.yes.params();
        tensors.extend(shared(yes.named(Side::Yes), yes.buffers())?);
        if let Some(no) = self.no.as_ref().map(TrainText::params) {
            tensors.extend(shared(no.named(Side::No), no.buffers())?);
        }
        tensors.push((
            "logit_scale".to_owned(),
            Tensor::from_f32(&[], vec![self.logit_scale])?,
        ));
        Ok(tensors)
    }
}

/// Parameters as tensors of the same memory: `buffers` are those that were named.
pub(super) fn shared(
    named: Vec<NamedTensor<&[f32]>>,
    buffers: Vec<&Buffer<f32>>,
) -> Result<Vec<(String, Tensor)>, CheckpointError> {
    let tensor = |(t, buffer): (NamedTensor<&[f32]>, &Buffer<f32>)| {
        Ok((t.name, Tensor::from_f32(&t.shape, buffer.clone())?))
    };
    named.into_iter().zip(buffers).map(tensor).collect()
}

/// Which parameters a run changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Learns {
    /// The "no" tower with its prompts, everything else frozen, as published.
    No,
    /// The image tower, the "yes" tower and the logit scale: an ordinary CLIP.
    Clip,
}

/// A group of parameters that a run changes: its name and how many values it has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrainableGroup {
    /// The part of the names before the first dot, as `transformer_no`.
    pub name: String,
    /// Values in all.
    pub parameters: usize,
}

impl<T: Real, I: TrainImage<T>, X: TrainText<T>> Towers<T, I, X> {
    /// The parameters that learn, grouped by the first part of their names, in the order of the towers.
    pub fn trainable(&self, learns: Learns) -> Vec<TrainableGroup> {
        let names: Vec<(String, usize)> = match learns {
            Learns::No => {
                let no = self.no.iter().flat_map(|no| no.params().named(Side::No));
                no.map(|t| (t.name, t.values.len())).collect()
            }
            Learns::Clip => {
                let image = self.image.params().named().into_iter();
                let all = image
                    .chain(self.yes.params().named(Side::Yes))
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
        let towers = CpuTowers::fresh(&config, 1).unwrap();
        let tensors = towers.tensors().unwrap();
        let named = towers
            .image
            .params()
            .named()
            .into_iter()
            .chain(towers.yes.params().named(Side::Yes));
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
