use std::num::NonZero;

use rayon::{ThreadPool, ThreadPoolBuilder};

use super::ordered::{Chunk, map_in_order};
use super::{EvaluationError, Picture};
use crate::classifier::Classifier;
use crate::image::Preprocessing;
use crate::model::{ImageTower, Images};
use crate::progress::Progress;
use crate::scores::LogitsRow;

/// Distribution of the work over threads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parallelism {
    /// Number of images that a worker decodes and encodes at a time.
    pub batch_size: usize,
    /// Number of workers. Each decodes its images and runs the tower on them, so that one decodes
    /// while another computes.
    pub workers: usize,
}

impl Default for Parallelism {
    fn default() -> Self {
        Self {
            batch_size: 16,
            workers: std::thread::available_parallelism().map_or(1, NonZero::get),
        }
    }
}

/// Maximum number of bytes held by images that are drawn but not yet read, over all workers.
const MAX_HELD_BYTES: usize = 256 << 20;

/// Batch inference: an image tower, its preprocessing and a classifier turn a stream of images into
/// logits.
pub struct Recogniser<'a> {
    tower: &'a dyn ImageTower<f32>,
    classifier: &'a Classifier,
    preprocessing: Preprocessing,
}

impl<'a> Recogniser<'a> {
    /// Creates a pipeline of a tower, a classifier of the same model and a preprocessing.
    ///
    /// # Errors
    /// [`ClassifierError::FeatureDimension`](crate::classifier::ClassifierError::FeatureDimension)
    /// if tower and classifier have different dimensions.
    pub fn new(
        tower: &'a dyn ImageTower<f32>,
        classifier: &'a Classifier,
        preprocessing: Preprocessing,
    ) -> Result<Self, EvaluationError> {
        let (expected, found) = (classifier.dim(), tower.embed_dim());
        if expected != found {
            return Err(
                crate::classifier::ClassifierError::FeatureDimension { expected, found }.into(),
            );
        }
        Ok(Self {
            tower,
            classifier,
            preprocessing,
        })
    }

    /// Returns the classifier.
    pub fn classifier(&self) -> &'a Classifier {
        self.classifier
    }

    /// Scores a stream of images. `map_row` gets each image's logits, or its error, on a worker
    /// thread; `sink` gets the values that `map_row` returns, in order, on the calling thread.
    ///
    /// Images are drawn from the stream as needed and dropped after `map_row`, so memory does not
    /// grow with their number.
    ///
    /// # Errors
    /// Errors of `sink`, [`EvaluationError::Model`] if the tower rejects its input, and
    /// [`EvaluationError::Cancelled`]. An unreadable image is not an error.
    pub fn for_each<P: Picture, R: Send, E: From<EvaluationError>>(
        &self,
        images: impl IntoIterator<Item = P, IntoIter: Send>,
        parallelism: Parallelism,
        progress: &dyn Progress,
        map_row: impl Fn(&P, Result<LogitsRow<'_, f32>, P::Error>) -> R + Sync,
        mut sink: impl FnMut(R) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut images = images.into_iter().fuse();
        // Draw images until it is known whether there are enough batches for all workers. They hold
        // no more memory than the batches would.
        let enough = parallelism
            .batch_size
            .max(1)
            .saturating_mul(parallelism.workers.max(1));
        let mut first = Vec::new();
        let mut held = 0;
        while first.len() < enough && held < MAX_HELD_BYTES {
            let Some(image) = images.next() else {
                break;
            };
            held += image.held();
            first.push(image);
        }
        let more = first.len() == enough || held >= MAX_HELD_BYTES;
        let (batch, workers) = plan_workers(if more { enough } else { first.len() }, parallelism)?;
        let chunk = Chunk {
            items: batch,
            bytes: MAX_HELD_BYTES / workers.len().max(1),
        };
        let mut done = 0;
        let work = |worker: &mut ThreadPool, mut images: Vec<P>| {
            worker.install(|| self.batch(&mut images, progress, &map_row))
        };
        let pass_rows = |rows: Option<Result<Vec<R>, EvaluationError>>| {
            let Some(rows) = rows else {
                return Err(EvaluationError::Cancelled { done, total: None }.into());
            };
            for row in rows? {
                sink(row)?;
                done += 1;
            }
            Ok(())
        };
        map_in_order(
            first.into_iter().chain(images),
            chunk,
            workers,
            Picture::held,
            work,
            pass_rows,
        )
    }

    /// Scores one batch; returns `None` if the work was canceled.
    fn batch<P: Picture, R>(
        &self,
        images: &mut [P],
        progress: &dyn Progress,
        map_row: &impl Fn(&P, Result<LogitsRow<'_, f32>, P::Error>) -> R,
    ) -> Option<Result<Vec<R>, EvaluationError>> {
        let length = self.preprocessing.tensor_len();
        let mut pixels = vec![0.0; images.len() * length];
        let mut read = 0;
        let mut errors = Vec::with_capacity(images.len());
        for image in &mut *images {
            if progress.is_cancelled() {
                return None;
            }
            let out = &mut pixels[read * length..][..length];
            let error = image.pixels_into(&self.preprocessing, out).err();
            read += usize::from(error.is_none());
            errors.push(error);
        }
        let size = self.preprocessing.size;
        let logits = Images::new(&pixels[..read * length], size, size)
            .and_then(|images| self.tower.encode(images))
            .map_err(EvaluationError::from)
            .and_then(|mut features| {
                features.normalise();
                Ok(self.classifier.logits(&features)?)
            });
        let logits = match logits {
            Ok(logits) => logits,
            Err(error) => return Some(Err(error)),
        };
        let mut rows = logits.rows();
        let mut results = Vec::with_capacity(images.len());
        for (image, error) in images.iter().zip(errors) {
            match error {
                Some(error) => results.push(map_row(image, Err(error))),
                None => results.extend(rows.next().map(|row| map_row(image, Ok(row)))),
            }
        }
        progress.advance(images.len() as u64);
        Some(Ok(results))
    }
}

/// Returns the batch size, and the thread pool of each worker's tower: one thread if there are
/// enough batches for all workers, and more otherwise.
fn plan_workers(
    images: usize,
    parallelism: Parallelism,
) -> Result<(usize, Vec<ThreadPool>), EvaluationError> {
    let requested = parallelism.workers.max(1);
    let batch = parallelism
        .batch_size
        .clamp(1, images.div_ceil(requested).max(1));
    let workers = requested.min(images.div_ceil(batch)).max(1);
    let pool = |_| {
        ThreadPoolBuilder::new()
            .num_threads((requested / workers).max(1))
            .build()
    };
    let pools = (0..workers).map(pool).collect::<Result<_, _>>();
    let failed = |e: rayon::ThreadPoolBuildError| EvaluationError::Workers {
        workers,
        reason: e.to_string(),
    };
    Ok((batch, pools.map_err(failed)?))
}
