//! The image towers that a run can have: one that can learn, and one that is only ever frozen.

use super::towers::shared;
use clipn_checkpoint::{CheckpointError, Tensor};
use clipn_engine::{ResNetTower, VisionTape, VisionTower};
use clipn_model::{
    Features, ImageTower, Images, ModelConfig, ModelError, NamedTensor, NormParams, ResNetParams,
    TrainImage, VisionParams, Weights,
};

/// The image tower of a run.
#[derive(Debug, Clone)]
pub enum CpuImage {
    /// A ViT, frozen or not.
    Vit(Box<VisionTower>),
    /// A ResNet, always frozen.
    ResNet(Box<FrozenResNet>),
}

/// A ResNet, with what checkpoints need beside what it computes with.
#[derive(Debug, Clone)]
pub struct FrozenResNet {
    tower: ResNetTower,
    config: ModelConfig,
    /// As the file has them, with the batch norms apart.
    stored: ResNetParams<f32>,
    /// The parameters that can learn: none.
    learning: VisionParams<f32>,
}

impl CpuImage {
    /// The tower of loaded weights.
    pub fn from_weights(weights: &Weights) -> Self {
        match weights.resnet() {
            Ok(stored) => Self::ResNet(Box::new(FrozenResNet::new(weights.config(), stored))),
            // Not a ResNet.
            Err(_) => Self::Vit(Box::new(VisionTower::from_weights(weights))),
        }
    }

    /// Refuses a config whose image tower cannot learn.
    ///
    /// # Errors
    /// It is a ResNet.
    pub fn check_learns(config: &ModelConfig) -> Result<(), ModelError> {
        match config.vision.stages {
            Some(_) => Err(ModelError::FrozenOnly {
                model: config.name.clone(),
            }),
            None => Ok(()),
        }
    }

    /// The same tower for a run in which it stays as it is.
    #[must_use]
    pub fn frozen(self) -> Self {
        match self {
            Self::Vit(tower) => Self::Vit(Box::new(tower.laid_out())),
            frozen @ Self::ResNet(_) => frozen,
        }
    }

    /// Every parameter by open_clip's name as a tensor, which shares the memory of a ViT's.
    ///
    /// # Errors
    /// A shape that does not fit its values, which towers do not have.
    pub fn tensors(&self) -> Result<Vec<(String, Tensor)>, CheckpointError> {
        match self {
            Self::Vit(tower) => shared(tower.params().named(), tower.params().buffers()),
            Self::ResNet(_) => {
                let owned = |t: NamedTensor<&[f32]>| {
                    Ok((t.name, Tensor::from_f32(&t.shape, t.values.to_vec())?))
                };
                self.named().into_iter().map(owned).collect()
            }
        }
    }

    /// Every parameter by open_clip's name.
    pub fn named(&self) -> Vec<NamedTensor<&[f32]>> {
        match self {
            Self::Vit(tower) => tower.params().named(),
            Self::ResNet(frozen) => frozen.stored.named(&frozen.config),
        }
    }

    /// Parameters from the first layer to the last by which one tower is told from another.
    pub(super) fn ends(&self) -> [&[f32]; 3] {
        match self {
            Self::Vit(tower) => {
                let params = tower.params();
                [&params.conv1, &params.ln_post.weight, &params.proj]
            }
            Self::ResNet(frozen) => {
                let ResNetParams { stem, attnpool, .. } = &frozen.stored;
                [
                    &stem[0].weight,
                    &attnpool.positional_embedding,
                    &attnpool.c_proj.weight,
                ]
            }
        }
    }

    fn any(&self) -> &dyn ImageTower<f32> {
        match self {
            Self::Vit(tower) => &**tower,
            Self::ResNet(frozen) => &frozen.tower,
        }
    }
}

impl FrozenResNet {
    fn new(config: &ModelConfig, stored: ResNetParams<f32>) -> Self {
        let none = || Vec::new().into();
        let no_norm = || NormParams {
            weight: none(),
            bias: none(),
        };
        let learning = VisionParams {
            conv1: none(),
            class_embedding: none(),
            positional_embedding: none(),
            ln_pre: no_norm(),
            blocks: Vec::new(),
            ln_post: no_norm(),
            proj: none(),
        };
        Self {
            tower: ResNetTower::new(config, &stored),
            config: config.clone(),
            stored,
            learning,
        }
    }

    fn refusal(&self) -> ModelError {
        ModelError::FrozenOnly {
            model: self.config.name.clone(),
        }
    }
}

impl ImageTower<f32> for CpuImage {
    fn embed_dim(&self) -> usize {
        self.any().embed_dim()
    }

    fn image_size(&self) -> usize {
        self.any().image_size()
    }

    fn encode(&self, images: Images<'_, f32>) -> Result<Features<f32>, ModelError> {
        self.any().encode(images)
    }
}

/// Of a ResNet, the passes for training are refused and there are no parameters that learn.
impl TrainImage<f32> for CpuImage {
    type Tape = VisionTape;

    fn forward(&self, images: Images<'_, f32>) -> Result<(Features<f32>, VisionTape), ModelError> {
        match self {
            Self::Vit(tower) => tower.forward(images),
            Self::ResNet(frozen) => Err(frozen.refusal()),
        }
    }

    fn backward(
        &self,
        tape: VisionTape,
        d_features: &[f32],
        gradient: &mut VisionParams<f32>,
    ) -> Result<(), ModelError> {
        match self {
            Self::Vit(tower) => tower.backward(tape, d_features, gradient),
            Self::ResNet(frozen) => Err(frozen.refusal()),
        }
    }

    fn params(&self) -> &VisionParams<f32> {
        match self {
            Self::Vit(tower) => tower.params(),
            Self::ResNet(frozen) => &frozen.learning,
        }
    }

    fn params_mut(&mut self) -> &mut VisionParams<f32> {
        match self {
            Self::Vit(tower) => tower.params_mut(),
            Self::ResNet(frozen) => &mut frozen.learning,
        }
    }
}
