//! Decodes and crops the image of a raw sample.
use std::fmt::Debug;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use clipn_base::error::chain_in_one_line;
use clipn_base::random::RandomSource;
use clipn_image::{
    Augmentation, ImageError, OutlierMix, Preprocessing, RgbImage, decode_bytes, decode_file,
};

use crate::training::random::{KeyedRandom, Purpose};
use crate::training::sample::{RawImage, RawSample, SampleId};
use crate::training::skipped::{SkipReason, SkippedSample};

/// Set of samples whose images need not be decoded, because their features are already known.
pub trait CachedImages: Debug + Send + Sync {
    /// Returns whether the image of the sample with this key need not be read. Called from several
    /// threads, ahead of the batches. Once a key is cached, it must stay so.
    fn is_cached(&self, key: &str) -> bool;
}

/// A sample ready for a batch. It has 8 bits per channel, a quarter of the tensor's memory.
#[derive(Debug)]
pub(super) struct Prepared {
    pub key: String,
    pub caption: String,
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
        if self
            .cached
            .as_ref()
            .is_some_and(|cached| cached.is_cached(&key))
        {
            return Ok(Prepared {
                key,
                caption,
                crop: None,
                outlier: None,
            });
        }
        let images = catch_unwind(AssertUnwindSafe(|| {
            let crop = self.crop(&image, id)?;
            let outlier = self.outlier(&crop, id)?;
            Ok::<_, ImageError>((crop, outlier))
        }));
        match images {
            Ok(Ok((crop, outlier))) => Ok(Prepared {
                key,
                caption,
                crop: Some(crop),
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

    fn crop(&self, image: &RawImage, id: SampleId) -> Result<RgbImage, ImageError> {
        let mut random = KeyedRandom::keyed(Purpose::Augment, &self.key_words(id));
        let image = match image {
            RawImage::Bytes(bytes) => decode_bytes(bytes, &self.preprocessing.decode)?,
            RawImage::File(path) => decode_file(path, &self.preprocessing.decode)?,
        };
        self.augmentation
            .apply(&image, &self.preprocessing, &mut || random.unit())
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

fn bad_image(key: String, detail: String, id: SampleId) -> Box<SkippedSample> {
    let skipped = SkippedSample::new(key, SkipReason::BadImage, detail);
    Box::new(skipped.repeated(id.is_repeated))
}
