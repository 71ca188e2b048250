//! Towers with random parameters, which are the same in every floating-point type.
#![allow(clippy::unwrap_used)]

use clipn_base::random::{RandomSource, SplitMix64};
use clipn_checkpoint::Buffer;
use clipn_model::{
    BlockParams, LinearParams, ModelConfig, NormParams, Real, ResNetParams, TextParams,
    VisionParams,
};

/// Draws of tests, from a SplitMix64 stream.
#[derive(Debug)]
pub struct Random(SplitMix64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(SplitMix64::new(seed))
    }

    pub fn next_u64(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// Draws a number from [−1, 1) that `f32` represents exactly.
    pub fn signed(&mut self) -> f32 {
        (self.next_u64() >> 40) as f32 / (1 << 23) as f32 - 1.0
    }

    /// Draws `count` numbers from [−scale, scale).
    pub fn values<T: Real>(&mut self, count: usize, scale: f32) -> Vec<T> {
        (0..count)
            .map(|_| T::from_f64(f64::from(self.signed() * scale)))
            .collect()
    }

    fn buffer<T: Real>(&mut self, count: usize, scale: f32) -> Buffer<T> {
        self.values(count, scale).into()
    }

    fn norm<T: Real>(&mut self, width: usize) -> NormParams<T> {
        NormParams {
            weight: self.around_one(width, 0.3).into(),
            bias: self.buffer(width, 0.2),
        }
    }

    /// Draws a linear layer `[out, inner]` whose outputs have a magnitude of about 1 for inputs of
    /// magnitude 1.
    fn linear<T: Real>(&mut self, out: usize, inner: usize) -> LinearParams<T> {
        LinearParams {
            weight: self.buffer(out * inner, (inner as f32).powf(-0.5) * 1.7),
            bias: self.buffer(out, 0.1),
        }
    }

    fn blocks<T: Real>(
        &mut self,
        layers: usize,
        width: usize,
        mlp_width: usize,
    ) -> Vec<BlockParams<T>> {
        (0..layers)
            .map(|_| BlockParams {
                ln_1: self.norm(width),
                in_proj: self.linear(3 * width, width),
                out_proj: self.linear(width, width),
                ln_2: self.norm(width),
                c_fc: self.linear(mlp_width, width),
                c_proj: self.linear(width, mlp_width),
            })
            .collect()
    }

    pub fn vision<T: Real>(&mut self, config: &ModelConfig) -> VisionParams<T> {
        let v = &config.vision;
        let inner = 3 * v.patch_size * v.patch_size;
        VisionParams {
            conv1: self.buffer(v.width * inner, (inner as f32).powf(-0.5)),
            class_embedding: self.buffer(v.width, 1.0),
            positional_embedding: self.buffer((1 + v.grid() * v.grid()) * v.width, 0.5),
            ln_pre: self.norm(v.width),
            blocks: self.blocks(v.layers, v.width, v.mlp_width),
            ln_post: self.norm(v.width),
            proj: self.buffer(v.width * config.embed_dim, (v.width as f32).powf(-0.5)),
        }
    }

    /// Draws the parameters of a ResNet: products of magnitude 1 and norms other than the identity.
    pub fn resnet<T: Real>(&mut self, config: &ModelConfig) -> ResNetParams<T> {
        ResNetParams::from_fn(config, |name, shape| {
            let count = shape.iter().product();
            match name.rsplit('.').next() {
                Some("running_var") => self.around_one(count, 0.5).into(),
                Some("weight") if shape.len() == 1 => self.around_one(count, 0.3).into(),
                Some("weight") => {
                    let inner = shape[1..].iter().product::<usize>();
                    self.buffer(count, (inner as f32).powf(-0.5) * 1.7)
                }
                Some("positional_embedding") => self.buffer(count, 0.5),
                _ => self.buffer(count, 0.2),
            }
        })
        .unwrap()
    }

    fn around_one<T: Real>(&mut self, count: usize, spread: f32) -> Vec<T> {
        self.values::<T>(count, spread)
            .into_iter()
            .map(|v| v + T::one())
            .collect()
    }

    pub fn text<T: Real>(&mut self, config: &ModelConfig, prompts: usize) -> TextParams<T> {
        let t = &config.text;
        TextParams {
            token_embedding: self.buffer(t.vocab_size * t.width, 1.0),
            positional_embedding: self.buffer(t.context_length * t.width, 0.5),
            prompts: (prompts > 0).then(|| self.buffer(prompts * t.context_length * t.width, 0.5)),
            blocks: self.blocks(t.layers, t.width, t.mlp_width),
            ln_final: self.norm(t.width),
            projection: self.buffer(t.width * config.embed_dim, (t.width as f32).powf(-0.5)),
        }
    }
}
