//! Features of frozen towers, each computed once and cached.

use std::borrow::Cow;
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use clipn_checkpoint::Buffer;
use clipn_data::{CachedImage, CachedImages, FeatureKeys, TrainBatch};
use clipn_image::{DecodeOptions, OutlierMix, PillowVersion, Preprocessing, ResizeMode};
use clipn_model::{
    ImageBatch, ImageTower, NamedTensor, Precision, TextSide, TextTower, TrainableImageTower,
    TrainableTextTower,
};
use clipn_text::tokenizer::Tokenizer;
use rayon::prelude::*;

use crate::error::TrainingError;
use crate::feature_cache::{Digest, FeatureCacheError};
use crate::run::feature_files::FeatureFiles;
use crate::towers::CpuTowers;

/// The frozen towers of a run: those that compute, and those of the host with the mapped weights.
#[derive(Clone, Copy)]
pub(crate) struct FrozenTowers<'a> {
    pub(crate) image: &'a dyn ImageTower<f32>,
    pub(crate) yes: &'a dyn TextTower<f32>,
    pub(crate) host: &'a CpuTowers,
}

/// Maximum number of new features in memory; beyond it they are written even if no checkpoint is
/// due.
const MAX_PENDING: usize = 8192;

/// File names of the caches. Versions before knew images by the names of their samples, and towers by a part of their
/// weights, in files of other names.
const CAPTIONS: &str = "captions";
const IMAGES: &str = "image-contents";

/// Feature caches of a run's frozen towers. `images` is `None` if image features are recomputed
/// every time.
#[derive(Debug)]
pub(crate) struct FrozenFeatures {
    yes: FeatureFiles,
    images: Option<Arc<SharedImageCache>>,
    /// Whether the image tower's mapped weights may be resident.
    uses_image: bool,
    /// Whether the "yes" tower's mapped weights may be resident.
    uses_yes: bool,
    /// Checksum of the towers.
    checksum: u32,
}

/// Which image features are cached.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CacheImages {
    /// Kinds of the outliers whose features are cached too.
    pub(crate) outliers: Option<OutlierMix>,
}

/// Image features by the contents of the files. The loader's threads query which are cached.
#[derive(Debug)]
struct SharedImageCache {
    cache: RwLock<FeatureFiles>,
    /// Kinds of the outliers, if each image has one.
    outliers: Option<OutlierMix>,
}

