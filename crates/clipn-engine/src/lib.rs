//! Image and text towers of CLIP and CLIPN on the CPU, forward and backward, with SIMD kernels.
//!
//! ```text
//! images [N, 3, H, W] ─► patches ─► + class token, positions ─► ln_pre ─┐
//!                                                                       ├─► blocks ─► pooled row ─► head ─► features [N, D]
//! token ids [N, L] ───► embeddings ─► + positions, "no" prompt ─────────┘
//! ```
//!
//! | item | for |
//! |---|---|
//! | [`image_tower`] | the image tower of any weights, ViT or ResNet, for inference |
//! | [`CpuFactory`] | both towers of any weights, where a device can be chosen |
//! | [`VisionEncoder`], [`TextEncoder`], [`ResNetTower`] | inference only: weights packed for the matrix products |
//! | [`VisionTransformer`], [`TextTransformer`] | training: forward passes that record a tape, and hand-written backward passes ([`clipn_model::TrainableImageTower`], [`clipn_model::TrainableTextTower`]) |
//! | [`PackedRows`] | products of features with many constant rows, such as the text features of a word list |
//! | [`mod@reference`] | the same towers straight from their definitions, in f32 and f64; tests compare the fast towers with them |
//! | [`peak_gemm_flops`] | the throughput of matrix products, to which benchmarks relate the speed of a tower |
//!
//! Threads of the current rayon pool take chunks of the batch, and each thread runs the whole tower
//! on its chunk with single-threaded matrix products. The loops use the instruction set of
//! [`clipn_base::simd`].
//!
//! # Example
//!
//! ```
//! use clipn_checkpoint::Checkpoint;
//! use clipn_engine::{TextEncoder, image_tower};
//! use clipn_model::{ImageBatch, ModelConfig, ModelWeights, TextSide, TextTower};
//! use clipn_text::tokenizer::TokenBatch;
//!
//! # let directory = clipn_testing::fixture("models/vit_gelu");
//! let config = ModelConfig::load(directory.join("vit_gelu.json"))?;
//! let checkpoint = Checkpoint::open(directory.join("model.safetensors"))?;
//! let weights = ModelWeights::new(config, checkpoint)?;
//!
//! // One gray image, [1, 3, side, side].
//! let tower = image_tower(&weights);
//! let side = tower.image_size();
//! let pixels = vec![0.0; 3 * side * side];
//! let mut image = tower.encode(ImageBatch::new(&pixels, side, side)?)?;
//! image.normalize();
//!
//! // The largest id marks the end of the text.
//! let tokens = TokenBatch::new(vec![126, 5, 9, 127], 4)?;
//! let mut text = TextEncoder::from_weights(&weights, TextSide::Yes).encode(&tokens)?;
//! text.normalize();
//!
//! let cosine: f32 = image.values().iter().zip(text.values()).map(|(i, t)| i * t).sum();
//! assert!((-1.0..=1.0).contains(&cosine));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! The crate has no features.

mod block;
mod chunks;
mod factory;
mod head;
mod kernels;
mod packed_rows;
mod peak;
pub mod reference;
mod text;
mod vision;
mod weight_gradient;

pub use factory::CpuFactory;
pub use packed_rows::PackedRows;
pub use peak::peak_gemm_flops;
pub use text::{TextEncoder, TextTape, TextTransformer};
pub use vision::{
    ResNetTower, VisionEncoder, VisionTape, VisionTransformer, image_tower,
    image_tower_from_image_weights,
};

#[cfg(test)]
mod simd_levels {
    use std::path::{Path, PathBuf};

    #[test]
    fn the_kernels_agree_at_every_level() {
        clipn_testing::levels::rerun_at_every_level(&["kernels"]);
    }

    #[test]
    fn the_requested_level_is_used() {
        clipn_testing::levels::assert_requested_level_is_used();
    }

    fn sources(directory: &Path, files: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                sources(&path, files);
            } else {
                files.push(path);
            }
        }
    }

    /// `pulp`'s own detection ignores the level that the user selected. A loop gives the same
    /// numbers at every level, so only the source shows which one it uses.
    #[test]
    fn no_loop_detects_the_level_itself() {
        let mut files = Vec::new();
        sources(
            &Path::new(env!("CARGO_MANIFEST_DIR")).join("src"),
            &mut files,
        );
        assert!(files.len() > 20, "{files:?}");
        let detection = concat!("Arch::", "new()");
        let found: Vec<_> = files
            .iter()
            .filter(|file| std::fs::read_to_string(file).unwrap().contains(detection))
            .collect();
        assert!(found.is_empty(), "{detection} in {found:?}");
    }
}
