//! Parameters of CLIP's ResNet image tower (CLIP, section 2.4; open_clip's `ModifiedResNet`): a
//! stem of three convolutions, four stages of bottlenecks, and attention pooling.

use super::names::Named;
use super::params::zip_names;
use super::{LinearParams, ModelConfig, ModelError, NamedTensor, Real, VisionConfig};
use clipn_checkpoint::Buffer;

/// Number of stages of bottlenecks.
pub const STAGES: usize = 4;

/// Ratio of a bottleneck's output channels to the channels of its 3×3 convolution.
const EXPANSION: usize = 4;

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
    /// Kernel, `[out, in, kernel, kernel]`.
    pub weight: Buffer<T>,
    /// Number of input channels.
    pub inner: usize,
    /// Number of output channels.
    pub out: usize,
    /// Side of the kernel: 1 or 3.
    pub kernel: usize,
    /// Batch norm after the convolution.
    pub norm: BatchNormParams<T>,
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
    /// in the order of [`names::vision`](super::names::vision).
    ///
    /// # Errors
    /// [`ModelError::NotAResNet`] if the config's image tower is a ViT.
    pub fn from_fn(
        config: &ModelConfig,
        value: impl FnMut(&str, &[usize]) -> Buffer<T>,
    ) -> Result<Self, ModelError> {
        match config.vision.stages {
            Some(stages) => Ok(Self::build(&config.vision, stages, config.embed_dim, value)),
            None => Err(ModelError::NotAResNet {
                model: config.name.clone(),
            }),
        }
    }

    /// Returns every parameter by open_clip's name, including the statistics of the batch norms.
    pub fn named(&self, config: &ModelConfig) -> Vec<NamedTensor<&[T]>> {
        let names = config
            .vision
            .stages
            .map(|stages| names(&config.vision, stages, config.embed_dim));
        zip_names(
            names.unwrap_or_default(),
            self.buffers().into_iter().map(|b| &b[..]),
        )
    }

    fn build(
        config: &VisionConfig,
        stages: [usize; STAGES],
        embed_dim: usize,
        value: impl FnMut(&str, &[usize]) -> Buffer<T>,
    ) -> Self {
        let mut source = Source(value);
        let (half, width) = (config.width / 2, config.width);
        let stem = [(1, 3, half), (2, half, half), (3, half, width)].map(|(index, inner, out)| {
            source.conv(
                &format!("visual.conv{index}"),
                &format!("visual.bn{index}"),
                (inner, out, 3),
            )
        });
        let stages = std::array::from_fn(|stage| {
            let planes = width << stage;
            let before = if stage == 0 {
                width
            } else {
                planes / 2 * EXPANSION
            };
            let block = |index| {
                let inner = if index == 0 {
                    before
                } else {
                    planes * EXPANSION
                };
                source.bottleneck(
                    &format!("visual.layer{}.{index}", stage + 1),
                    inner,
                    planes,
                    index == 0,
                )
            };
            (0..stages[stage]).map(block).collect()
        });
        let (width, rows) = (config.pooled_width(), 1 + config.grid() * config.grid());
        let attnpool = AttentionPoolParams {
            positional_embedding: source.value(POSITIONS, &[rows, width]),
            q_proj: source.linear("visual.attnpool.q_proj", width, width),
            k_proj: source.linear("visual.attnpool.k_proj", width, width),
            v_proj: source.linear("visual.attnpool.v_proj", width, width),
            c_proj: source.linear("visual.attnpool.c_proj", width, embed_dim),
        };
        Self {
            stem,
            stages,
            attnpool,
        }
    }

    /// Returns the buffers in the order in which [`ResNetParams::build`] creates them.
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
        for ConvParams { weight, norm, .. } in self.stem.iter().chain(blocks) {
            all.extend([
                weight,
                &norm.weight,
                &norm.bias,
                &norm.running_mean,
                &norm.running_var,
            ]);
        }
        let AttentionPoolParams {
            positional_embedding,
            q_proj,
            k_proj,
            v_proj,
            c_proj,
        } = &self.attnpool;
        all.push(positional_embedding);
        all.extend(
            [q_proj, k_proj, v_proj, c_proj]
                .into_iter()
                .flat_map(|l| [&l.weight, &l.bias]),
        );
        all
    }
}

/// Name of the positional embedding of the attention pooling.
pub(super) const POSITIONS: &str = "visual.attnpool.positional_embedding";

