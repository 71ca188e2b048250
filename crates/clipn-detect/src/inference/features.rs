use std::fmt;

use clipn_base::ordered::map_ordered;
use clipn_base::progress::{NoProgress, Progress};
use clipn_image::{ImageError, ImageSource, Preprocessing};
use clipn_model::{FeatureMatrix, ImageBatch, ImageTower, LocalFeatures, has_direction};
use rayon::ThreadPool;

use crate::classifier::{Classifier, ClassifierError, Logits};
use crate::inference::{FeatureCache, FeatureKey, InferenceError, ItemError, Parallelism, Work};

/// An image tower and its preprocessing: images in, features out. The parts are borrowed, so copies
/// are cheap. [`InferencePipeline`](crate::inference::InferencePipeline) adds a classifier.
///
/// ```
/// use clipn_detect::inference::{FeaturePipeline, InferenceError};
/// use clipn_engine::image_tower;
/// use clipn_image::Preprocessing;
/// use clipn_model::PretrainedWeights;
///
/// let weights = PretrainedWeights::mini()?.weights(None)?;
/// let tower = image_tower(&weights);
/// let preprocessing = Preprocessing::clip(weights.config().vision.image_size);
///
/// # let folder = tempfile::tempdir()?;
/// # let photos = [folder.path().join("missing.jpg")];
/// let mut rows = Vec::new();
/// FeaturePipeline::new(&*tower, &preprocessing).run(
///     photos,
///     // On a worker: the features [D] of the image, or its error.
///     |path, features| (path.clone(), features.map(<[f32]>::to_vec)),
///     // On this thread, in order.
///     |row| -> Result<(), InferenceError> {
///         rows.push(row);
///         Ok(())
///     },
/// )?;
/// assert!(rows[0].1.is_err());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy)]
pub struct FeaturePipeline<'a> {
    tower: &'a dyn ImageTower<f32>,
    preprocessing: &'a Preprocessing,
    parallelism: Parallelism,
    progress: &'a dyn Progress,
    cache: Option<&'a FeatureCache>,
    normalized: bool,
    patches: Patches,
}

/// Whether features of patches are computed, and what for, the most demanding last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Patches {
    None,
    /// For scores of patches.
    Scores,
    /// To show what "yes", "no" and the negatives say of each patch.
    Evidence,
}

impl fmt::Debug for FeaturePipeline<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FeaturePipeline")
            .field("embed_dim", &self.tower.embed_dim())
            .field("preprocessing", &self.preprocessing)
            .field("parallelism", &self.parallelism)
            .field("normalized", &self.normalized)
            .finish_non_exhaustive()
    }
}

/// Features of the images of a batch that could be read, in order, and the errors of the others.
pub(crate) struct EncodedBatch {
    pub(crate) features: BatchFeatures,
    /// One entry per image.
    pub(crate) errors: Vec<Option<ImageError>>,
}

/// Features of a batch, with those of patches if they were requested.
pub(crate) enum BatchFeatures {
    Global(FeatureMatrix<f32>),
    Local(LocalFeatures<f32>),
}

impl BatchFeatures {
    /// Features of one image; `None` if there are fewer.
    pub(crate) fn image(&self, index: usize) -> Option<Self> {
        match self {
            Self::Global(features) => {
                let row = features.rows().nth(index)?.to_vec();
                Some(Self::Global(FeatureMatrix::new(row, features.dim())))
            }
            Self::Local(features) => features.image(index).map(Self::Local),
        }
    }

    /// Computes the logits of a classifier.
    pub(crate) fn logits(
        &self,
        classifier: &Classifier,
        patches: Patches,
    ) -> Result<Logits, ClassifierError> {
        match self {
            Self::Global(features) => classifier.logits(features),
            Self::Local(features) => {
                classifier.local_logits(features, patches == Patches::Evidence)
            }
        }
    }

    /// Features of the images, `[N, D]`.
    pub(crate) fn global(&self) -> &FeatureMatrix<f32> {
        match self {
            Self::Global(features) => features,
            Self::Local(features) => features.global(),
        }
    }
}

/// Where the features of an image come from.
enum Origin {
    /// The cache.
    Cached(Vec<f32>),
    /// The tower; they are to be cached under the key.
    Tower(Option<FeatureKey>),
}

impl<'a> FeaturePipeline<'a> {
    /// Combines a tower and a preprocessing. Features are normalized to length 1.
    pub fn new(tower: &'a dyn ImageTower<f32>, preprocessing: &'a Preprocessing) -> Self {
        Self {
            tower,
            preprocessing,
            parallelism: Parallelism::for_tower(tower),
            progress: &NoProgress,
            cache: None,
            normalized: true,
            patches: Patches::None,
        }
    }

