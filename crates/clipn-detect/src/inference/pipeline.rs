use std::fmt;

use clipn_base::progress::Progress;
use clipn_image::{ImageSource, Preprocessing};
use clipn_model::{FeatureMatrix, ImageTower, ModelError, has_direction};
use clipn_ood::scores::{LogitsRow, ScoreInputs};

use crate::classifier::{Classifier, ClassifierError, Logits};
use crate::inference::{
    BatchFeatures, FeatureCache, FeaturePipeline, InferenceError, ItemError, Parallelism, Patches,
};

/// What a pipeline computes of an image.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct ImageRows<'a> {
    /// Normalized feature, `[D]`.
    pub feature: &'a [f32],
    /// Logits, one row from every classifier.
    pub logits: &'a [LogitsRow<'a, f32>],
}

/// An image tower, its preprocessing and a classifier: images in, logits out. The parts are borrowed,
/// so copies are cheap. The [module page](crate::inference) has an example.
#[derive(Clone, Copy)]
pub struct InferencePipeline<'a> {
    encoder: FeaturePipeline<'a>,
    /// At least one.
    classifiers: &'a [Classifier],
}

impl fmt::Debug for InferencePipeline<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InferencePipeline")
            .field("classes", &self.classifier().len())
            .field("classifiers", &self.classifiers.len())
            .field("encoder", &self.encoder)
            .finish()
    }
}

impl<'a> InferencePipeline<'a> {
    /// Combines a tower, a classifier of the same model and a preprocessing.
    ///
    /// # Errors
    /// [`ClassifierError::FeatureDimension`] if the tower and the classifier have different dimensions.
    pub fn new(
        tower: &'a dyn ImageTower<f32>,
        classifier: &'a Classifier,
        preprocessing: &'a Preprocessing,
    ) -> Result<Self, ClassifierError> {
        Self::with_classifiers(tower, std::slice::from_ref(classifier), preprocessing)
    }

    /// Combines a tower, several classifiers of its features, such as those of several "no" towers, and
    /// a preprocessing. [`run_each`](Self::run_each) encodes every image once for all of them.
    ///
    /// # Errors
    /// [`ClassifierError::NoClasses`] without classifiers, [`ClassifierError::FeatureDimension`] if the
    /// tower and a classifier have different dimensions.
    pub fn with_classifiers(
        tower: &'a dyn ImageTower<f32>,
        classifiers: &'a [Classifier],
        preprocessing: &'a Preprocessing,
    ) -> Result<Self, ClassifierError> {
        if classifiers.is_empty() {
            return Err(ClassifierError::NoClasses);
        }
        let found = tower.embed_dim();
        if let Some(other) = classifiers.iter().find(|other| other.dim() != found) {
            let expected = other.dim();
            return Err(ClassifierError::FeatureDimension { expected, found });
        }
        Ok(Self {
            encoder: FeaturePipeline::new(tower, preprocessing),
            classifiers,
        })
    }

    /// Sets the number of workers and their batch size.
    #[must_use]
    pub fn with_parallelism(self, parallelism: Parallelism) -> Self {
        Self {
            encoder: self.encoder.with_parallelism(parallelism),
            ..self
        }
    }

    /// Sets the observer of [`run`](Self::run), which can also cancel it. It begins and ends no stage;
    /// a unit is an image.
    #[must_use]
    pub fn with_progress(self, progress: &'a dyn Progress) -> Self {
        Self {
            encoder: self.encoder.with_progress(progress),
            ..self
        }
    }

    /// Sets a cache of features of this tower and preprocessing, from which [`run`](Self::run) takes
    /// the features of images that it has, and to which it adds those of the others.
    #[must_use]
    pub fn with_cache(self, cache: impl Into<Option<&'a FeatureCache>>) -> Self {
        Self {
            encoder: self.encoder.with_cache(cache),
            ..self
        }
    }

    /// Sets whether rows have the "yes" logits of patches of the image ([`LogitsRow::local`]), which
    /// scores such as GL-MCM need. It takes up to 15 % more time, and images are encoded although a cache
    /// has their features.
    ///
    /// # Errors
    /// [`ModelError::NoLocalFeatures`] if the tower does not compute them.
    pub fn with_local(self, local: bool) -> Result<Self, ModelError> {
        self.with_patches(if local {
            Patches::Scores
        } else {
            Patches::None
        })
    }

    /// Adds the logits of patches of the image by "yes", "no" and the negatives, which show where a decision
    /// comes from.
    ///
    /// # Errors
    /// Same as [`with_local`](Self::with_local).
    pub fn with_evidence(self) -> Result<Self, ModelError> {
        self.with_patches(Patches::Evidence)
    }

    pub(crate) fn with_patches(self, patches: Patches) -> Result<Self, ModelError> {
        if patches != Patches::None && !self.encoder.tower().has_local_features() {
            return Err(ModelError::NoLocalFeatures);
        }
        Ok(Self {
            encoder: self.encoder.with_patches(patches),
            ..self
        })
    }

