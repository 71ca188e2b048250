//! Shared by the benchmarks: towers of the published sizes with random weights, and texts. Random
//! numbers and real data come from the helpers of the tests.
#![allow(dead_code, unused_imports)]

pub(crate) use clipn_testing::{random, test_data};

use clipn::engine::{TextEncoder, TextTransformer, VisionEncoder, VisionTransformer};
use clipn::model::{FeatureMatrix, ModelConfig};
use clipn::tokenizer::TokenBatch;
use random::Random;

pub(crate) fn config(model: &str) -> ModelConfig {
    ModelConfig::embedded(model).unwrap()
}

/// Image tower for inference.
pub(crate) fn image_encoder(model: &str) -> VisionEncoder {
    let config = config(model);
    VisionEncoder::new(&config, Random::new(1).vision(&config))
}

/// Frozen image tower for training.
pub(crate) fn image_tower(model: &str) -> VisionTransformer {
    let config = config(model);
    VisionTransformer::new(&config, Random::new(1).vision(&config)).with_packed_weights()
}

/// Random pixels of `batch` images of 224 × 224.
pub(crate) fn pixels(batch: usize) -> Vec<f32> {
    Random::new(2).values(batch * 3 * 224 * 224, 2.0)
}

/// Text tower of ViT-B-32 for inference.
pub(crate) fn text_encoder(prompts: usize) -> TextEncoder {
    let config = config("ViT-B-32");
    TextEncoder::new(&config, Random::new(3).text(&config, prompts))
}

/// Text tower of ViT-B-32 for training.
pub(crate) fn text_tower(prompts: usize) -> TextTransformer {
    let config = config("ViT-B-32");
    TextTransformer::new(&config, Random::new(3).text(&config, prompts))
}

/// Texts of full length: the largest id, which marks the end of the text, is last.
pub(crate) fn full_texts(batch: usize, length: usize) -> TokenBatch {
    let mut random = Random::new(4);
    let mut row = || {
        (1..length)
            .map(|_| (random.next_u64() % 49_000) as u32)
            .chain([49_407])
            .collect::<Vec<_>>()
    };
    TokenBatch::new((0..batch).flat_map(|_| row()).collect(), length).unwrap()
}

/// Captions of 5 to 25 ids, padded to 77 as in training.
pub(crate) fn captions(batch: usize) -> TokenBatch {
    let mut random = Random::new(5);
    let mut row = || {
        let length = 5 + (random.next_u64() % 21) as usize;
        let words = (2..length)
            .map(|_| (random.next_u64() % 49_000) as u32)
            .collect::<Vec<_>>();
        [49_406]
            .into_iter()
            .chain(words)
            .chain([49_407])
            .chain([0; 77])
            .take(77)
            .collect::<Vec<_>>()
    };
    TokenBatch::new((0..batch).flat_map(|_| row()).collect(), 77).unwrap()
}

/// Normalized random features of ViT-B-32.
pub(crate) fn features(batch: usize, seed: u64) -> Vec<f32> {
    let mut features = FeatureMatrix::new(Random::new(seed).values(batch * 512, 1.0), 512);
    features.normalize();
    features.values().to_vec()
}
