//! Cost of an architecture, computed from its config: the number of parameters and the
//! floating-point operations of its towers.

use serde::Serialize;

use crate::config::{ModelConfig, NO_PROMPTS, STAGES, TensorSpec, VisionConfig, is_no_side};

/// Cost of forward and backward pass in forward passes: for each product of the forward pass, the
/// backward pass takes one for the inputs and one for the weights.
const FORWARD_AND_BACKWARD: f64 = 3.0;

/// Suffixes of the names of a batch norm's running statistics and of its batch counter.
const STATISTICS: [&str; 3] = ["running_mean", "running_var", "num_batches_tracked"];

/// Number of parameters, by the part of the model.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct ParameterCounts {
    /// ParameterCounts of the image tower.
    pub image: usize,
    /// ParameterCounts of the "yes" text tower.
    pub yes: usize,
    /// ParameterCounts of the "no" text tower, with its prompts.
    pub no: usize,
    /// The logit scale: 1.
    pub logit_scale: usize,
    /// Running statistics of a ResNet's batch norms. They are stored like parameters but are not
    /// trained.
    pub statistics: usize,
}

impl ParameterCounts {
    /// Sums the lengths of tensors by the part of the model that their open_clip name belongs to.
    pub fn from_tensors<'a>(tensors: impl IntoIterator<Item = (&'a str, usize)>) -> Self {
        let mut counted = Self::default();
        for (name, len) in tensors {
            let part = match name {
                _ if STATISTICS.iter().any(|end| name.ends_with(end)) => &mut counted.statistics,
                "logit_scale" => &mut counted.logit_scale,
                _ if name.starts_with("visual.") => &mut counted.image,
                _ if is_no_side(name) => &mut counted.no,
                _ => &mut counted.yes,
            };
            *part = part.saturating_add(len);
        }
        counted
    }

    /// Returns the number of parameters of CLIP: without the "no" side.
    pub fn clip(&self) -> usize {
        self.image
            .saturating_add(self.yes)
            .saturating_add(self.logit_scale)
    }

    /// Returns the number of parameters of CLIPN: with the "no" side.
    pub fn clipn(&self) -> usize {
        self.clip().saturating_add(self.no)
    }
}

impl ModelConfig {
    /// Counts the parameters of the architecture, with `no_prompts` learnable "no" prompts.
    pub fn parameter_counts(&self, no_prompts: usize) -> ParameterCounts {
        let mut tensors = self.tensors();
        let text = &self.text;
        tensors.push(TensorSpec {
            name: NO_PROMPTS.to_owned(),
            shape: vec![no_prompts, text.context_length, text.width],
        });
        let len = |shape: &[usize]| {
            shape
                .iter()
                .fold(1, |all: usize, &size| all.saturating_mul(size))
        };
        ParameterCounts::from_tensors(
            tensors
                .iter()
                .map(|tensor| (tensor.name.as_str(), len(&tensor.shape))),
        )
    }

    /// Returns the floating-point operations of the image tower for one image. As in open_clip, a
    /// multiply-add in a convolution or matrix product counts as two, and other operations are not
    /// counted.
    ///
    /// With n = grid² + 1 positions, width w, hidden width h and patches of p² pixels, a ViT takes
    /// 2·grid²·3p²·w for the patches, 2n·(4w² + 2wh) + 4n²·w for a block, and 2·w·D for the
    /// projection. A ResNet takes 2·in·out·k²·side² for a convolution with an output map of that
    /// side. Its attention pooling over n = side² + 1 positions of E channels takes 6n·E² + 4n²·E +
    /// 2n·E·D.
    pub fn image_flops(&self) -> f64 {
        match self.vision.stages {
            Some(stages) => resnet(&self.vision, stages, self.embed_dim),
            None => vit(&self.vision, self.embed_dim),
        }
    }

    /// Returns the floating-point operations of a text tower for one text of `length` positions:
    /// 2n·(4w² + 2wh) + 4n²·w for a block and 2·w·D for the projection.
    pub fn text_flops(&self, length: usize) -> f64 {
        let text = &self.text;
        let width = text.width as f64;
        text.layers as f64 * block(length as f64, width, text.mlp_width as f64)
            + 2.0 * width * self.embed_dim as f64
    }

    /// Returns the floating-point operations of the forward and backward pass of a text tower for
    /// one text of `length` positions.
    pub fn text_training_flops(&self, length: usize) -> f64 {
        FORWARD_AND_BACKWARD * self.text_flops(length)
    }
}

/// A block on a sequence: qkv, output and hidden layer, then queries times keys and weights times
/// values.
fn block(positions: f64, width: f64, hidden: f64) -> f64 {
    2.0 * positions * (4.0 * width * width + 2.0 * width * hidden)
        + 4.0 * positions * positions * width
}

fn vit(vision: &VisionConfig, embed_dim: usize) -> f64 {
    let patches = (vision.grid() * vision.grid()) as f64;
    let (patch, width) = (vision.patch_size as f64, vision.width as f64);
    let embedding = 2.0 * patches * 3.0 * patch * patch * width;
    let blocks = vision.layers as f64 * block(patches + 1.0, width, vision.mlp_width as f64);
    embedding + blocks + 2.0 * width * embed_dim as f64
}

