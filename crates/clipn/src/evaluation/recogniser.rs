use std::num::NonZero;
use std::path::Path;

use rayon::{ThreadPool, ThreadPoolBuilder};

use super::EvaluationError;
use super::ordered::map_in_order;
use crate::classifier::Classifier;
use crate::image::{ImageError, Preprocessing};
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
        Self { batch_size: 16, workers: std::thread::available_parallelism().map_or(1, NonZero::get) }
    }
}

/// An image tower, its preprocessing and a classifier: files in, logits out.
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
            return Err(crate::classifier::ClassifierError::FeatureDimension { expected, found }.into());
        }
        Ok(Self { tower, classifier, preprocessing })
    }

    /// The classifier.
    pub fn classifier(&self) -> &'a Classifier {
        self.classifier
    }

    /// Scores image files: `look` sees each image's logits, or why it could not be read, on a worker; `sink` gets what
    /// `look` made of them, in order, on the calling thread.
    ///
    /// # Errors
    /// Those of `sink`, a tower that refuses its input, or cancellation. An unreadable image is not an error.
    pub fn for_each<R: Send, E: From<EvaluationError>>(
        &self,
        files: &[&Path],
        parallelism: Parallelism,
        progress: &dyn Progress,
        look: impl Fn(&Path, Result<LogitsRow<'_, f32>, ImageError>) -> R + Sync,
        mut sink: impl FnMut(R) -> Result<(), E>,
    ) -> Result<(), E> {
        let (batch, workers) = spread(files.len(), parallelism)?;
        let mut done = 0;
        let work =
            |worker: &mut ThreadPool, chunk: &[&Path]| worker.install(|| self.batch(chunk, progress, &look));
        let pass_on = |rows: Option<Result<Vec<R>, EvaluationError>>| {
            let Some(rows) = rows else {
                return Err(EvaluationError::Cancelled { done, total: files.len() }.into());
            };
            for row in rows? {
                sink(row)?;
                done += 1;
            }
            Ok(())
        };
        map_in_order(files, batch, workers, work, pass_on)
    }

    /// One batch; `None` where the work was cancelled.
    fn batch<R>(
        &self,
        files: &[&Path],
        progress: &dyn Progress,
        look: &impl Fn(&Path, Result<LogitsRow<'_, f32>, ImageError>) -> R,
    ) -> Option<Result<Vec<R>, EvaluationError>> {
        let length = self.preprocessing.tensor_len();
        let mut pixels = vec![0.0; files.len() * length];
        let mut read = 0;
        let mut errors = Vec::with_capacity(files.len());
        for file in files {
            if progress.is_cancelled() {
                return None;
            }
            let error = self.preprocessing.file_into(file, &mut pixels[read * length..][..length]).err();
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
        let mut results = Vec::with_capacity(files.len());
        for (file, error) in files.iter().zip(errors) {
            match error {
                Some(error) => results.push(look(file, Err(error))),
                None => results.extend(rows.next().map(|row| look(file, Ok(row)))),
            }
        }
        progress.advance(files.len() as u64);
        Some(Ok(results))
    }
}

/// The size of a batch, and a worker each with the threads of its tower: one, where there are batches enough for all
/// workers, and more where there are not.
fn spread(files: usize, parallelism: Parallelism) -> Result<(usize, Vec<ThreadPool>), EvaluationError> {
    let wanted = parallelism.workers.max(1);
    let batch = parallelism.batch_size.clamp(1, files.div_ceil(wanted).max(1));
    let workers = wanted.min(files.div_ceil(batch)).max(1);
    let pool = |_| ThreadPoolBuilder::new().num_threads((wanted / workers).max(1)).build();
    let pools = (0..workers).map(pool).collect::<Result<_, _>>();
    let failed = |e: rayon::ThreadPoolBuildError| EvaluationError::Workers { workers, reason: e.to_string() };
    Ok((batch, pools.map_err(failed)?))
}