    /// Describes what scores can be computed of the images by the (first) classifier: those of its logits,
    /// and of patches if the tower computes them.
    pub fn score_inputs(&self) -> ScoreInputs {
        let inputs = self.classifier().score_inputs();
        inputs.with_local(self.encoder.tower().has_local_features())
    }

    /// Returns the classifier, or the first of several.
    pub fn classifier(&self) -> &'a Classifier {
        &self.classifiers[0]
    }

    /// Returns all classifiers.
    pub fn classifiers(&self) -> &'a [Classifier] {
        self.classifiers
    }

    /// Computes the normalized features of preprocessed images, `[N, 3, S, S]` → `[N, D]`.
    ///
    /// # Errors
    /// [`InferenceError::Model`] if `pixels` are not a whole number of images, or if the tower rejects
    /// them.
    pub fn features(&self, pixels: &[f32]) -> Result<FeatureMatrix<f32>, InferenceError> {
        self.encoder.features(pixels)
    }

    /// Computes the logits of preprocessed images by the (first) classifier, `[N, 3, S, S]` → `[N, K]`.
    ///
    /// # Errors
    /// Same as [`features`](Self::features).
    pub fn logits(&self, pixels: &[f32]) -> Result<Logits, InferenceError> {
        let features = self.batch_features(pixels)?;
        Ok(features.logits(self.classifier(), self.encoder.patches())?)
    }

    /// Computes the normalized features of preprocessed images, and of patches if rows have them.
    pub(crate) fn batch_features(&self, pixels: &[f32]) -> Result<BatchFeatures, InferenceError> {
        self.encoder.batch_features(pixels)
    }

    /// Runs a stream of images. `inspect` gets each image's finite logits, or why there are none, on a
    /// worker; `sink` gets the results of `inspect` in order, on the calling thread. Images are drawn
    /// as they are needed and dropped after inspection, so memory does not grow with their number.
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
        inspect: impl Fn(&P, Result<LogitsRow<'_, f32>, ItemError>) -> R + Sync,
        sink: impl FnMut(R) -> Result<(), E>,
    ) -> Result<(), E> {
        self.run_each(images, first_row(&inspect), sink)
    }

    /// Same as [`run`](Self::run), but `inspect` gets one row of logits from every classifier, and the
    /// feature of the image.
    ///
    /// # Errors
    /// Same as [`run`](Self::run).
    ///
    /// # Panics
    /// Same as [`run`](Self::run).
    pub fn run_each<P: ImageSource, R: Send, E: From<InferenceError>>(
        &self,
        images: impl IntoIterator<Item = P, IntoIter: Send>,
        inspect: impl Fn(&P, Result<ImageRows<'_>, ItemError>) -> R + Sync,
        sink: impl FnMut(R) -> Result<(), E>,
    ) -> Result<(), E> {
        self.encoder
            .run_batches(images, |batch| self.batch(batch, &inspect), sink)
    }

    /// Runs one batch; `None` if the work was cancelled. `inspect` gets a row from every classifier.
    pub(crate) fn batch<P: ImageSource, R>(
        &self,
        images: &mut [P],
        inspect: &impl Fn(&P, Result<ImageRows<'_>, ItemError>) -> R,
    ) -> Option<Result<Vec<R>, InferenceError>> {
        let batch = match self.encoder.encode(images)? {
            Ok(batch) => batch,
            Err(error) => return Some(Err(error)),
        };
        let logits = self
            .classifiers
            .iter()
            .map(|each| batch.features.logits(each, self.encoder.patches()));
        let logits: Vec<Logits> = match logits.collect::<Result<_, _>>() {
            Ok(logits) => logits,
            Err(error) => return Some(Err(error.into())),
        };
        let mut features = batch.features.global().rows();
        let mut rows: Vec<_> = logits.iter().map(Logits::rows).collect();
        let mut results = Vec::with_capacity(images.len());
        for (image, error) in images.iter().zip(batch.errors) {
            if let Some(error) = error {
                results.push(inspect(image, Err(error.into())));
                continue;
            }
            let feature = features.next().filter(|feature| has_direction(feature));
            let logits: Vec<_> = rows.iter_mut().filter_map(Iterator::next).collect();
            let is_finite = logits.iter().all(LogitsRow::is_finite);
            results.push(match feature.filter(|_| is_finite) {
                Some(feature) => {
                    let logits = &logits;
                    inspect(image, Ok(ImageRows { feature, logits }))
                }
                None => inspect(image, Err(ItemError::InvalidFeatures)),
            });
        }
        self.encoder.progress().advance(images.len() as u64);
        Some(Ok(results))
    }
}

/// Adapts a closure for the row of one classifier to rows of several, and passes the first.
pub(crate) fn first_row<P, R>(
    inspect: &impl Fn(&P, Result<LogitsRow<'_, f32>, ItemError>) -> R,
) -> impl Fn(&P, Result<ImageRows<'_>, ItemError>) -> R {
    move |image, rows| {
        let first = rows.map(|rows| match rows.logits.first() {
            Some(first) => *first,
            None => LogitsRow::new(&[], &[]),
        });
        inspect(image, first)
    }
}
