//! Image towers of a training run: a trainable ViT, and an always frozen ResNet.

use clipn_checkpoint::{Buffer, CheckpointError, Tensor};
use clipn_engine::{ResNetTower, VisionTape, VisionTransformer};
use clipn_model::{
    FeatureMatrix, ImageBatch, ImageTower, LocalFeatures, ModelConfig, ModelError, ModelWeights,
    NamedTensor, NormParams, ResNetParams, TrainableImageTower, VisionParams,
};

/// Image tower of a training run on the CPU.
#[derive(Debug, Clone)]
pub enum CpuImageTower {
    /// Vision transformer, trainable or frozen.
    Vit(Box<VisionTransformer>),
    /// ResNet, always frozen.
    ResNet(Box<FrozenResNet>),
}

/// A ResNet with the parameters that checkpoints store beside those that it computes with.
#[derive(Debug, Clone)]
pub struct FrozenResNet {
    tower: ResNetTower,
    config: ModelConfig,
    /// Parameters as in the weights file, with batch norms not folded into the convolutions.
    stored: ResNetParams<f32>,
    /// Trainable parameters: none.
    trainable: VisionParams<f32>,
}

impl CpuImageTower {
    /// Creates the image tower of loaded weights.
    pub fn from_weights(weights: &ModelWeights) -> Self {
        match weights.resnet_params() {
            Ok(stored) => Self::ResNet(Box::new(FrozenResNet::new(weights.config(), stored))),
            // The weights are not a ResNet's.
            Err(_) => Self::Vit(Box::new(VisionTransformer::from_weights(weights))),
        }
    }

    /// Checks that the config's image tower can be trained.
    ///
    /// # Errors
    /// [`ModelError::UntrainableResNet`] if it is a ResNet.
    pub fn check_trainable(config: &ModelConfig) -> Result<(), ModelError> {
        match config.vision.stages {
            Some(_) => Err(ModelError::UntrainableResNet {
                model: config.name.clone(),
            }),
            None => Ok(()),
        }
    }

    /// Converts the tower for a run that does not train it: a ViT's weights are packed for faster
    /// products.
    #[must_use]
    pub fn into_frozen(self) -> Self {
        match self {
            Self::Vit(tower) => Self::Vit(Box::new(tower.with_packed_weights())),
            frozen @ Self::ResNet(_) => frozen,
        }
    }

    /// Returns every parameter as a tensor by open_clip's name. A ViT's tensors share the tower's
    /// memory.
    ///
    /// # Errors
    /// [`CheckpointError`] if a shape does not fit its values, which does not occur for a valid
    /// tower.
    pub fn tensors(&self) -> Result<Vec<(String, Tensor)>, CheckpointError> {
        match self {
            Self::Vit(tower) => {
                shared_tensors(tower.params().named_tensors(), tower.params().buffers())
            }
            Self::ResNet(_) => {
                let owned = |t: NamedTensor<&[f32]>| {
                    Ok((t.name, Tensor::from_f32(&t.shape, t.values.to_vec())?))
                };
                self.named_tensors().into_iter().map(owned).collect()
            }
        }
    }

    /// Returns every parameter by open_clip's name.
    pub fn named_tensors(&self) -> Vec<NamedTensor<&[f32]>> {
        match self {
            Self::Vit(tower) => tower.params().named_tensors(),
            Self::ResNet(frozen) => frozen.stored.named_tensors(&frozen.config),
        }
    }

    fn as_tower(&self) -> &dyn ImageTower<f32> {
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
        let trainable = VisionParams {
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
            trainable,
        }
    }

    fn frozen_only(&self) -> ModelError {
        ModelError::UntrainableResNet {
            model: self.config.name.clone(),
        }
    }
}

/// Returns parameters as tensors that share their memory; `buffers` holds the buffer of each entry
/// of `named`.
pub(crate) fn shared_tensors(
    named: Vec<NamedTensor<&[f32]>>,
    buffers: Vec<&Buffer<f32>>,
) -> Result<Vec<(String, Tensor)>, CheckpointError> {
    let tensor = |(t, buffer): (NamedTensor<&[f32]>, &Buffer<f32>)| {
        Ok((t.name, Tensor::from_f32(&t.shape, buffer.clone())?))
    };
    named.into_iter().zip(buffers).map(tensor).collect()
}

impl ImageTower<f32> for CpuImageTower {
    fn embed_dim(&self) -> usize {
        self.as_tower().embed_dim()
    }

    fn image_size(&self) -> usize {
        self.as_tower().image_size()
    }

    fn encode(&self, images: ImageBatch<'_, f32>) -> Result<FeatureMatrix<f32>, ModelError> {
        self.as_tower().encode(images)
    }

    fn has_local_features(&self) -> bool {
        true
    }

    fn encode_local(&self, images: ImageBatch<'_, f32>) -> Result<LocalFeatures<f32>, ModelError> {
        self.as_tower().encode_local(images)
    }
}

/// For a ResNet, the training passes return [`ModelError::UntrainableResNet`] and there are no trainable
/// parameters.
impl TrainableImageTower<f32> for CpuImageTower {
    type Tape = VisionTape;

    fn forward(
        &self,
        images: ImageBatch<'_, f32>,
    ) -> Result<(FeatureMatrix<f32>, VisionTape), ModelError> {
        match self {
            Self::Vit(tower) => tower.forward(images),
            Self::ResNet(frozen) => Err(frozen.frozen_only()),
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
            Self::ResNet(frozen) => Err(frozen.frozen_only()),
        }
    }

    fn params(&self) -> &VisionParams<f32> {
        match self {
            Self::Vit(tower) => tower.params(),
            Self::ResNet(frozen) => &frozen.trainable,
        }
    }

    fn params_mut(&mut self) -> &mut VisionParams<f32> {
        match self {
            Self::Vit(tower) => tower.params_mut(),
            Self::ResNet(frozen) => &mut frozen.trainable,
        }
    }
}
