//! Names and shapes of a model's tensors, in open_clip's naming.

use std::fmt;
use std::str::FromStr;

use crate::config::{ModelConfig, STAGES, TextConfig, VisionConfig};
use crate::unknown_name::UnknownName;

/// Name of the learnable "no" prompts, `[prompts, context_length, width]`; absent in the
/// hand-crafted variant.
pub const NO_PROMPTS: &str = "prompt_no";

/// Name of the positional embedding of a ViT.
pub(crate) const VIT_POSITIONAL_EMBEDDING: &str = "visual.positional_embedding";

/// Name of the positional embedding of a ResNet's attention pooling.
pub(crate) const RESNET_POSITIONAL_EMBEDDING: &str = "visual.attnpool.positional_embedding";

/// Ratio of a bottleneck's output channels to the channels of its 3×3 convolution.
const EXPANSION: usize = 4;

/// Parts of a batch norm that are stored as tensors.
const BATCH_NORM: [&str; 4] = ["weight", "bias", "running_mean", "running_var"];

/// Name and shape of a tensor.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct TensorSpec {
    /// Name in open_clip, such as `visual.proj`.
    pub name: String,
    /// Dimensions; empty for a scalar.
    pub shape: Vec<usize>,
}

/// One of the two text towers. Names of the "no" side contain the suffix `_no`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TextSide {
    /// CLIP's own text tower.
    Yes,
    /// CLIPN's "no" text tower.
    No,
}

impl TextSide {
    /// Returns the suffix in the names of the tower's tensors: empty or `_no`.
    pub fn suffix(self) -> &'static str {
        match self {
            Self::Yes => "",
            Self::No => "_no",
        }
    }
}

impl fmt::Display for TextSide {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Yes => "yes",
            Self::No => "no",
        })
    }
}

impl FromStr for TextSide {
    type Err = UnknownName;

    fn from_str(name: &str) -> Result<Self, UnknownName> {
        match name {
            "yes" => Ok(Self::Yes),
            "no" => Ok(Self::No),
            _ => Err(UnknownName::new("text side", name, "yes or no")),
        }
    }
}

/// Returns whether a tensor belongs to the "no" side.
pub(crate) fn is_no_side(name: &str) -> bool {
    name == NO_PROMPTS
        || name
            .split('.')
            .next()
            .is_some_and(|first| first.ends_with("_no"))
}

impl ModelConfig {
    /// Lists the tensors of the three towers and the logit scale, without [`NO_PROMPTS`]: the image
    /// tower, the "yes" tower, the "no" tower, the scale.
    ///
    /// ```
    /// use clipn_model::ModelConfig;
    ///
    /// let tensors = ModelConfig::embedded("ViT-B-32")?.tensors();
    /// let conv1 = tensors.iter().find(|tensor| tensor.name == "visual.conv1.weight");
    /// assert_eq!(conv1.map(|tensor| &tensor.shape[..]), Some(&[768, 3, 32, 32][..]));
    /// # Ok::<(), clipn_model::ModelError>(())
    /// ```
    pub fn tensors(&self) -> Vec<TensorSpec> {
        let mut tensors = self.vision.tensors(self.embed_dim);
        tensors.extend(self.text.tensors(self.embed_dim, TextSide::Yes));
        tensors.extend(self.text.tensors(self.embed_dim, TextSide::No));
        tensors.push(TensorSpec {
            name: "logit_scale".to_owned(),
            shape: Vec::new(),
        });
        tensors
    }
}

impl VisionConfig {
    /// Lists the tensors of the image tower, with features of dimension `embed_dim`.
    pub fn tensors(&self, embed_dim: usize) -> Vec<TensorSpec> {
        match self.stages {
            Some(stages) => resnet(self, stages, embed_dim),
            None => vit(self, embed_dim),
        }
    }
}

impl TextConfig {
    /// Lists the tensors of the text tower of a side, with features of dimension `embed_dim`.
    pub fn tensors(&self, embed_dim: usize, side: TextSide) -> Vec<TensorSpec> {
        let width = self.width;
        let no = side.suffix();
        let mut list = TensorList::default();
        list.push(
            format!("token_embedding{no}.weight"),
            [self.vocab_size, width],
        );
        list.push(
            format!("positional_embedding{no}"),
            [self.context_length, width],
        );
        list.push(format!("text_projection{no}"), [width, embed_dim]);
        list.blocks(
            &format!("transformer{no}"),
            self.layers,
            width,
            self.mlp_width,
        );
        list.norm(&format!("ln_final{no}"), width);
        list.0
    }
}

fn vit(config: &VisionConfig, embed_dim: usize) -> Vec<TensorSpec> {
    let VisionConfig {
        width, patch_size, ..
    } = *config;
    let mut list = TensorList::default();
    list.push("visual.class_embedding", [width]);
    list.push(
        VIT_POSITIONAL_EMBEDDING,
        [1 + config.grid() * config.grid(), width],
    );
    list.push("visual.proj", [width, embed_dim]);
    list.push("visual.conv1.weight", [width, 3, patch_size, patch_size]);
    list.norm("visual.ln_pre", width);
    list.blocks("visual.transformer", config.layers, width, config.mlp_width);
    list.norm("visual.ln_post", width);
    list.0
}

