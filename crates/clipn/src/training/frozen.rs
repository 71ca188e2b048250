//! Features of frozen towers, each computed once.

use std::path::Path;

use super::{CpuTowers, Digest, FeatureCache, TrainingError};
use crate::image::Preprocessing;
use crate::model::{ImageTower, Images, TextTower, TrainText};
use crate::tokenizer::Tokenizer;

/// Caches of what the frozen towers of a run give; `None` where features are computed anew each time.
#[derive(Debug)]
pub(super) struct Frozen {
    yes: FeatureCache,
    images: Option<FeatureCache>,
}

impl Frozen {
    /// Opens the caches of a run in `folder`.
    pub fn open(
        folder: &Path,
        towers: &CpuTowers,
        preprocessing: &Preprocessing,
        images: bool,
    ) -> Result<Self, TrainingError> {
        let dim = towers.image.embed_dim();
        let digest = |values: &[&[f32]], more: &str| {
            let mut digest = Digest::default();
            for values in values {
                digest.update(bytemuck::cast_slice(values));
            }
            digest.update(more.as_bytes());
            digest.value()
        };
        // The ends of a tower tell it from another one; hashing all of it would take as long as an epoch's start.
        let yes = towers.yes.params();
        let yes = digest(&[&yes.positional_embedding, &yes.ln_final.weight, &yes.projection], "");
        let images = if images {
            let identity = digest(&towers.image.ends(), &format!("{preprocessing:?}"));
            Some(FeatureCache::open(&folder.join("images.features"), dim, identity)?)
        } else {
            None
        };
        Ok(Self { yes: FeatureCache::open(&folder.join("yes.features"), dim, yes)?, images })
    }

    /// Normalised "yes" features of texts, `[N, D]`.
    pub fn yes(&mut self, texts: &[String], towers: &CpuTowers) -> Result<Vec<f32>, TrainingError> {
        let keys: Vec<u128> = texts.iter().map(|text| Digest::of(text)).collect();
        let missing = missing(&self.yes, &keys);
        if !missing.is_empty() {
            let texts: Vec<&String> = missing.iter().map(|&i| &texts[i]).collect();
            let tokens = Tokenizer::clip().tokenize_batch(&texts, towers.yes.context_length());
            let mut features = towers.yes.encode(&tokens)?;
            features.normalise();
            for (&index, row) in missing.iter().zip(features.rows()) {
                self.yes.insert(keys[index], row);
            }
        }
        Ok(gather(&self.yes, &keys))
    }

    /// Normalised features of images of side `size`, `[N, D]`, by the samples' names; `None` where they are not kept.
    pub fn images(
        &mut self,
        names: &[String],
        pixels: &[f32],
        size: usize,
        towers: &CpuTowers,
    ) -> Result<Option<Vec<f32>>, TrainingError> {
        let Some(cache) = &mut self.images else { return Ok(None) };
        let keys: Vec<u128> = names.iter().map(|name| Digest::of(name)).collect();
        let missing = missing(cache, &keys);
        if !missing.is_empty() {
            let each = 3 * size * size;
            let wanted: Vec<f32> =
                missing.iter().flat_map(|&i| &pixels[i * each..(i + 1) * each]).copied().collect();
            let mut features = towers.image.encode(Images::new(&wanted, size, size)?)?;
            features.normalise();
            for (&index, row) in missing.iter().zip(features.rows()) {
                cache.insert(keys[index], row);
            }
        }
        Ok(Some(gather(cache, &keys)))
    }

    /// Writes what was computed since, so that a resumed run finds the very same features.
    pub fn flush(&mut self) -> Result<(), TrainingError> {
        self.yes.flush()?;
        if let Some(images) = &mut self.images {
            images.flush()?;
        }
        Ok(())
    }
}

/// Places of the keys that the cache does not have, each key once.
fn missing(cache: &FeatureCache, keys: &[u128]) -> Vec<usize> {
    let is_new = |i: &usize| cache.get(keys[*i]).is_none() && !keys[..*i].contains(&keys[*i]);
    (0..keys.len()).filter(is_new).collect()
}

fn gather(cache: &FeatureCache, keys: &[u128]) -> Vec<f32> {
    keys.iter().filter_map(|&key| cache.get(key)).flatten().copied().collect()
}
