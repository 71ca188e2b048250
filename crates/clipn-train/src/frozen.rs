//! Features of frozen towers, each computed once.

use std::borrow::Cow;
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use super::{CpuTowers, Digest, FeatureCache, FeatureCacheError, TrainingError};
use clipn_checkpoint::Buffer;
use clipn_data::{KnownPictures, TrainBatch};
use clipn_model::{ImageTower, Images, TextTower, TrainImage, TrainText};
use clipn_text::tokenizer::Tokenizer;

/// New features that wait in memory before they are written, whether a checkpoint is due or not.
const WAITING: usize = 8192;

/// Caches of what the frozen towers of a run give; images' features are `None` where they are computed anew each time.
#[derive(Debug)]
pub(super) struct Frozen {
    yes: FeatureCache,
    images: Option<Arc<ImageFeatures>>,
    /// Which towers' weights may be in memory.
    uses_image: bool,
    uses_yes: bool,
}

/// Features of images by the samples' names. The loader's threads ask which there are.
#[derive(Debug)]
struct ImageFeatures(RwLock<FeatureCache>);

impl ImageFeatures {
    fn read(&self) -> RwLockReadGuard<'_, FeatureCache> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, FeatureCache> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl KnownPictures for ImageFeatures {
    fn is_known(&self, key: &str) -> bool {
        self.read().get(Digest::of(key)).is_some()
    }
}

impl Frozen {
    /// Opens the caches of a run in `folder`; `of` tells what beside the tower the features of images depend on.
    pub fn open(
        folder: &Path,
        towers: &CpuTowers,
        of: &str,
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
        let yes = digest(
            &[
                &yes.positional_embedding,
                &yes.ln_final.weight,
                &yes.projection,
            ],
            "",
        );
        let images = if images {
            let identity = digest(&towers.image.ends(), of);
            let cache = FeatureCache::open(&folder.join("images.features"), dim, identity)?;
            Some(Arc::new(ImageFeatures(RwLock::new(cache))))
        } else {
            None
        };
        let yes = FeatureCache::open(&folder.join("yes.features"), dim, yes)?;
        Ok(Self {
            yes,
            images,
            uses_image: true,
            uses_yes: true,
        })
    }

    /// What tells a loader which pictures it need not read; `None` where images' features are not kept.
    pub fn known_pictures(&self) -> Option<Arc<dyn KnownPictures>> {
        self.images
            .as_ref()
            .map(|images| Arc::clone(images) as Arc<dyn KnownPictures>)
    }

    /// Normalised "yes" features of texts, `[N, D]`. Where all are there, the tower's mapped weights leave memory.
    pub fn yes(&mut self, texts: &[String], towers: &CpuTowers) -> Result<Vec<f32>, TrainingError> {
        let keys: Vec<u128> = texts.iter().map(|text| Digest::of(text)).collect();
        let missing: Vec<usize> = (0..keys.len())
            .filter(|&i| is_new(&self.yes, &keys, i))
            .collect();
        if !missing.is_empty() {
            let texts: Vec<&String> = missing.iter().map(|&i| &texts[i]).collect();
            let tokens = Tokenizer::clip().tokenize_batch(&texts, towers.yes.context_length());
            let mut features = towers.yes.encode(&tokens)?;
            features.normalise();
            for (&index, row) in missing.iter().zip(features.rows()) {
                self.yes.insert(keys[index], row);
            }
            flush_many(&mut self.yes)?;
        } else if self.uses_yes {
            release(&towers.yes.params().buffers());
        }
        self.uses_yes = !missing.is_empty();
        Ok(gather(&self.yes, &keys))
    }

    /// Normalised features of a batch's images of side `size`, `[N, D]`, by the samples' names; `None` where they are
    /// not kept. Where all are there, the tower's mapped weights leave memory.
    pub fn images(
        &mut self,
        batch: &TrainBatch,
        size: usize,
        towers: &CpuTowers,
    ) -> Result<Option<Vec<f32>>, TrainingError> {
        let Some(images) = &self.images else {
            return Ok(None);
        };
        let keys: Vec<u128> = batch.keys.iter().map(|name| Digest::of(name)).collect();
        // A picture that the loader left out was known then, and what is known stays so.
        let missing: Vec<(usize, usize)> = {
            let cache = images.read();
            let pictured = batch.pictured.iter().copied().enumerate();
            pictured
                .filter(|&(_, i)| is_new(&cache, &keys, i))
                .collect()
        };
        if !missing.is_empty() {
            let pixels = pixels_of(batch, &missing, 3 * size * size);
            let mut features = towers.image.encode(Images::new(&pixels, size, size)?)?;
            features.normalise();
            let mut cache = images.write();
            for (&(_, index), row) in missing.iter().zip(features.rows()) {
                cache.insert(keys[index], row);
            }
            flush_many(&mut cache)?;
        } else if self.uses_image {
            release(&towers.image.params().buffers());
        }
        self.uses_image = !missing.is_empty();
        let cache = images.read();
        Ok(Some(gather(&cache, &keys)))
    }

    /// Writes what was computed since, so that a resumed run finds the very same features.
    pub fn flush(&mut self) -> Result<(), TrainingError> {
        self.yes.flush()?;
        if let Some(images) = &self.images {
            images.write().flush()?;
        }
        Ok(())
    }
}

/// Whether the cache lacks key `i`, and no key before it is the same.
fn is_new(cache: &FeatureCache, keys: &[u128], i: usize) -> bool {
    cache.get(keys[i]).is_none() && !keys[..i].contains(&keys[i])
}

/// Pixels of the pictures `missing`, each `each` values, by their places among those that the batch has.
fn pixels_of<'a>(batch: &'a TrainBatch, missing: &[(usize, usize)], each: usize) -> Cow<'a, [f32]> {
    if missing.len() == batch.pictured.len() {
        return Cow::Borrowed(&batch.pixels);
    }
    let pixels = |&(place, _): &(usize, usize)| &batch.pixels[place * each..(place + 1) * each];
    missing.iter().flat_map(pixels).copied().collect()
}

fn flush_many(cache: &mut FeatureCache) -> Result<(), FeatureCacheError> {
    if cache.waiting() < WAITING {
        Ok(())
    } else {
        cache.flush()
    }
}

fn release(buffers: &[&Buffer<f32>]) {
    for buffer in buffers {
        buffer.release();
    }
}

fn gather(cache: &FeatureCache, keys: &[u128]) -> Vec<f32> {
    keys.iter()
        .filter_map(|&key| cache.get(key))
        .flatten()
        .copied()
        .collect()
}