/// The stem halves the image and then its own map; every stage but the first halves the map again.
fn resnet(vision: &VisionConfig, stages: [usize; STAGES], embed_dim: usize) -> f64 {
    let conv = |inner: usize, out: usize, kernel: usize, side: usize| {
        2.0 * inner as f64 * out as f64 * (kernel * kernel) as f64 * (side as f64).powi(2)
    };
    let (half, width) = (vision.width / 2, vision.width);
    let halved = vision.image_size.div_ceil(2);
    let mut all =
        conv(3, half, 3, halved) + conv(half, half, 3, halved) + conv(half, width, 3, halved);
    let (mut side, mut inner) = (halved / 2, width);
    for (stage, blocks) in stages.into_iter().enumerate() {
        let planes = width << stage;
        let out = 4 * planes;
        for block in 0..blocks {
            all += conv(inner, planes, 1, side) + conv(planes, planes, 3, side);
            if block == 0 {
                side /= if stage == 0 { 1 } else { 2 };
                all += conv(inner, out, 1, side);
            }
            all += conv(planes, out, 1, side);
            inner = out;
        }
    }
    let (positions, width) = ((side * side + 1) as f64, vision.pooled_width() as f64);
    let products = 6.0 * width * width + 2.0 * width * embed_dim as f64;
    all + positions * products + 4.0 * positions * positions * width
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(name: &str) -> ModelConfig {
        ModelConfig::embedded(name).unwrap()
    }

    #[test]
    fn parameter_counts_equal_those_of_the_published_models() {
        for (name, clip) in [
            ("ViT-B-32", 151_277_313),
            ("ViT-B-16", 149_620_737),
            ("ViT-L-14", 427_616_513),
            ("RN50", 102_007_137),
        ] {
            assert_eq!(config(name).parameter_counts(16).clip(), clip, "{name}");
        }
        let b32 = config("ViT-B-32").parameter_counts(16);
        // 64.1 of 215.3 million parameters are trained (CLIPN, section 4.1).
        assert_eq!((b32.no, b32.clipn()), (64_058_880, 215_336_193));
        assert_eq!((b32.yes, b32.statistics), (63_428_096, 0));
        assert_eq!(
            b32.no - config("ViT-B-32").parameter_counts(0).no,
            16 * 77 * 512
        );
        assert_eq!(config("RN50").parameter_counts(16).statistics, 2 * 26_624);
    }

    /// open_clip's `docs/model_profile.csv`: millions of parameters, then giga-operations, each for
    /// the image tower and the text tower.
    const PROFILE: [(&str, [f64; 4]); 29] = [
        ("ViT-S-32-alt", [22.59, 20.63, 2.29, 1.27]),
        ("ViT-S-32", [22.64, 40.44, 2.29, 3.38]),
        ("ViT-M-32-alt", [39.63, 40.44, 3.99, 3.38]),
        ("ViT-M-32", [39.69, 63.43, 3.99, 5.96]),
        ("ViT-S-16-alt", [21.76, 20.63, 9.2, 1.27]),
        ("ViT-S-16", [21.81, 40.44, 9.2, 3.38]),
        ("ViT-B-32", [87.85, 63.43, 8.82, 5.96]),
        ("ViT-B-32-256", [87.86, 63.43, 11.5, 5.96]),
        ("RN50", [38.32, 63.69, 12.22, 5.96]),
        ("RN101", [56.26, 63.43, 19.54, 5.96]),
        ("ViT-M-16", [38.59, 63.43, 15.98, 5.96]),
        ("ViT-B-32-plus-256", [119.13, 91.16, 15.56, 9.27]),
        ("ViT-B-16", [86.19, 63.43, 35.13, 5.96]),
        ("RN50x4", [87.14, 91.16, 42.56, 9.27]),
        ("ViT-B-16-plus", [117.19, 91.16, 47.49, 9.27]),
        ("ViT-B-16-plus-240", [117.21, 91.16, 54.76, 9.27]),
        ("ViT-L-16", [304.09, 123.65, 123.11, 13.3]),
        ("RN50x16", [167.33, 123.65, 149.39, 13.3]),
        ("ViT-L-14", [303.97, 123.65, 162.03, 13.3]),
        ("ViT-L-14-280", [304.11, 123.65, 258.49, 13.3]),
        ("ViT-L-16-320", [304.3, 123.65, 258.63, 13.3]),
        ("ViT-H-16", [632.23, 354.03, 254.63, 47.09]),
        ("ViT-H-14", [632.08, 354.03, 334.59, 47.09]),
        ("ViT-L-14-336", [304.29, 123.65, 381.92, 13.3]),
        ("RN50x64", [420.38, 202.88, 529.11, 23.55]),
        ("ViT-g-14", [1012.65, 354.03, 534.06, 47.09]),
        ("ViT-bigG-14", [1844.91, 694.66, 967.5, 97.86]),
        ("ViT-e-14", [3807.72, 773.37, 1981.35, 110.1]),
        ("ViT-B-16-quickgelu", [86.19, 63.43, 35.13, 5.96]),
    ];

    #[test]
    fn costs_equal_the_profile_of_open_clip() {
        for (name, expected) in PROFILE {
            let config = config(name);
            let counts = config.parameter_counts(0);
            let found = [
                counts.image as f64 / 1e6,
                counts.yes as f64 / 1e6,
                config.image_flops() / 1e9,
                config.text_flops(config.text.context_length) / 1e9,
            ];
            for (found, expected) in found.into_iter().zip(expected) {
                assert!(
                    (found - expected).abs() <= 0.005 + 1e-9,
                    "{name}: expected {expected}, got {found}"
                );
            }
        }
    }
}
