use clipn_checkpoint::{Checkpoint, Tensor};
use rayon::prelude::*;
use sha2::{Digest, Sha256};

use crate::config::{ModelConfig, TextSide};
use crate::error::ModelError;
use crate::precision::Precision;
use crate::real::Real;
use crate::weights::ModelWeights;

/// Name of the logarithm of the factor from cosines to logits.
const LOGIT_SCALE: &str = "logit_scale";

/// Number of values hashed at a time.
const HASH_CHUNK: usize = 1 << 16;

/// Weights of an image tower without text towers, validated against a model config like
/// [`ModelWeights`].
#[derive(Debug, Clone)]
pub struct ImageTowerWeights(ModelWeights);

impl ImageTowerWeights {
    /// Validates the tensors of the image tower in a file; other tensors are ignored.
    ///
    /// # Errors
    /// [`ModelError::WeightsMismatch`] if a tensor is missing or has the wrong shape.
    pub fn new(config: ModelConfig, checkpoint: Checkpoint) -> Result<Self, ModelError> {
        ModelWeights::image_tower_only(config, checkpoint).map(Self)
    }

    /// Same as [`ModelWeights::with_precision`].
    ///
    /// # Errors
    /// Same as [`ModelWeights::with_precision`].
    pub fn with_precision(self, precision: Precision) -> Result<Self, ModelError> {
        self.0.with_precision(precision).map(Self)
    }

    /// Returns the architecture, including the text towers.
    pub fn config(&self) -> &ModelConfig {
        self.0.config()
    }

    /// Same as [`ModelWeights::image_tower_hash`].
    pub fn image_tower_hash(&self) -> String {
        self.0.image_tower_hash()
    }

    /// Returns the weights for `clipn_engine::image_tower`.
    pub fn weights(&self) -> &ModelWeights {
        &self.0
    }
}

impl ModelWeights {
    /// Returns the tensors of the image tower by open_clip's names.
    pub fn image_tensors(&self) -> Vec<(String, Tensor)> {
        let config = self.config();
        config
            .vision
            .tensors(config.embed_dim)
            .into_iter()
            .filter_map(|spec| {
                let tensor = self.checkpoint().get(&spec.name)?.clone();
                Some((spec.name, tensor))
            })
            .collect()
    }

    /// Returns a SHA-256 of the names, shapes and values of the image tower's tensors. Values are
    /// hashed as `f32`, so the hash does not depend on the file format.
    pub fn image_tower_hash(&self) -> String {
        hash(&self.image_tensors())
    }

    /// Returns the same kind of hash as [`image_tower_hash`](Self::image_tower_hash) for the rest
    /// of the model: the text towers, the "no" prompts and the logit scale. It distinguishes models
    /// that share an image tower but differ in the trained "no".
    pub fn text_towers_hash(&self) -> String {
        let mut tensors = self.text_tensors();
        // Programs store it as a scalar or as a list of one, and `convert` changes that.
        for (name, tensor) in &mut tensors {
            if name == LOGIT_SCALE
                && let Some(scalar) = tensor.reshaped(&[])
            {
                *tensor = scalar;
            }
        }
        hash(&tensors)
    }

    /// Returns whether a hash of [`text_towers_hash`](Self::text_towers_hash) is that of these weights.
    /// Hashes of version 0.1, in which a `logit_scale` of shape `[1]` made a difference, are accepted too.
    pub fn has_text_towers(&self, text_towers_hash: &str) -> bool {
        self.text_towers_hash() == text_towers_hash
            || hash(&self.text_tensors()) == text_towers_hash
    }

    /// Returns all parameters that are not of the image tower, by name.
    fn text_tensors(&self) -> Vec<(String, Tensor)> {
        let image_names: Vec<String> = self
            .image_tensors()
            .into_iter()
            .map(|(name, _)| name)
            .collect();
        let mut others: Vec<(String, Tensor)> = self
            .parameters()
            .filter(|(name, _)| !image_names.iter().any(|image| image == name))
            .map(|(name, tensor)| (name.to_owned(), tensor.clone()))
            .collect();
        others.sort_by(|a, b| a.0.cmp(&b.0));
        others
    }

    /// Returns the same kind of hash for what the features of the "yes" text tower depend on: its
    /// tensors, the number of heads, the activation and the precision. Models that share the tower have
    /// the same hash, whatever their image tower and their "no" side are.
    pub fn yes_tower_hash(&self) -> String {
        let config = self.config();
        let mut tensors: Vec<(String, Tensor)> = config
            .text
            .tensors(config.embed_dim, TextSide::Yes)
            .into_iter()
            .filter_map(|spec| {
                let tensor = self.checkpoint().get(&spec.name)?.clone();
                Some((spec.name, tensor))
            })
            .collect();
        tensors.sort_by(|a, b| a.0.cmp(&b.0));
        let mut whole = Sha256::new();
        if self.precision() != Precision::F32 {
            whole.update(self.precision().as_str());
        }
        whole.update(format!(
            "{} {:?} {}",
            config.text.heads, config.activation, config.text.context_length
        ));
        // Weights may have only the token rows of these words.
        if let Some(vocabulary) = self.training_vocabulary() {
            whole.update(format!(" {:?}", vocabulary.token_ids()));
        }
        whole.update(hash(&tensors));
        to_hex(&whole.finalize())
    }
}

/// Hashes each tensor in parallel, then the hashes in order.
fn hash(tensors: &[(String, Tensor)]) -> String {
    let tensor_hash = |(name, tensor): &(String, Tensor)| {
        let mut hash = Sha256::new();
        hash.update(format!("{name} {:?} ", tensor.shape()));
        for values in f32::load(tensor).chunks(HASH_CHUNK) {
            let bytes: Vec<u8> = values
                .iter()
                .flat_map(|value| value.to_le_bytes())
                .collect();
            hash.update(bytes);
        }
        hash.finalize()
    };
    let hashes: Vec<_> = tensors.par_iter().map(tensor_hash).collect();
    let mut whole = Sha256::new();
    hashes.iter().for_each(|hash| whole.update(hash));
    to_hex(&whole.finalize())
}

fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
