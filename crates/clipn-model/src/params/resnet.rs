//! Parameters of CLIP's ResNet image tower (CLIP, section 2.4; open_clip's `ModifiedResNet`): a
//! stem of three convolutions, four stages of bottlenecks, and attention pooling.

use clipn_checkpoint::Buffer;

use crate::config::{ModelConfig, STAGES, TensorSpec};
use crate::error::ModelError;
use crate::params::{LinearParams, NamedTensor, zip_specs};
use crate::real::Real;

/// Parameters of a batch norm at inference, with its running statistics; `[channels]` each.
#[derive(Debug, Clone)]
pub struct BatchNormParams<T: Real> {
    /// Scale.
    pub weight: Buffer<T>,
    /// Shift.
    pub bias: Buffer<T>,
    /// Running mean.
    pub running_mean: Buffer<T>,
    /// Running variance.
    pub running_var: Buffer<T>,
}

/// Parameters of a convolution without bias and of the batch norm after it.
#[derive(Debug, Clone)]
pub struct ConvParams<T: Real> {
    /// Kernel, `[out_channels, in_channels, kernel_size, kernel_size]`.
    pub weight: Buffer<T>,
    /// Number of input channels.
    pub in_channels: usize,
    /// Number of output channels.
    pub out_channels: usize,
    /// Side of the kernel: 1 or 3.
    pub kernel_size: usize,
    /// Batch norm after the convolution.
    pub batch_norm: BatchNormParams<T>,
}

/// Parameters of a bottleneck. If it halves the map, 2×2 average pooling precedes `conv3` and
/// `downsample`.
#[derive(Debug, Clone)]
pub struct BottleneckParams<T: Real> {
    /// 1×1 convolution that reduces the channels.
    pub conv1: ConvParams<T>,
    /// 3×3 convolution.
    pub conv2: ConvParams<T>,
    /// 1×1 convolution to four times as many channels.
    pub conv3: ConvParams<T>,
    /// 1×1 convolution of the shortcut, in the first block of a stage.
    pub downsample: Option<ConvParams<T>>,
}

/// Parameters of the attention pooling, in which the mean of all positions of the last map attends
/// to them. The map has `width` channels.
#[derive(Debug, Clone)]
pub struct AttentionPoolParams<T: Real> {
    /// Positional embedding, `[1 + grid², width]`, with the mean's row first.
    pub positional_embedding: Buffer<T>,
    /// Projection to queries, `[width, width]`.
    pub q_proj: LinearParams<T>,
    /// Projection to keys, `[width, width]`.
    pub k_proj: LinearParams<T>,
    /// Projection to values, `[width, width]`.
    pub v_proj: LinearParams<T>,
    /// Projection to features, `[D, width]`.
    pub c_proj: LinearParams<T>,
}

impl<T: Real> AttentionPoolParams<T> {
    /// Returns the buffers in the order of [`VisionConfig::tensors`](crate::VisionConfig::tensors).
    pub fn buffers(&self) -> Vec<&Buffer<T>> {
        let Self {
            positional_embedding,
            q_proj,
            k_proj,
            v_proj,
            c_proj,
        } = self;
        let layers = [q_proj, k_proj, v_proj, c_proj];
        let layers = layers.into_iter().flat_map(|l| [&l.weight, &l.bias]);
        std::iter::once(positional_embedding)
            .chain(layers)
            .collect()
    }
}

/// Parameters of a ResNet image tower.
#[derive(Debug, Clone)]
pub struct ResNetParams<T: Real> {
    /// Three 3×3 convolutions before the stages; the first halves the image.
    pub stem: [ConvParams<T>; 3],
    /// Blocks of each stage, first to last.
    pub stages: [Vec<BottleneckParams<T>>; STAGES],
    /// Attention pooling of the last map to features.
    pub attnpool: AttentionPoolParams<T>,
}

impl<T: Real> ResNetParams<T> {
    /// Builds the parameters of a config. `value` returns each from its open_clip name and shape,
    /// in the order of [`VisionConfig::tensors`](crate::VisionConfig::tensors).
    ///
    /// # Errors
    /// [`ModelError::NotAResNet`] if the config's image tower is a ViT.
    pub fn from_fn(
        config: &ModelConfig,
        value: impl FnMut(&str, &[usize]) -> Buffer<T>,
    ) -> Result<Self, ModelError> {
        let Some(stages) = config.vision.stages else {
            return Err(ModelError::NotAResNet {
                model: config.name.clone(),
            });
        };
        let specs = config.vision.tensors(config.embed_dim);
        let mut factory = ParamFactory {
            specs: specs.iter(),
            value,
        };
        let stem = std::array::from_fn(|_| factory.conv());
        let stages = stages.map(|blocks| {
            (0..blocks)
                .map(|block| factory.bottleneck(block == 0))
                .collect()
        });
        Ok(Self {
            stem,
            stages,
            attnpool: AttentionPoolParams {
                positional_embedding: factory.next(),
                q_proj: factory.linear(),
                k_proj: factory.linear(),
                v_proj: factory.linear(),
                c_proj: factory.linear(),
            },
        })
    }

