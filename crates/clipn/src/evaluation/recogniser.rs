use std::num::NonZero;

use rayon::{ThreadPool, ThreadPoolBuilder};

use super::ordered::{Chunk, map_in_order};
use super::{EvaluationError, Picture};
use crate::classifier::Classifier;
use crate::image::Preprocessing;
use crate::model::{ImageTower, Images};
use crate::progress::Progress;
use crate::scores::LogitsRow;

/// How the work is spread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parallelism {
    /// Images that a worker decodes and encodes at a time.
    pub batch_size: usize,
    /// Workers; each decodes its images and runs the tower on them, so that one decodes while another computes.
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

/// The most bytes that pictures hold that are drawn and not read yet, all workers together.
const MOST_HELD: usize = 256 << 20;

/// An image tower, its preprocessing and a classifier: pictures in, logits out.
pub struct Recogniser<'a> {
    tower: &'a dyn ImageTower<f32>,
    classifier: &'a Classifier,
    preprocessing: Preprocessing,
}

impl<'a> Recogniser<'a> {
    /// Joins a tower, a classifier of the same model and a preprocessing.
    ///
    /// # Errors
    /// Tower and classifier have different dimensions.
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

    /// The classifier.
    pub fn classifier(&self) -> &'a Classifier {
        self.classifier
    }

    /// Scores a stream of pictures: `look` sees each one's logits, or why it could not be read, on a worker; `sink` gets
    /// what `look` made of them, in order, on the calling thread. Pictures are drawn from the stream as they are needed,
    /// so that memory does not grow with their number, and dropped when they have been looked at.
    ///
    /// # Errors
    /// Those of `sink`, a tower that refuses its input, or cancellation. An unreadable picture is not an error.
    pub fn for_each<P: Picture, R: Send, E: From<EvaluationError>>(
        &self,
        pictures: impl IntoIterator<Item = P, IntoIter: Send>,
        parallelism: Parallelism,
        progress: &dyn Progress,
        look: impl Fn(&P, Result<LogitsRow<'_, f32>, P::Error>) -> R + Sync,
        mut sink: impl FnMut(R) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut pictures = pictures.into_iter().fuse();
        // As many as tell whether there are batches enough for all workers; they hold no more than the batches would.
        let enough = parallelism
            .batch_size
            .max(1)
            .saturating_mul(parallelism.workers.max(1));
        let mut first = Vec::new();
        let mut held = 0;
        while first.len() < enough && held < MOST_HELD {
            let Some(picture) = pictures.next() else {
                break;
            };
            held += picture.held();
            first.push(picture);
        }
        let more = first.len() == enough || held >= MOST_HELD;
        let (batch, workers) = spread(if more { enough } else { first.len() }, parallelism)?;
        let chunk = Chunk {
            items: batch,
            bytes: MOST_HELD / workers.len().max(1),
        };
        let mut done = 0;
        let work = |worker: &mut ThreadPool, mut pictures: Vec<P>| {
            worker.install(|| self.batch(&mut pictures, progress, &look))
        };
        let pass_on = |rows: Option<Result<Vec<R>, EvaluationError>>| {
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
            first.into_iter().chain(pictures),
            chunk,
            workers,
            Picture::held,
            work,
            pass_on,
        )
    }

    /// One batch; `None` where the work was cancelled.
    fn batch<P: Picture, R>(
        &self,
        pictures: &mut [P],
        progress: &dyn Progress,
        look: &impl Fn(&P, Result<LogitsRow<'_, f32>, P::Error>) -> R,
    ) -> Option<Result<Vec<R>, EvaluationError>> {
        let length = self.preprocessing.tensor_len();
        let mut pixels = vec![0.0; pictures.len() * length];
        let mut read = 0;
        let mut errors = Vec::with_capacity(pictures.len());
        for picture in &mut *pictures {
            if progress.is_cancelled() {
                return None;
            }
            let out = &mut pixels[read * length..][..length];
            let error = picture.pixels_into(&self.preprocessing, out).err();
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
        let mut results = Vec::with_capacity(pictures.len());
        for (picture, error) in pictures.iter().zip(errors) {
            match error {
                Some(error) => results.push(look(picture, Err(error))),
                None => results.extend(rows.next().map(|row| look(picture, Ok(row)))),
            }
        }
        progress.advance(pictures.len() as u64);
        Some(Ok(results))
    }
}

/// The size of a batch, and a worker each with the threads of its tower: one, where there are batches enough for all
/// workers, and more where there are not.
fn spread(
    pictures: usize,
    parallelism: Parallelism,
) -> Result<(usize, Vec<ThreadPool>), EvaluationError> {
    let wanted = parallelism.workers.max(1);
    let batch = parallelism
        .batch_size
        .clamp(1, pictures.div_ceil(wanted).max(1));
    let workers = wanted.min(pictures.div_ceil(batch)).max(1);
    let pool = |_| {
        ThreadPoolBuilder::new()
            .num_threads((wanted / workers).max(1))
            .build()
    };
    let pools = (0..workers).map(pool).collect::<Result<_, _>>();
    let failed = |e: rayon::ThreadPoolBuildError| EvaluationError::Workers {
        workers,
        reason: e.to_string(),
    };
    Ok((batch, pools.map_err(failed)?))
}
