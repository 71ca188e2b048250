use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

use clipn_base::ordered::OrderedMap;
use clipn_image::ImageSource;
use clipn_ood::scores::LogitsRow;
use rayon::ThreadPool;

use crate::detector::{Detection, Detector, DetectorError};
use crate::inference::{InferenceError, ItemError, Parallelism, Work, first_row};

/// The outcome of a batch: each image with its detection, or the images with the error of them all.
type Batch<P> = Vec<(P, Result<Detection, DetectorError>)>;

/// Detections of a stream of images, in order; see [`Detector::detect_many`].
pub struct DetectMany<P> {
    batches: OrderedMap<Batch<P>>,
    ready: VecDeque<(P, Result<Detection, DetectorError>)>,
}

impl<P> fmt::Debug for DetectMany<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DetectMany")
            .field("ready", &self.ready.len())
            .finish_non_exhaustive()
    }
}

impl<P> Iterator for DetectMany<P> {
    type Item = (P, Result<Detection, DetectorError>);

    /// # Panics
    /// If the iterator of the images, reading one of them or the image tower panicked: detections are
    /// missing.
    fn next(&mut self) -> Option<Self::Item> {
        while self.ready.is_empty() {
            self.ready.extend(self.batches.next()?);
        }
        self.ready.pop_front()
    }
}

impl Detector {
    /// Classifies a stream of images on all cores and returns them with their detections, in order.
    /// Images are drawn a few batches ahead, so the stream may be endless, and a live one must deliver a batch for each
    /// worker first. Dropping the iterator stops the work; it waits for images that are being drawn and for the
    /// batches under way.
    ///
    /// ```no_run
    /// use std::path::PathBuf;
    ///
    /// use clipn_detect::detector::Detector;
    ///
    /// let detector = Detector::open("shop.clipn")?;
    /// let photos = ["a.jpg", "b.jpg"].map(PathBuf::from);
    /// for (path, detection) in detector.detect_many(photos)? {
    ///     match detection {
    ///         Ok(detection) => println!("{}: {}", path.display(), detection.label_or_unknown()),
    ///         Err(error) => println!("{}: {error}", path.display()),
    ///     }
    /// }
    /// # Ok::<(), clipn_detect::detector::DetectorError>(())
    /// ```
    ///
    /// # Errors
    /// [`DetectorError::Inference`] if threads cannot be started. An image that cannot be read is an
    /// item with its error.
    pub fn detect_many<P: ImageSource + 'static>(
        &self,
        images: impl IntoIterator<Item = P, IntoIter: Send + 'static>,
    ) -> Result<DetectMany<P>, DetectorError> {
        self.detect_many_with(images, Parallelism::default())
    }

    /// Same as [`detect_many`](Self::detect_many), with a number of workers and a batch size.
    ///
    /// # Errors
    /// [`DetectorError::Inference`] if threads cannot be started.
    pub fn detect_many_with<P: ImageSource + 'static>(
        &self,
        images: impl IntoIterator<Item = P, IntoIter: Send + 'static>,
        parallelism: Parallelism,
    ) -> Result<DetectMany<P>, DetectorError> {
        let (images, limits, workers) =
            Work::plan(images.into_iter().fuse(), parallelism)?.into_parts();
        let detector = self.clone();
        let batches = OrderedMap::with_weight(
            images,
            limits,
            workers,
            ImageSource::bytes_in_memory,
            move |worker: &mut ThreadPool, batch| worker.install(|| detector.detect_batch(batch)),
        )
        .map_err(InferenceError::Thread)?;
        Ok(DetectMany {
            batches,
            ready: VecDeque::new(),
        })
    }

    fn detect_batch<P: ImageSource>(&self, mut images: Vec<P>) -> Batch<P> {
        let inspect = |_: &P, row: Result<LogitsRow<'_, f32>, ItemError>| Ok(self.decide(row?)?);
        let results = self.pipeline().and_then(|pipeline| {
            pipeline
                .batch(&mut images, &first_row(&inspect))
                .unwrap_or_else(|| Err(InferenceError::Cancelled { done: 0 }))
        });
        match results {
            Ok(results) => images.into_iter().zip(results).collect(),
            Err(error) => {
                let error = Arc::new(error);
                images
                    .into_iter()
                    .map(|image| (image, Err(DetectorError::Inference(Arc::clone(&error)))))
                    .collect()
            }
        }
    }
}