    /// Sets the number of workers and their batch size.
    #[must_use]
    pub fn with_parallelism(self, parallelism: Parallelism) -> Self {
        Self {
            parallelism,
            ..self
        }
    }

    /// Sets the observer of [`run`](Self::run), which can also cancel it. It begins and ends no stage;
    /// a unit is an image.
    #[must_use]
    pub fn with_progress(self, progress: &'a dyn Progress) -> Self {
        Self { progress, ..self }
    }

    /// Sets a cache of features of this tower and preprocessing.
    #[must_use]
    pub fn with_cache(self, cache: impl Into<Option<&'a FeatureCache>>) -> Self {
        Self {
            cache: cache.into(),
            ..self
        }
    }

    /// Sets whether features are normalized to length 1 [default: true].
    #[must_use]
    pub fn with_normalization(self, normalized: bool) -> Self {
        Self { normalized, ..self }
    }

    /// Sets whether batches have the features of patches too, which a cache does not hold: with them, all
    /// images are encoded.
    pub(crate) fn with_patches(self, patches: Patches) -> Self {
        Self { patches, ..self }
    }

    pub(crate) fn patches(&self) -> Patches {
        self.patches
    }

    /// Returns the image tower.
    pub(crate) fn tower(&self) -> &'a dyn ImageTower<f32> {
        self.tower
    }

    pub(crate) fn progress(&self) -> &'a dyn Progress {
        self.progress
    }

    /// Computes the features of preprocessed images, `[N, 3, S, S]` → `[N, D]`.
    ///
    /// # Errors
    /// [`InferenceError::Model`] if `pixels` are not a whole number of images, or if the tower rejects
    /// them.
    pub fn features(&self, pixels: &[f32]) -> Result<FeatureMatrix<f32>, InferenceError> {
        let mut features = self.encode_pixels(pixels)?;
        if self.normalized {
            features.normalize();
        }
        Ok(features)
    }

    /// Computes the normalized features of preprocessed images, and of patches if they are requested.
    pub(crate) fn batch_features(&self, pixels: &[f32]) -> Result<BatchFeatures, InferenceError> {
        Ok(self.normalize(self.compute(pixels)?))
    }

    /// Runs a stream of images. `inspect` gets each image's features `[D]`, finite and not zero, or why
    /// there are none, on a worker; `sink` gets the results of `inspect` in order, on the calling
    /// thread. Memory does not grow with the number of images.
    ///
    /// # Errors
    /// The first error of `sink`, a tower that rejects its input, or cancellation. An image that cannot
    /// be read, or whose features are not finite, is not an error of the run.
    ///
    /// # Panics
    /// If `images`, reading one of them, the tower or `inspect` panics.
    pub fn run<P: ImageSource, R: Send, E: From<InferenceError>>(
        &self,
        images: impl IntoIterator<Item = P, IntoIter: Send>,
        inspect: impl Fn(&P, Result<&[f32], ItemError>) -> R + Sync,
        sink: impl FnMut(R) -> Result<(), E>,
    ) -> Result<(), E> {
        self.run_batches(images, |batch| self.inspect_batch(batch, &inspect), sink)
    }

    /// Runs batches of a stream of images on the workers: `run` gets each batch, and returns a result
    /// for each of its images, or `None` if the work was cancelled.
    pub(crate) fn run_batches<P: ImageSource, R: Send, E: From<InferenceError>>(
        &self,
        images: impl IntoIterator<Item = P, IntoIter: Send>,
        run: impl Fn(&mut [P]) -> Option<Result<Vec<R>, InferenceError>> + Sync,
        mut sink: impl FnMut(R) -> Result<(), E>,
    ) -> Result<(), E> {
        let (images, limits, workers) =
            Work::plan(images.into_iter().fuse(), self.parallelism)?.into_parts();
        let mut done = 0;
        map_ordered(
            images,
            limits,
            workers,
            ImageSource::bytes_in_memory,
            |worker: &mut ThreadPool, mut batch: Vec<P>| worker.install(|| run(&mut batch)),
            |rows: Option<Result<Vec<R>, InferenceError>>| {
                let Some(rows) = rows else {
                    return Err(InferenceError::Cancelled { done }.into());
                };
                for row in rows? {
                    sink(row)?;
                    done += 1;
                }
                Ok(())
            },
        )
    }

    /// Runs one batch; `None` if the work was cancelled.
    fn inspect_batch<P: ImageSource, R>(
        &self,
        images: &mut [P],
        inspect: &impl Fn(&P, Result<&[f32], ItemError>) -> R,
    ) -> Option<Result<Vec<R>, InferenceError>> {
        let batch = match self.encode(images)? {
            Ok(batch) => batch,
            Err(error) => return Some(Err(error)),
        };
        let mut rows = batch.features.global().rows();
        let results = images.iter().zip(batch.errors).map(|(image, error)| {
            let row = match error {
                Some(error) => Err(error.into()),
                None => match rows.next().filter(|row| has_direction(row)) {
                    Some(row) => Ok(row),
                    None => Err(ItemError::InvalidFeatures),
                },
            };
            inspect(image, row)
        });
        let results = results.collect();
        self.progress.advance(images.len() as u64);
        Some(Ok(results))
    }

    /// Reads and encodes one batch; `None` if the work was cancelled.
    pub(crate) fn encode<P: ImageSource>(
        &self,
        images: &mut [P],
    ) -> Option<Result<EncodedBatch, InferenceError>> {
        let length = self.preprocessing.tensor_len();
        let mut pixels = vec![0.0; images.len() * length];
        let mut read = 0;
        let mut errors = Vec::with_capacity(images.len());
        let mut origins = Vec::with_capacity(images.len());
        for image in &mut *images {
            if self.progress.is_cancelled() {
                return None;
            }
            let key = self.cache.and_then(|_| FeatureKey::of_image(image));
            if let Some(row) = self.cached(key.as_ref()) {
                origins.push(Origin::Cached(row));
                errors.push(None);
                continue;
            }
            let out = &mut pixels[read * length..][..length];
            let error = image.read_tensor(self.preprocessing, out).err();
            if error.is_none() {
                read += 1;
                origins.push(Origin::Tower(key));
            }
            errors.push(error);
        }
        let pixels = &pixels[..read * length];
        let features = self.compute(pixels).map(|computed| {
            self.cache_computed(&origins, computed.global());
            self.normalize(match computed {
                BatchFeatures::Global(rows) => BatchFeatures::Global(self.joined(origins, rows)),
                // All images were encoded.
                local => local,
            })
        });
        Some(features.map(|features| EncodedBatch { features, errors }))
    }

    /// Caches the rows that the tower computed.
    fn cache_computed(&self, origins: &[Origin], computed: &FeatureMatrix<f32>) {
        let Some(cache) = self.cache else { return };
        let keys = origins.iter().filter_map(|origin| match origin {
            Origin::Tower(key) => Some(key),
            Origin::Cached(_) => None,
        });
        for (key, row) in keys.zip(computed.rows()) {
            if let Some(key) = key.as_ref().filter(|_| has_direction(row)) {
                cache.insert(key, row);
            }
        }
    }

    /// Joins cached and computed rows in the order of the images.
    fn joined(&self, origins: Vec<Origin>, computed: FeatureMatrix<f32>) -> FeatureMatrix<f32> {
        if self.cache.is_none() {
            return computed;
        }
        let dim = self.tower.embed_dim();
        let mut values = Vec::with_capacity(origins.len() * dim);
        let mut rows = computed.rows();
        for origin in origins {
            match origin {
                Origin::Cached(row) => values.extend(row),
                Origin::Tower(_) => values.extend_from_slice(rows.next().unwrap_or_default()),
            }
        }
        FeatureMatrix::new(values, dim)
    }

    fn normalize(&self, mut features: BatchFeatures) -> BatchFeatures {
        match &mut features {
            _ if !self.normalized => {}
            BatchFeatures::Global(features) => features.normalize(),
            BatchFeatures::Local(features) => features.normalize(),
        }
        features
    }

    fn cached(&self, key: Option<&FeatureKey>) -> Option<Vec<f32>> {
        if self.patches != Patches::None {
            return None;
        }
        self.cache?.get(key?)
    }

    /// Computes features that are not normalized, and those of patches if they are requested.
    fn compute(&self, pixels: &[f32]) -> Result<BatchFeatures, InferenceError> {
        if self.patches == Patches::None {
            return Ok(BatchFeatures::Global(self.encode_pixels(pixels)?));
        }
        let size = self.preprocessing.size;
        let images = ImageBatch::new(pixels, size, size)?;
        Ok(BatchFeatures::Local(self.tower.encode_local(images)?))
    }

    /// Computes features that are not normalized.
    fn encode_pixels(&self, pixels: &[f32]) -> Result<FeatureMatrix<f32>, InferenceError> {
        let size = self.preprocessing.size;
        Ok(self.tower.encode(ImageBatch::new(pixels, size, size)?)?)
    }
}