/// CLIP's ResNet: stem, stages of bottlenecks, attention pooling.
fn resnet(config: &VisionConfig, stages: [usize; STAGES], embed_dim: usize) -> Vec<TensorSpec> {
    let (half, width) = (config.width / 2, config.width);
    let mut list = TensorList::default();
    for (index, in_channels, out_channels) in [(1, 3, half), (2, half, half), (3, half, width)] {
        let (conv, norm) = (format!("visual.conv{index}"), format!("visual.bn{index}"));
        list.conv(&conv, &norm, [out_channels, in_channels, 3, 3]);
    }
    let mut in_channels = width;
    for (stage, blocks) in stages.into_iter().enumerate() {
        let planes = width << stage;
        for block in 0..blocks {
            let prefix = format!("visual.layer{}.{block}", stage + 1);
            list.bottleneck(&prefix, in_channels, planes, block == 0);
            in_channels = planes * EXPANSION;
        }
    }
    let (width, rows) = (config.pooled_width(), 1 + config.grid() * config.grid());
    list.push(RESNET_POSITIONAL_EMBEDDING, [rows, width]);
    for (name, out) in [
        ("q_proj", width),
        ("k_proj", width),
        ("v_proj", width),
        ("c_proj", embed_dim),
    ] {
        list.linear(&format!("visual.attnpool.{name}"), [out, width]);
    }
    list.0
}

/// A list of tensors under construction.
#[derive(Default)]
struct TensorList(Vec<TensorSpec>);

impl TensorList {
    fn push(&mut self, name: impl Into<String>, shape: impl Into<Vec<usize>>) {
        self.0.push(TensorSpec {
            name: name.into(),
            shape: shape.into(),
        });
    }

    fn norm(&mut self, prefix: &str, width: usize) {
        self.push(format!("{prefix}.weight"), [width]);
        self.push(format!("{prefix}.bias"), [width]);
    }

    /// A weight of `shape` `[out, in]` and its bias.
    fn linear(&mut self, prefix: &str, shape: [usize; 2]) {
        self.push(format!("{prefix}.weight"), shape);
        self.push(format!("{prefix}.bias"), [shape[0]]);
    }

    fn blocks(&mut self, prefix: &str, layers: usize, width: usize, mlp_width: usize) {
        for layer in 0..layers {
            let block = format!("{prefix}.resblocks.{layer}");
            self.norm(&format!("{block}.ln_1"), width);
            self.push(format!("{block}.attn.in_proj_weight"), [3 * width, width]);
            self.push(format!("{block}.attn.in_proj_bias"), [3 * width]);
            self.linear(&format!("{block}.attn.out_proj"), [width, width]);
            self.norm(&format!("{block}.ln_2"), width);
            self.linear(&format!("{block}.mlp.c_fc"), [mlp_width, width]);
            self.linear(&format!("{block}.mlp.c_proj"), [width, mlp_width]);
        }
    }

    /// A convolution of `shape` `[out, in, kernel, kernel]` and the batch norm after it.
    fn conv(&mut self, conv: &str, norm: &str, shape: [usize; 4]) {
        self.push(format!("{conv}.weight"), shape);
        for part in BATCH_NORM {
            self.push(format!("{norm}.{part}"), [shape[0]]);
        }
    }

    fn bottleneck(&mut self, prefix: &str, in_channels: usize, planes: usize, is_first: bool) {
        let out_channels = planes * EXPANSION;
        for (index, shape) in [
            (1, [planes, in_channels, 1, 1]),
            (2, [planes, planes, 3, 3]),
            (3, [out_channels, planes, 1, 1]),
        ] {
            let (conv, norm) = (
                format!("{prefix}.conv{index}"),
                format!("{prefix}.bn{index}"),
            );
            self.conv(&conv, &norm, shape);
        }
        if is_first {
            let (conv, norm) = (
                format!("{prefix}.downsample.0"),
                format!("{prefix}.downsample.1"),
            );
            self.conv(&conv, &norm, [out_channels, in_channels, 1, 1]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rn50_has_its_38_million_parameters() {
        let config = ModelConfig::embedded("RN50").unwrap();
        let tensors = config.vision.tensors(config.embed_dim);
        // The count of open_clip's `docs/model_profile.csv`, which excludes the running statistics.
        let parameters: usize = tensors
            .iter()
            .filter(|tensor| !tensor.name.contains("running_"))
            .map(|tensor| tensor.shape.iter().product::<usize>())
            .sum();
        assert_eq!(parameters, 38_316_896);
        let shape = |wanted: &str| {
            tensors
                .iter()
                .find(|tensor| tensor.name == wanted)
                .map(|tensor| tensor.shape.clone())
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
    fn sides_have_names() {
        for side in [TextSide::Yes, TextSide::No] {
            assert_eq!(side.to_string().parse(), Ok(side));
        }
        let error = "maybe".parse::<TextSide>().unwrap_err().to_string();
        assert_eq!(error, "unknown text side `maybe`; expected yes or no");
    }
}
