//! CPU implementations of the image and text towers.
//!
//! [`VisionTower`], [`ResNetTower`] and [`TransformerText`] are the fast towers, in f32. Threads
//! take chunks of the batch, and each thread runs the whole tower on its chunk with single-threaded
//! matrix products. [`VisionEncoder`] and [`TextEncoder`] are the same towers for inference only,
//! with packed weights.
//!
//! [`plain`] holds the slow reference implementation in f32 and f64; tests compare the fast towers
//! with it.
//!
//! ViT and text towers of both kinds can be trained. Their forward passes
//! ([`clipn_model::TrainableImageTower`], [`clipn_model::TrainableTextTower`]) record a tape, and hand-written
//! backward passes turn it into gradients.
//!
//! ```no_run
//! use std::path::Path;
//!
//! use clipn_checkpoint::Checkpoint;
//! use clipn_engine::image_tower;
//! use clipn_model::{Images, ModelConfig, Weights};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let config = ModelConfig::load(Path::new("ViT-B-32.json"))?;
//! let weights = Weights::new(config, Checkpoint::open(Path::new("model.safetensors"))?)?;
//! let tower = image_tower(&weights);
//!
//! // One image, [1, 3, side, side].
//! let side = tower.image_size();
//! let pixels = vec![0.0; 3 * side * side];
//! let features = tower.encode(Images::new(&pixels, side, side)?)?;
//! assert_eq!(features.dim(), tower.embed_dim());
//! # Ok(())
//! # }
//! ```

mod block;
mod chunks;
mod head;
mod kernels;
mod peak;
pub mod plain;
mod text;
mod vision;
mod weight_gradient;

pub use peak::peak_gemm_flops;
pub use text::{TextEncoder, TextTape, TransformerText};
pub use vision::{
    ResNetTower, VisionEncoder, VisionTape, VisionTower, image_tower,
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
