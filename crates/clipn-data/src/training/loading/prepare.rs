//! Decodes and crops the image of a raw sample.
use std::borrow::Cow;
use std::fmt::Debug;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use clipn_base::error::chain_in_one_line;
use clipn_base::random::RandomSource;
use clipn_image::{
    Augmentation, ImageError, OutlierMix, Preprocessing, RgbImage, decode_bytes, decode_file,
    read_file,
};

use crate::training::random::{KeyedRandom, Purpose};
use crate::training::sample::{RawImage, RawSample, SampleId};
use crate::training::skipped::{SkipReason, SkippedSample};

/// Features of images that are known, so that their images need not be decoded.
pub trait CachedImages: Debug + Send + Sync {
    /// Looks up the features of an image file with these contents. `sample` is the index of its shard, 0 for a table,
    /// and its index in the shard or table, which its outlier depends on. Called from several threads, ahead of the
    /// batches. Once features are cached, they must stay so.
    fn look_up(&self, contents: &[u8], sample: [u64; 2]) -> CachedImage;
}

/// What [`CachedImages`] knows of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CachedImage {
    /// Keys of the features.
    pub keys: FeatureKeys,
    /// Whether all features that are needed are known.
    pub is_cached: bool,
}

/// Keys of cached features. Equal keys are those of equal pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct FeatureKeys {
    /// Key of the image.
    pub image: u128,
    /// Key of the outlier made from it.
    pub outlier: u128,
}

/// A sample ready for a batch. It has 8 bits per channel, a quarter of the tensor's memory.
#[derive(Debug)]
pub(super) struct Prepared {
    pub key: String,
    pub caption: String,
    /// Keys of cached features; `None` if features are not cached.
    pub feature_keys: Option<FeatureKeys>,
    /// Cropped image, `[S, S, 3]`; `None` if the image is cached.
    pub crop: Option<RgbImage>,
    /// Outlier made from the crop, `[S, S, 3]`; `None` if the image is cached or outliers are off.
    pub outlier: Option<RgbImage>,
}

/// Decoder and augmenter of the samples of an epoch.
#[derive(Debug, Clone)]
pub(super) struct SamplePreparer {
    pub preprocessing: Preprocessing,
    pub augmentation: Augmentation,
    pub outliers: Option<OutlierMix>,
    pub seed: u64,
    pub epoch: u64,
    pub cached: Option<Arc<dyn CachedImages>>,
}

impl SamplePreparer {
    /// Prepares a sample. The crop depends on the sample, the seed and the epoch, not on the
    /// thread.
    pub(super) fn prepare(&self, sample: RawSample) -> Result<Prepared, Box<SkippedSample>> {
        let RawSample {
            key,
            image,
            caption,
            id,
        } = sample;
        let prepared = catch_unwind(AssertUnwindSafe(|| {
            let Some(cached) = &self.cached else {
                let (crop, outlier) = self.crops(&decode(&image, &self.preprocessing)?, id)?;
                return Ok::<_, ImageError>((None, Some(crop), outlier));
            };
            let contents = contents(&image, &self.preprocessing)?;
            let found = cached.look_up(&contents, [id.shard, id.index]);
            if found.is_cached {
                return Ok((Some(found.keys), None, None));
            }
            let decoded = decode_bytes(&contents, &self.preprocessing.decode);
            let decoded = decoded.map_err(|error| match &image {
                RawImage::Bytes(_) => error,
                RawImage::File(path) => error.with_path(path),
            })?;
            let (crop, outlier) = self.crops(&decoded, id)?;
            Ok((Some(found.keys), Some(crop), outlier))
        }));
        match prepared {
            Ok(Ok((feature_keys, crop, outlier))) => Ok(Prepared {
                key,
                caption,
                feature_keys,
                crop,
                outlier,
            }),
            Ok(Err(error)) => Err(bad_image(key, chain_in_one_line(&error), id)),
            Err(_) => Err(bad_image(
                key,
                "internal error while decoding or cropping".to_string(),
                id,
            )),
        }
    }

    /// Crops an image, and makes its outlier.
    fn crops(
        &self,
        image: &RgbImage,
        id: SampleId,
    ) -> Result<(RgbImage, Option<RgbImage>), ImageError> {
        let mut random = KeyedRandom::keyed(Purpose::Augment, &self.key_words(id));
        let draw = &mut || random.unit();
        let crop = self.augmentation.apply(image, &self.preprocessing, draw)?;
        let outlier = self.outlier(&crop, id)?;
        Ok((crop, outlier))
    }

    /// The outlier of a crop. If features are cached, it is the same in every epoch and with every seed,
    /// as the crop is.
    fn outlier(&self, crop: &RgbImage, id: SampleId) -> Result<Option<RgbImage>, ImageError> {
        let Some(mix) = self.outliers else {
            return Ok(None);
        };
        let mut random = if self.cached.is_some() {
            KeyedRandom::keyed(Purpose::Outlier, &[id.shard, id.index])
        } else {
            KeyedRandom::keyed(Purpose::Outlier, &self.key_words(id))
        };
        let kind = mix.draw(&mut random);
        kind.apply(crop, &mut random).map(Some)
    }

    fn key_words(&self, id: SampleId) -> [u64; 5] {
        [self.seed, self.epoch, id.shard, id.index, id.visit]
    }
}

fn decode(image: &RawImage, preprocessing: &Preprocessing) -> Result<RgbImage, ImageError> {
    match image {
        RawImage::Bytes(bytes) => decode_bytes(bytes, &preprocessing.decode),
        RawImage::File(path) => decode_file(path, &preprocessing.decode),
    }
}

/// Contents of the image file.
fn contents<'a>(
    image: &'a RawImage,
    preprocessing: &Preprocessing,
) -> Result<Cow<'a, [u8]>, ImageError> {
    Ok(match image {
        RawImage::Bytes(bytes) => bytes.into(),
        RawImage::File(path) => read_file(path, &preprocessing.decode)?.into(),
    })
}

fn bad_image(key: String, detail: String, id: SampleId) -> Box<SkippedSample> {
    let skipped = SkippedSample::new(key, SkipReason::BadImage, detail);
    Box::new(skipped.repeated(id.is_repeated))
}