impl SharedImageCache {
    fn read(&self) -> RwLockReadGuard<'_, FeatureFiles> {
        self.cache.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, FeatureFiles> {
        self.cache.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Encodes the images, or outliers, of a batch whose `keys` `[N]` are not in the cache. `pixels` holds
    /// those of each decoded sample, with the side `size`. Returns whether all were in the cache.
    fn encode_missing(
        &self,
        keys: &[u128],
        batch: &TrainBatch,
        pixels: &[f32],
        size: usize,
        towers: FrozenTowers<'_>,
    ) -> Result<bool, TrainingError> {
        // The loader skips only images that are cached, and a cached image stays cached.
        let missing: Vec<(usize, usize)> = {
            let cache = self.read();
            let decoded = batch.decoded.iter().copied().enumerate();
            decoded.filter(|&(_, i)| is_new(&cache, keys, i)).collect()
        };
        if missing.is_empty() {
            return Ok(true);
        }
        let pixels = missing_pixels(pixels, &missing, 3 * size * size);
        let mut features = towers.image.encode(ImageBatch::new(&pixels, size, size)?)?;
        features.normalize();
        let mut cache = self.write();
        for (&(_, index), row) in missing.iter().zip(features.rows()) {
            cache.insert(keys[index], row);
        }
        flush_if_large(&mut cache)?;
        Ok(false)
    }
}

impl CachedImages for SharedImageCache {
    fn look_up(&self, contents: &[u8], sample: [u64; 2]) -> CachedImage {
        let mut digest = Digest::default();
        digest.update(contents);
        let image = digest.value();
        let outlier = self.outliers.map(|mix| outlier_key(image, sample, mix));
        let cache = self.read();
        CachedImage {
            keys: FeatureKeys {
                image,
                outlier: outlier.unwrap_or_default(),
            },
            is_cached: cache.get(image).is_some()
                && outlier.is_none_or(|key| cache.get(key).is_some()),
        }
    }
}

/// Key of the outlier that is made from an image as `sample`, which it is drawn for. Other shares of illustrations
/// make other outliers.
fn outlier_key(image: u128, sample: [u64; 2], mix: OutlierMix) -> u128 {
    let mut digest = Digest::default();
    digest.update(&image.to_le_bytes());
    for index in sample {
        digest.update(&index.to_le_bytes());
    }
    digest.update(&mix.illustrations.to_le_bytes());
    digest.value()
}

/// Normalized features of the images of a batch, `[N, D]`, and of their outliers, `[N, D]`.
#[derive(Debug)]
pub(crate) struct CachedFeatures {
    pub(crate) images: Vec<f32>,
    pub(crate) outliers: Option<Vec<f32>>,
}

/// Returns the text that identifies what image features depend on beside tower and image: the
/// preprocessing and the precision.
///
/// Cache files hold a digest of this text, so that a changed text makes every existing file
/// unusable.
pub(crate) fn image_identity(preprocessing: &Preprocessing, precision: Precision) -> String {
    let Preprocessing {
        size,
        mean,
        std,
        decode,
        gray,
        pillow,
        resize,
    } = preprocessing;
    let DecodeOptions {
        apply_orientation,
        scale_16_bit,
        max_pixels,
        bands,
        sample_bits,
    } = decode;
    // Options that came later are named only where they are not the default.
    let mut later = String::new();
    if let Some(bands) = bands {
        later += &format!(", bands: {bands:?}");
    }
    if let Some(bits) = sample_bits {
        later += &format!(", sample_bits: {bits}");
    }
    if *pillow != PillowVersion::default() {
        later += &format!(", pillow: {pillow}");
    }
    if *resize != ResizeMode::default() {
        later += &format!(", resize: {resize}");
    }
    if precision != Precision::F32 {
        later += &format!(", precision: {precision}");
    }
    format!(
        "Preprocessing {{ size: {size}, mean: {mean:?}, std: {std:?}, decode: DecodeOptions {{ \
         apply_orientation: {apply_orientation}, scale_16_bit: {scale_16_bit}, \
         max_pixels: {max_pixels} }}, grey: {gray}{later} }}"
    )
}

impl FrozenFeatures {
    /// Opens the caches of a run in the directory `dir`, which is created if missing.
    /// `image_identity` describes what the image features depend on beside the tower; see
    /// [`image_identity`]. `rank` is that of this process, and the number of ranks.
    pub(crate) fn open(
        dir: &Path,
        rank: (usize, usize),
        towers: &CpuTowers,
        (image_identity, precision): (&str, Precision),
        cache_images: Option<CacheImages>,
    ) -> Result<Self, TrainingError> {
        clipn_base::files::create_directories(dir).map_err(|source| FeatureCacheError::Io {
            path: dir.to_owned(),
            source,
        })?;
        let dim = towers.image.embed_dim();
        let yes_params = towers.yes.params();
        let yes_tower = digest_of(&yes_params.named_tensors(TextSide::Yes));
        // A single run without cached images compares the image tower with nothing.
        let is_compared = cache_images.is_some() || rank.1 > 1;
        let image_tower = match is_compared {
            true => digest_of(&towers.image.named_tensors()),
            false => 0,
        };
        // Reading all weights makes them resident, also where all features are cached.
        release(&yes_params.buffers());
        release(&towers.image.params().buffers());
        let mut checksum = crc32fast::Hasher::new();
        checksum.update(&yes_tower.to_le_bytes());
        checksum.update(&image_tower.to_le_bytes());
        let identity = |tower: u128, more: &str| {
            let mut digest = Digest::default();
            digest.update(&tower.to_le_bytes());
            digest.update(more.as_bytes());
            digest.value()
        };
        let images = if let Some(CacheImages { outliers }) = cache_images {
            let identity = identity(image_tower, image_identity);
            let cache = FeatureFiles::open(dir, IMAGES, rank, dim, identity)?;
            let cache = RwLock::new(cache);
            Some(Arc::new(SharedImageCache { cache, outliers }))
        } else {
            None
        };
        let yes = identity(yes_tower, precision.as_str());
        let yes = FeatureFiles::open(dir, CAPTIONS, rank, dim, yes)?;
        Ok(Self {
            yes,
            images,
            uses_image: true,
            uses_yes: true,
            checksum: checksum.finalize(),
        })
    }

    /// Returns a checksum of the frozen towers.
    pub(crate) fn checksum(&self) -> u32 {
        self.checksum
    }

    /// Returns the lookup by which a loader skips images whose features are cached; `None` if image
    /// features are not cached.
    pub(crate) fn cached_images(&self) -> Option<Arc<dyn CachedImages>> {
        self.images
            .as_ref()
            .map(|images| Arc::clone(images) as Arc<dyn CachedImages>)
    }

    /// Returns normalized "yes" features of texts, `[N, D]`. If all are cached, releases the
    /// tower's mapped weights from memory.
    pub(crate) fn yes(
        &mut self,
        texts: &[String],
        towers: FrozenTowers<'_>,
    ) -> Result<Vec<f32>, TrainingError> {
        self.yes.check_unchanged()?;
        let keys: Vec<u128> = texts.iter().map(|text| Digest::hash_text(text)).collect();
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
            release(&towers.host.yes.params().buffers());
        }
        self.uses_yes = !missing.is_empty();
        Ok(gather(&self.yes, &keys))
    }

