//! Features of frozen towers, each computed once and cached.

use std::borrow::Cow;
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use super::{CpuTowers, Digest, FeatureCache, FeatureCacheError, TrainingError};
use clipn_checkpoint::Buffer;
use clipn_data::{CachedImages, TrainBatch};
use clipn_model::{ImageTower, ImageBatch, TextTower, TrainableImageTower, TrainableTextTower};
use clipn_text::tokenizer::Tokenizer;

/// Maximum number of new features in memory; beyond it they are written even if no checkpoint is
/// due.
const MAX_PENDING: usize = 8192;

/// Feature caches of a run's frozen towers. `images` is `None` if image features are recomputed
/// every time.
#[derive(Debug)]
pub(super) struct Frozen {
    yes: FeatureCache,
    images: Option<Arc<ImageFeatures>>,
    /// Whether the image tower's mapped weights may be resident.
    uses_image: bool,
    /// Whether the "yes" tower's mapped weights may be resident.
    uses_yes: bool,
}

/// Image features by sample name. The loader's threads query which names are cached.
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

impl CachedImages for ImageFeatures {
    fn is_cached(&self, key: &str) -> bool {
        self.read().get(Digest::of(key)).is_some()
    }
}

impl Frozen {
    /// Opens the caches of a run in the directory `dir`. `of` describes what the image features
    /// depend on beside the tower.
    pub fn open(
        dir: &Path,
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
        // The first and last parameters identify a tower; hashing all of it would take as long as
        // an epoch's start.
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
            let cache = FeatureCache::open(&dir.join("images.features"), dim, identity)?;
            Some(Arc::new(ImageFeatures(RwLock::new(cache))))
        } else {
            None
        };
        let yes = FeatureCache::open(&dir.join("yes.features"), dim, yes)?;
        Ok(Self {
            yes,
            images,
            uses_image: true,
            uses_yes: true,
        })
    }

    /// Returns the lookup by which a loader skips images whose features are cached; `None` if image
    /// features are not cached.
    pub fn known_pictures(&self) -> Option<Arc<dyn CachedImages>> {
        self.images
            .as_ref()
            .map(|images| Arc::clone(images) as Arc<dyn CachedImages>)
    }

    /// Returns normalized "yes" features of texts, `[N, D]`. If all are cached, releases the
    /// tower's mapped weights from memory.
    pub fn yes(&mut self, texts: &[String], towers: &CpuTowers) -> Result<Vec<f32>, TrainingError> {
        let keys: Vec<u128> = texts.iter().map(|text| Digest::of(text)).collect();
        let missing: Vec<usize> = (0..keys.len())
            .filter(|&i| is_new(&self.yes, &keys, i))
            .collect();
        if !missing.is_empty() {
            let texts: Vec<&String> = missing.iter().map(|&i| &texts[i]).collect();
            let tokens = Tokenizer::clip().tokenize_batch(&texts, towers.yes.context_length());
            let mut features = towers.yes.encode(&tokens)?;
            features.normalize();
            for (&index, row) in missing.iter().zip(features.rows()) {
                self.yes.insert(keys[index], row);
            }
            flush_if_large(&mut self.yes)?;
        } else if self.uses_yes {
            release(&towers.yes.params().buffers());
        }
        self.uses_yes = !missing.is_empty();
        Ok(gather(&self.yes, &keys))
    }

    /// Returns normalized features of a batch's images of side `size`, `[N, D]`, looked up by
    /// sample name; `None` if image features are not cached. If all are cached, releases the
    /// tower's mapped weights from memory.
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
        // The loader skips only images that are cached, and a cached image stays cached.
        let missing: Vec<(usize, usize)> = {
            let cache = images.read();
            let decoded = batch.decoded.iter().copied().enumerate();
            decoded.filter(|&(_, i)| is_new(&cache, &keys, i)).collect()
        };
        if !missing.is_empty() {
            let pixels = missing_pixels(batch, &missing, 3 * size * size);
            let mut features = towers.image.encode(ImageBatch::new(&pixels, size, size)?)?;
            features.normalize();
            let mut cache = images.write();
            for (&(_, index), row) in missing.iter().zip(features.rows()) {
                cache.insert(keys[index], row);
            }
            flush_if_large(&mut cache)?;
        } else if self.uses_image {
            release(&towers.image.params().buffers());
        }
        self.uses_image = !missing.is_empty();
        let cache = images.read();
        Ok(Some(gather(&cache, &keys)))
    }

    /// Writes new features to the files, so that a resumed run finds the very same features.
    pub fn flush(&mut self) -> Result<(), TrainingError> {
        self.yes.flush()?;
        if let Some(images) = &self.images {
            images.write().flush()?;
        }
        Ok(())
    }
}

/// Returns whether key `i` is not in the cache and does not repeat an earlier key.
fn is_new(cache: &FeatureCache, keys: &[u128], i: usize) -> bool {
    cache.get(keys[i]).is_none() && !keys[..i].contains(&keys[i])
}

/// Returns the pixels of the images `missing`, `each` values an image. The first index of a pair is
/// the position among the images whose pixels the batch has.
fn missing_pixels<'a>(
    batch: &'a TrainBatch,
    missing: &[(usize, usize)],
    each: usize,
) -> Cow<'a, [f32]> {
    if missing.len() == batch.decoded.len() {
        return Cow::Borrowed(&batch.pixels);
    }
    let pixels = |&(at, _): &(usize, usize)| &batch.pixels[at * each..(at + 1) * each];
    missing.iter().flat_map(pixels).copied().collect()
}

fn flush_if_large(cache: &mut FeatureCache) -> Result<(), FeatureCacheError> {
    if cache.waiting() < MAX_PENDING {
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