    /// Returns every parameter by open_clip's name, including the statistics of the batch norms.
    /// `config` is the one that the parameters were built of.
    pub fn named_tensors(&self, config: &ModelConfig) -> Vec<NamedTensor<&[T]>> {
        let specs = match config.vision.stages {
            Some(_) => config.vision.tensors(config.embed_dim),
            None => Vec::new(),
        };
        zip_specs(specs, self.buffers().into_iter().map(|b| &b[..]))
    }

    /// Returns the buffers in the order in which [`ResNetParams::from_fn`] creates them.
    fn buffers(&self) -> Vec<&Buffer<T>> {
        let mut all: Vec<&Buffer<T>> = Vec::new();
        let blocks = self.stages.iter().flatten().flat_map(|block| {
            let BottleneckParams {
                conv1,
                conv2,
                conv3,
                downsample,
            } = block;
            [Some(conv1), Some(conv2), Some(conv3), downsample.as_ref()]
                .into_iter()
                .flatten()
        });
        for ConvParams {
            weight, batch_norm, ..
        } in self.stem.iter().chain(blocks)
        {
            all.extend([
                weight,
                &batch_norm.weight,
                &batch_norm.bias,
                &batch_norm.running_mean,
                &batch_norm.running_var,
            ]);
        }
        all.extend(self.attnpool.buffers());
        all
    }
}

/// Creates the parameters of a ResNet one by one, in the order of their names.
struct ParamFactory<'a, F> {
    specs: std::slice::Iter<'a, TensorSpec>,
    value: F,
}

impl<F> ParamFactory<'_, F> {
    fn next<T>(&mut self) -> Buffer<T>
    where
        F: FnMut(&str, &[usize]) -> Buffer<T>,
    {
        self.next_with_shape().0
    }

    /// Creates the next parameter and returns its shape too.
    fn next_with_shape<T>(&mut self) -> (Buffer<T>, &[usize])
    where
        F: FnMut(&str, &[usize]) -> Buffer<T>,
    {
        match self.specs.next() {
            Some(TensorSpec { name, shape }) => ((self.value)(name, shape), shape),
            None => (Vec::new().into(), &[]),
        }
    }

    fn linear<T: Real>(&mut self) -> LinearParams<T>
    where
        F: FnMut(&str, &[usize]) -> Buffer<T>,
    {
        LinearParams {
            weight: self.next(),
            bias: self.next(),
        }
    }

    /// Creates a convolution and the batch norm after it.
    fn conv<T: Real>(&mut self) -> ConvParams<T>
    where
        F: FnMut(&str, &[usize]) -> Buffer<T>,
    {
        let (weight, shape) = self.next_with_shape();
        let size = |axis: usize| shape.get(axis).copied().unwrap_or_default();
        let (out_channels, in_channels, kernel_size) = (size(0), size(1), size(2));
        ConvParams {
            weight,
            in_channels,
            out_channels,
            kernel_size,
            batch_norm: BatchNormParams {
                weight: self.next(),
                bias: self.next(),
                running_mean: self.next(),
                running_var: self.next(),
            },
        }
    }

    /// Creates a bottleneck; the first of a stage has a convolution in its shortcut.
    fn bottleneck<T: Real>(&mut self, is_first: bool) -> BottleneckParams<T>
    where
        F: FnMut(&str, &[usize]) -> Buffer<T>,
    {
        BottleneckParams {
            conv1: self.conv(),
            conv2: self.conv(),
            conv3: self.conv(),
            downsample: is_first.then(|| self.conv()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::VisionConfig;

    #[test]
    fn names_and_values_have_the_same_order() {
        let mut config = ModelConfig::embedded("RN50").unwrap();
        config.vision = VisionConfig {
            width: 4,
            stages: Some([1, 2, 1, 1]),
            ..config.vision
        };
        let mut number = 0.0;
        let params = ResNetParams::<f32>::from_fn(&config, |_, shape| {
            number += 1.0;
            vec![number; shape.iter().product()].into()
        })
        .unwrap();
        let named = params.named_tensors(&config);
        for (index, tensor) in named.iter().enumerate() {
            assert_eq!(
                tensor.values.len(),
                tensor.shape.iter().product::<usize>(),
                "{}",
                tensor.name
            );
            assert!(
                tensor.values.iter().all(|&v| v == index as f32 + 1.0),
                "{}",
                tensor.name
            );
        }
        assert_eq!(named.len() as f32, number);
    }

    #[test]
    fn rejects_the_config_of_a_vit() {
        let config = ModelConfig::embedded("ViT-B-32").unwrap();
        let error = ResNetParams::<f32>::from_fn(&config, |_, _| Vec::new().into()).unwrap_err();
        assert!(error.to_string().contains("ViT-B-32"), "{error}");
    }
}
