//! Parameters of an untrained CLIP, initialized as in open_clip: normal weights whose standard
//! deviation falls with width and depth, biases of zero, norms that are the identity.

use clipn_base::random::{RandomSource, Xoshiro256};
use clipn_checkpoint::Buffer;
use clipn_model::{BlockParams, LinearParams, ModelConfig, NormParams, TextParams, VisionParams};

/// Stream of the generator for the image tower. One stream per tower keeps the values of one
/// independent of the size of the other.
const VISION: u64 = 1;
/// Stream of the generator for the text tower.
const TEXT: u64 = 2;

pub(crate) fn init_vision(config: &ModelConfig, seed: u64) -> VisionParams<f32> {
    let v = &config.vision;
    let mut rng = Xoshiro256::keyed(seed, &[VISION]);
    let scale = (v.width as f64).powf(-0.5);
    let patch = 3 * v.patch_size * v.patch_size;
    VisionParams {
        conv1: normal(&mut rng, v.width * patch, (3.0 * patch as f64).powf(-0.5)),
        class_embedding: normal(&mut rng, v.width, scale),
        positional_embedding: normal(&mut rng, (1 + v.grid() * v.grid()) * v.width, scale),
        ln_pre: norm(v.width),
        blocks: blocks(&mut rng, v.layers, v.width, v.mlp_width),
        ln_post: norm(v.width),
        proj: normal(&mut rng, v.width * config.embed_dim, scale),
    }
}

pub(crate) fn init_text(config: &ModelConfig, seed: u64) -> TextParams<f32> {
    let t = &config.text;
    let mut rng = Xoshiro256::keyed(seed, &[TEXT]);
    TextParams {
        token_embedding: normal(&mut rng, t.vocab_size * t.width, 0.02),
        positional_embedding: normal(&mut rng, t.context_length * t.width, 0.01),
        prompts: None,
        blocks: blocks(&mut rng, t.layers, t.width, t.mlp_width),
        ln_final: norm(t.width),
        projection: normal(
            &mut rng,
            t.width * config.embed_dim,
            (t.width as f64).powf(-0.5),
        ),
    }
}

fn blocks(
    rng: &mut Xoshiro256,
    layers: usize,
    width: usize,
    mlp_width: usize,
) -> Vec<BlockParams<f32>> {
    let attention = (width as f64).powf(-0.5);
    let projection = attention * (2.0 * layers as f64).powf(-0.5);
    let hidden = (2.0 * width as f64).powf(-0.5);
    let block = |_| BlockParams {
        ln_1: norm(width),
        in_proj: linear(rng, 3 * width, width, attention),
        out_proj: linear(rng, width, width, projection),
        ln_2: norm(width),
        c_fc: linear(rng, mlp_width, width, hidden),
        c_proj: linear(rng, width, mlp_width, projection),
    };
    (0..layers).map(block).collect()
}

fn linear(rng: &mut Xoshiro256, out: usize, inner: usize, std: f64) -> LinearParams<f32> {
    LinearParams {
        weight: normal(rng, out * inner, std),
        bias: vec![0.0; out].into(),
    }
}

fn norm(width: usize) -> NormParams<f32> {
    NormParams {
        weight: vec![1.0; width].into(),
        bias: vec![0.0; width].into(),
    }
}

fn normal(rng: &mut Xoshiro256, count: usize, std: f64) -> Buffer<f32> {
    (0..count)
        .map(|_| (rng.normal() * std) as f32)
        .collect::<Vec<_>>()
        .into()
}
