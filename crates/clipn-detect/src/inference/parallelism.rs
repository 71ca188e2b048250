use std::num::NonZero;

use clipn_base::ordered::ChunkLimits;
use clipn_image::ImageSource;
use clipn_model::ImageTower;
use rayon::{ThreadPool, ThreadPoolBuildError, ThreadPoolBuilder};

use crate::inference::InferenceError;

/// Number of workers and their batch size. Results do not depend on either.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parallelism {
    /// Images that a worker decodes and encodes at a time [default: 16].
    pub batch_size: usize,
    /// Workers [default: the number of cores]. Each decodes its images and runs the tower on them, so
    /// one decodes while another computes.
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

impl Parallelism {
    /// Returns the defaults for a tower: the batch that it prefers, if it prefers one.
    #[must_use]
    pub fn for_tower(tower: &dyn ImageTower<f32>) -> Self {
        let default = Self::default();
        Self {
            batch_size: tower.preferred_batch().unwrap_or(default.batch_size),
            ..default
        }
    }

    /// Sets the number of images that a worker decodes and encodes at a time.
    #[must_use]
    pub fn with_batch_size(self, batch_size: usize) -> Self {
        Self { batch_size, ..self }
    }

    /// Sets the number of workers.
    #[must_use]
    pub fn with_workers(self, workers: usize) -> Self {
        Self { workers, ..self }
    }
}

/// Maximum number of bytes that images hold that are drawn and not read yet, over all workers.
const MAX_HELD_BYTES: usize = 256 << 20;

/// The images of a run with the workers that suit their number.
pub(crate) struct Work<P, I> {
    /// Images already drawn, to count them.
    first: Vec<P>,
    rest: I,
    /// How much a worker takes at a time.
    pub(crate) limits: ChunkLimits,
    /// One thread pool per worker, for the tower.
    pub(crate) workers: Vec<ThreadPool>,
}

impl<P: ImageSource, I: Iterator<Item = P>> Work<P, I> {
    /// Draws as many images as show whether there are batches for all workers; they hold no more memory
    /// than the batches would.
    pub(crate) fn plan(mut images: I, parallelism: Parallelism) -> Result<Self, InferenceError> {
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
            held += image.bytes_in_memory();
            first.push(image);
        }
        let more = first.len() == enough || held >= MAX_HELD_BYTES;
        let (batch, workers) = spread(if more { enough } else { first.len() }, parallelism)?;
        let limits = ChunkLimits::new(batch).with_bytes(MAX_HELD_BYTES / workers.len().max(1));
        Ok(Self {
            first,
            rest: images,
            limits,
            workers,
        })
    }

    /// All images in order, with the chunk size and the workers.
    pub(crate) fn into_parts(self) -> (impl Iterator<Item = P>, ChunkLimits, Vec<ThreadPool>) {
        (
            self.first.into_iter().chain(self.rest),
            self.limits,
            self.workers,
        )
    }
}

/// The batch size, and one thread pool per worker: of one thread if there are batches for all workers,
/// of more if there are fewer batches.
fn spread(
    images: usize,
    parallelism: Parallelism,
) -> Result<(usize, Vec<ThreadPool>), InferenceError> {
    let requested = parallelism.workers.max(1);
    let batch = parallelism
        .batch_size
        .clamp(1, images.div_ceil(requested).max(1));
    let workers = requested.min(images.div_ceil(batch)).max(1);
    let pools = (0..workers)
        .map(|_| {
            ThreadPoolBuilder::new()
                .num_threads((requested / workers).max(1))
                .build()
        })
        .collect::<Result<_, _>>()
        .map_err(|error: ThreadPoolBuildError| InferenceError::Workers {
            workers,
            source: error.into(),
        })?;
    Ok((batch, pools))
}