/// Lists names and shapes in the order in which [`ResNetParams::build`] creates the parameters.
pub(super) fn names(
    config: &VisionConfig,
    stages: [usize; STAGES],
    embed_dim: usize,
) -> Vec<Named> {
    let mut names = Vec::new();
    ResNetParams::<f32>::build(config, stages, embed_dim, |name, shape| {
        names.push((name.to_owned(), shape.to_vec()));
        Vec::new().into()
    });
    names
}

/// Wrapper of the function that creates a parameter from its name and shape.
struct Source<F>(F);

impl<F> Source<F> {
    fn value<T>(&mut self, name: &str, shape: &[usize]) -> Buffer<T>
    where
        F: FnMut(&str, &[usize]) -> Buffer<T>,
    {
        (self.0)(name, shape)
    }

    /// Creates a convolution with the sizes `(inner, out, kernel)` and the batch norm after it.
    fn conv<T: Real>(
        &mut self,
        conv: &str,
        norm: &str,
        (inner, out, kernel): (usize, usize, usize),
    ) -> ConvParams<T>
    where
        F: FnMut(&str, &[usize]) -> Buffer<T>,
    {
        let weight = self.value(&format!("{conv}.weight"), &[out, inner, kernel, kernel]);
        let mut stat = |part: &str| self.value(&format!("{norm}.{part}"), &[out]);
        let norm = BatchNormParams {
            weight: stat("weight"),
            bias: stat("bias"),
            running_mean: stat("running_mean"),
            running_var: stat("running_var"),
        };
        ConvParams {
            weight,
            inner,
            out,
            kernel,
            norm,
        }
    }

    fn bottleneck<T: Real>(
        &mut self,
        prefix: &str,
        inner: usize,
        planes: usize,
        first: bool,
    ) -> BottleneckParams<T>
    where
        F: FnMut(&str, &[usize]) -> Buffer<T>,
    {
        let out = planes * EXPANSION;
        let mut conv = |index: usize, sizes: (usize, usize, usize)| {
            self.conv(
                &format!("{prefix}.conv{index}"),
                &format!("{prefix}.bn{index}"),
                sizes,
            )
        };
        let (conv1, conv2, conv3) = (
            conv(1, (inner, planes, 1)),
            conv(2, (planes, planes, 3)),
            conv(3, (planes, out, 1)),
        );
        let downsample = first.then(|| {
            self.conv(
                &format!("{prefix}.downsample.0"),
                &format!("{prefix}.downsample.1"),
                (inner, out, 1),
            )
        });
        BottleneckParams {
            conv1,
            conv2,
            conv3,
            downsample,
        }
    }

    fn linear<T: Real>(&mut self, prefix: &str, inner: usize, out: usize) -> LinearParams<T>
    where
        F: FnMut(&str, &[usize]) -> Buffer<T>,
    {
        LinearParams {
            weight: self.value(&format!("{prefix}.weight"), &[out, inner]),
            bias: self.value(&format!("{prefix}.bias"), &[out]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rn50_has_its_38_million_parameters() {
        let config = ModelConfig::named("RN50").unwrap();
        let names = names(
            &config.vision,
            config.vision.stages.unwrap(),
            config.embed_dim,
        );
        let count = |skip: &str| -> usize {
            let kept = names.iter().filter(|(name, _)| !name.contains(skip));
            kept.map(|(_, shape)| shape.iter().product::<usize>()).sum()
        };
        // The count of open_clip's `docs/model_profile.csv`, which excludes the running statistics.
        assert_eq!(count("running_"), 38_316_896);
        let shape = |wanted: &str| {
            names
                .iter()
                .find(|(name, _)| name == wanted)
                .map(|(_, shape)| shape.clone())
        };
        assert_eq!(
            shape("visual.layer3.0.downsample.0.weight"),
            Some(vec![1024, 512, 1, 1])
        );
        assert_eq!(
            shape("visual.layer2.3.conv2.weight"),
            Some(vec![128, 128, 3, 3])
        );
        assert_eq!(shape("visual.layer2.1.downsample.0.weight"), None);
        assert_eq!(
            shape("visual.attnpool.c_proj.weight"),
            Some(vec![1024, 2048])
        );
    }

    #[test]
    fn names_and_values_have_the_same_order() {
        let mut config = ModelConfig::named("RN50").unwrap();
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
        let named = params.named(&config);
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
        let config = ModelConfig::named("ViT-B-32").unwrap();
        let error = ResNetParams::<f32>::from_fn(&config, |_, _| Vec::new().into()).unwrap_err();
        assert!(error.to_string().contains("ViT-B-32"), "{error}");
    }
}