    /// Returns normalized features of a batch's images of side `size`, and of the outliers made from
    /// them, looked up by contents; `None` if image features are not cached. If all are cached, releases the
    /// tower's mapped weights from memory.
    pub(crate) fn images(
        &mut self,
        batch: &TrainBatch,
        size: usize,
        towers: FrozenTowers<'_>,
    ) -> Result<Option<CachedFeatures>, TrainingError> {
        let Some(images) = &self.images else {
            return Ok(None);
        };
        images.read().check_unchanged()?;
        let keys = &batch.feature_keys;
        let of_images: Vec<u128> = keys.iter().map(|keys| keys.image).collect();
        let mut is_complete =
            images.encode_missing(&of_images, batch, &batch.pixels, size, towers)?;
        let outliers = images.outliers.is_some();
        let of_outliers: Option<Vec<u128>> =
            outliers.then(|| keys.iter().map(|keys| keys.outlier).collect());
        if let Some(keys) = &of_outliers {
            is_complete &= images.encode_missing(keys, batch, &batch.outliers, size, towers)?;
        }
        if is_complete && self.uses_image {
            release(&towers.host.image.params().buffers());
        }
        self.uses_image = !is_complete;
        let cache = images.read();
        Ok(Some(CachedFeatures {
            images: gather(&cache, &of_images),
            outliers: of_outliers.map(|keys| gather(&cache, &keys)),
        }))
    }

    /// Number of cached features that were damaged when the caches were opened, and are computed
    /// again.
    pub(crate) fn damaged(&self) -> usize {
        let images = self.images.as_ref().map(|images| images.read().damaged());
        self.yes.damaged() + images.unwrap_or_default()
    }

    /// Why other runs may write to the caches too.
    pub(crate) fn lock_warning(&self) -> Option<String> {
        self.yes.lock_warning().map(str::to_owned)
    }

    /// Reads what other ranks have written since.
    pub(crate) fn refresh(&mut self) -> Result<(), TrainingError> {
        self.yes.refresh()?;
        if let Some(images) = &self.images {
            images.write().refresh()?;
        }
        Ok(())
    }

    /// Writes new features to the files, so that a resumed run finds the very same features.
    pub(crate) fn flush(&mut self) -> Result<(), TrainingError> {
        self.yes.flush()?;
        if let Some(images) = &self.images {
            images.write().flush()?;
        }
        Ok(())
    }
}

/// Digest of the values of a tower's tensors, in their order.
fn digest_of(tensors: &[NamedTensor<&[f32]>]) -> u128 {
    let digests = tensors.par_iter().map(|tensor| {
        let mut digest = Digest::default();
        digest.update(bytemuck::cast_slice(tensor.values));
        digest.value()
    });
    let digests: Vec<u128> = digests.collect();
    let mut digest = Digest::default();
    for of_tensor in digests {
        digest.update(&of_tensor.to_le_bytes());
    }
    digest.value()
}

/// Returns whether key `i` is not in the cache and does not repeat an earlier key.
fn is_new(cache: &FeatureFiles, keys: &[u128], i: usize) -> bool {
    cache.get(keys[i]).is_none() && !keys[..i].contains(&keys[i])
}

/// Returns the pixels of the images `missing`, `each` values an image. The first index of a pair is
/// the position among the images whose pixels the batch has.
fn missing_pixels<'a>(
    pixels: &'a [f32],
    missing: &[(usize, usize)],
    each: usize,
) -> Cow<'a, [f32]> {
    if missing.len() * each == pixels.len() {
        return Cow::Borrowed(pixels);
    }
    let pixels = |&(at, _): &(usize, usize)| &pixels[at * each..(at + 1) * each];
    missing.iter().flat_map(pixels).copied().collect()
}

fn flush_if_large(cache: &mut FeatureFiles) -> Result<(), FeatureCacheError> {
    if cache.pending_len() < MAX_PENDING {
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

fn gather(cache: &FeatureFiles, keys: &[u128]) -> Vec<f32> {
    keys.iter()
        .filter_map(|&key| cache.get(key))
        .flatten()
        .copied()
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_identity_of_caches_does_not_change() {
        let preprocessing = Preprocessing::clip(224);
        let expected = "Preprocessing { size: 224, mean: [0.48145467, 0.4578275, 0.40821072], \
                        std: [0.26862955, 0.2613026, 0.2757771], decode: DecodeOptions { \
                        apply_orientation: false, scale_16_bit: false, max_pixels: 178956970 }, \
                        grey: false }";
        assert_eq!(image_identity(&preprocessing, Precision::F32), expected);
        let decode = DecodeOptions::faithful()
            .with_bands([3, 2, 1])
            .with_sample_bits(12);
        for changed in [
            preprocessing.clone().with_pillow(PillowVersion::V13),
            preprocessing.clone().with_resize(ResizeMode::Bilinear),
            preprocessing.clone().with_decode(decode),
        ] {
            assert_ne!(image_identity(&changed, Precision::F32), expected);
        }
        assert_ne!(image_identity(&preprocessing, Precision::Bf16), expected);
    }
}
