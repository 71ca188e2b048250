use rayon::prelude::*;
use sha2::{Digest, Sha256};

use super::names;
use super::{ModelConfig, ModelError, Real, Weights};
use clipn_checkpoint::{Checkpoint, Tensor};

/// Values that are hashed at a time.
const PIECE: usize = 1 << 16;

/// The weights of an image tower without text towers, held against a config as [`Weights`] are.
#[derive(Debug, Clone)]
pub struct ImageWeights(Weights);

impl ImageWeights {
    /// Takes the tensors of the image tower from among those of a file; others are left alone.
    ///
    /// # Errors
    /// A tensor is missing or of another shape.
    pub fn new(config: ModelConfig, checkpoint: Checkpoint) -> Result<Self, ModelError> {
        Weights::of_images(config, checkpoint).map(Self)
    }

    /// The architecture, the text towers' too.
    pub fn config(&self) -> &ModelConfig {
        self.0.config()
    }

    /// As [`Weights::image_tower_hash`].
    pub fn image_tower_hash(&self) -> String {
        self.0.image_tower_hash()
    }

    /// What [`clipn_engine::image_tower`] opens.
    pub fn weights(&self) -> &Weights {
        &self.0
    }
}

impl Weights {
    /// The tensors of the image tower by open_clip's names.
    pub fn image_tensors(&self) -> Vec<(String, Tensor)> {
        let config = self.config();
        let tensor = |(name, _): names::Named| {
            let tensor = self.checkpoint().get(&name)?.clone();
            Some((name, tensor))
        };
        names::vision(&config.vision, config.embed_dim)
            .into_iter()
            .filter_map(tensor)
            .collect()
    }

    /// A SHA-256 of the image tower's tensors, names, shapes and values as f32: the same for the same values in any form
    /// of file.
    pub fn image_tower_hash(&self) -> String {
        hash(&self.image_tensors())
    }

    /// As [`image_tower_hash`](Self::image_tower_hash), of everything else that the model has: the text towers, the "no"
    /// prompts and the logit scale. Models that differ in what "no" has learned have the same image tower.
    pub fn text_towers_hash(&self) -> String {
        let of_images: Vec<String> = self
            .image_tensors()
            .into_iter()
            .map(|(name, _)| name)
            .collect();
        let mut others: Vec<(String, Tensor)> = self
            .parameters()
            .filter(|(name, _)| !of_images.iter().any(|image| image == name))
            .map(|(name, tensor)| (name.to_owned(), tensor.clone()))
            .collect();
        others.sort_by(|a, b| a.0.cmp(&b.0));
        hash(&others)
    }
}

/// Each tensor on its own, on all cores, then their hashes in order.
fn hash(tensors: &[(String, Tensor)]) -> String {
    let of_tensor = |(name, tensor): &(String, Tensor)| {
        let mut hash = Sha256::new();
        hash.update(format!("{name} {:?} ", tensor.shape()));
        for values in f32::buffer(tensor).chunks(PIECE) {
            let bytes: Vec<u8> = values
                .iter()
                .flat_map(|value| value.to_le_bytes())
                .collect();
            hash.update(bytes);
        }
        hash.finalize()
    };
    let parts: Vec<_> = tensors.par_iter().map(of_tensor).collect();
    let mut whole = Sha256::new();
    parts.iter().for_each(|part| whole.update(part));
    whole
        .finalize()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}
