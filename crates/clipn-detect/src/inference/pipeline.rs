use clipn_base::ordered::map_in_order;
use clipn_base::progress::Progress;
use clipn_image::{ImageError, Preprocessing, ImageSource};
use clipn_model::{ImageTower, Images};
use clipn_ood::scores::LogitsRow;
use rayon::ThreadPool;

use super::{InferenceError, Parallelism, Work};
use crate::classifier::{Classifier, ClassifierError, Logits};

/// An image tower, its preprocessing and a classifier: images in, logits out. A cheap view; the parts
/// are borrowed.
pub struct InferencePipeline<'a> {
    tower: &'a dyn ImageTower<f32>,
    classifier: &'a Classifier,
    preprocessing: &'a Preprocessing,
}

impl std::fmt::Debug for InferencePipeline<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("InferencePipeline")
            .field("classes", &self.classifier.len())
            .field("preprocessing", &self.preprocessing)
            .finish_non_exhaustive()
    }
}

impl<'a> InferencePipeline<'a> {
    /// Joins a tower, a classifier of the same model and a preprocessing.
    ///
    /// # Errors
    /// [`ClassifierError::FeatureDimension`] if the tower and the classifier have different dimensions.
    pub fn new(
        tower: &'a dyn ImageTower<f32>,
        classifier: &'a Classifier,
        preprocessing: &'a Preprocessing,
    ) -> Result<Self, ClassifierError> {
        let (expected, found) = (classifier.dim(), tower.embed_dim());
        if expected != found {
            return Err(ClassifierError::FeatureDimension { expected, found });
        }
        Ok(Self {
            tower,
            classifier,
            preprocessing,
        })
    }

    /// The classifier.
    #[must_use]
    pub fn classifier(&self) -> &'a Classifier {
        self.classifier
    }

    /// Computes the logits of images that are decoded already, `[N, 3, S, S]` → `[N, K]`.
    ///
    /// # Errors
    /// [`InferenceError::Model`] if the tower rejects the size.
    pub fn logits(&self, pixels: &[f32]) -> Result<Logits, InferenceError> {
        let size = self.preprocessing.size;
        let mut features = self.tower.encode(Images::new(pixels, size, size)?)?;
        features.normalize();
        Ok(self.classifier.logits(&features)?)
    }

    /// Runs a stream of images. `inspect` gets each image's logits, or why it could not be read, on a
    /// worker; `sink` gets the results of `inspect` in order, on the calling thread. Images are drawn
    /// as they are needed and dropped after inspection, so memory does not grow with their number.
    ///
    /// # Errors
    /// The first error of `sink`, a tower that rejects its input, or cancellation. An unreadable image
    /// is not an error.
    pub fn for_each<P: ImageSource, R: Send, E: From<InferenceError>>(
        &self,
        images: impl IntoIterator<Item = P, IntoIter: Send>,
        parallelism: Parallelism,
        progress: &dyn Progress,
        inspect: impl Fn(&P, Result<LogitsRow<'_, f32>, ImageError>) -> R + Sync,
        mut sink: impl FnMut(R) -> Result<(), E>,
    ) -> Result<(), E> {
        let (images, chunk, workers) =
            Work::plan(images.into_iter().fuse(), parallelism)?.into_parts();
        let mut done = 0;
        map_in_order(
            images,
            chunk,
            workers,
            ImageSource::bytes_in_memory,
            |worker: &mut ThreadPool, mut batch: Vec<P>| {
                worker.install(|| self.batch(&mut batch, progress, &inspect))
            },
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
    pub(crate) fn batch<P: ImageSource, R>(
        &self,
        images: &mut [P],
        progress: &dyn Progress,
        inspect: &impl Fn(&P, Result<LogitsRow<'_, f32>, ImageError>) -> R,
    ) -> Option<Result<Vec<R>, InferenceError>> {
        let length = self.preprocessing.tensor_len();
        let mut pixels = vec![0.0; images.len() * length];
        let mut read = 0;
        let mut errors = Vec::with_capacity(images.len());
        for image in &mut *images {
            if progress.is_cancelled() {
                return None;
            }
            let out = &mut pixels[read * length..][..length];
            let error = image.read_tensor(self.preprocessing, out).err();
            read += usize::from(error.is_none());
            errors.push(error);
        }
        let logits = match self.logits(&pixels[..read * length]) {
            Ok(logits) => logits,
            Err(error) => return Some(Err(error)),
        };
        let mut rows = logits.rows();
        let mut results = Vec::with_capacity(images.len());
        for (image, error) in images.iter().zip(errors) {
            match error {
                Some(error) => results.push(inspect(image, Err(error))),
                None => results.extend(rows.next().map(|row| inspect(image, Ok(row)))),
            }
        }
        progress.advance(images.len() as u64);
        Some(Ok(results))
    }
}
