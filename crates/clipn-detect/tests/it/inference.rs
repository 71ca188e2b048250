//! Streams of images through a detector: order, errors, cancellation and panics.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use clipn_base::progress::Progress;
use clipn_detect::bundle::{Bundle, BundleBuilder};
use clipn_detect::classifier::{Classifier, ClassifierBuilder};
use clipn_detect::detector::{Detector, DetectorError};
use clipn_detect::inference::{InferenceError, InferencePipeline, ItemError, Parallelism};
use clipn_image::{ImageError, ImageSource, Preprocessing};
use clipn_model::{FeatureMatrix, ImageBatch, ImageTower, ModelError, PretrainedWeights};
use clipn_ood::scores::{DecisionRule, LogitsRow, Msp, Score, is_built_in};
use clipn_testing::fixture;

/// Tower whose features are the first two values of an image; it counts its batches.
#[derive(Default)]
struct FirstValues {
    batches: AtomicUsize,
}

impl ImageTower<f32> for FirstValues {
    fn embed_dim(&self) -> usize {
        2
    }

    fn image_size(&self) -> usize {
        SIZE
    }

    fn encode(&self, images: ImageBatch<'_, f32>) -> Result<FeatureMatrix<f32>, ModelError> {
        self.batches.fetch_add(1, Ordering::SeqCst);
        let first = images.pixels().chunks_exact(images.image_len());
        let values = first.flat_map(|image| [image[0], image[1]]).collect();
        Ok(FeatureMatrix::new(values, 2))
    }
}

const SIZE: usize = 2;

/// Image whose first values are given, or that cannot be read, or whose reading panics.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Drawn {
    Angle(usize),
    /// Features with this value.
    Value(f32),
    Unreadable,
    Panicking,
}

impl ImageSource for Drawn {
    fn read_tensor(
        &mut self,
        preprocessing: &Preprocessing,
        out: &mut [f32],
    ) -> Result<(), ImageError> {
        match self {
            Self::Angle(degrees) => {
                out.fill(0.0);
                (out[1], out[0]) = (*degrees as f32).to_radians().sin_cos();
                Ok(())
            }
            Self::Value(value) => {
                out.fill(*value);
                Ok(())
            }
            Self::Unreadable => preprocessing.preprocess_bytes(b"not an image", out),
            Self::Panicking => panic!("reading failed"),
        }
    }
}

/// Detector of the classes "right" and "up" by the first two values.
fn detector() -> Detector {
    let names = vec!["right".to_owned(), "up".to_owned()];
    let (yes, no) = (vec![1.0, 0.0, 0.0, 1.0], vec![-1.0, 0.0, 0.0, -1.0]);
    let classifier = Classifier::new(names, yes, no).unwrap();
    let tower = Arc::new(FirstValues::default());
    Detector::from_classifier(classifier, tower, Preprocessing::clip(SIZE)).unwrap()
}

fn parallelism(batch_size: usize, workers: usize) -> Parallelism {
    Parallelism::default()
        .with_batch_size(batch_size)
        .with_workers(workers)
}

#[test]
fn detections_come_in_order_with_their_images() {
    let detector = detector();
    for (batch, workers) in [(1, 1), (1, 4), (3, 2), (16, 8)] {
        let images = (0..100).map(|index| Drawn::Angle(index * 90 % 180));
        let found: Vec<_> = detector
            .detect_many_with(images.clone(), parallelism(batch, workers))
            .unwrap()
            .collect();
        assert!(found.iter().map(|(image, _)| *image).eq(images));
        for (index, (_, detection)) in found.iter().enumerate() {
            let expected = ["right", "up"][index % 2];
            let detection = detection.as_ref().unwrap();
            assert_eq!(detection.label.as_deref(), Some(expected), "{index}");
        }
    }
}

#[test]
fn an_unreadable_image_affects_no_other() {
    let detector = detector();
    let images = (0..50).map(|index| match index % 7 {
        3 => Drawn::Unreadable,
        _ => Drawn::Angle(90),
    });
    let found: Vec<_> = detector
        .detect_many_with(images, parallelism(4, 3))
        .unwrap()
        .collect();
    assert_eq!(found.len(), 50);
    for (index, (image, detection)) in found.into_iter().enumerate() {
        match (index % 7, detection) {
            (3, Err(error)) => {
                assert_eq!(image, Drawn::Unreadable);
                assert!(matches!(error, DetectorError::Image(_)), "{error}");
            }
            (3, Ok(_)) => panic!("image {index} was read"),
            (_, detection) => assert_eq!(detection.unwrap().label.as_deref(), Some("up")),
        }
    }
}

/// The features of damaged weights are not those of an unknown image.
#[test]
fn features_without_a_direction_are_errors_of_their_image() {
    let detector = detector();
    let broken = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 0.0];
    let images: Vec<Drawn> = broken
        .iter()
        .flat_map(|&value| [Drawn::Angle(90), Drawn::Value(value)])
        .collect();
    let found: Vec<_> = detector
        .detect_many_with(images, parallelism(4, 2))
        .unwrap()
        .collect();
    for (image, detection) in &found {
        match (image, detection) {
            (Drawn::Value(_), Err(DetectorError::Item(ItemError::InvalidFeatures))) => {}
            (Drawn::Angle(_), Ok(detection)) => {
                assert_eq!(detection.label.as_deref(), Some("up"));
            }
            (image, detection) => panic!("{image:?}: {detection:?}"),
        }
    }
    let (sound, nan) = ([0.0, 1.0].repeat(6), [f32::NAN; 12]);
    assert_eq!(detector.detect_pixels(&sound).unwrap().len(), 1);
    for pixels in [nan.to_vec(), [&sound[..], &nan].concat()] {
        let error = detector.detect_pixels(&pixels).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the image features are NaN, infinite or zero: the weights are damaged"
        );
        assert_eq!(
            error.hint(),
            Some("download the weights or save them again")
        );
    }
    let rows = [
        LogitsRow::new(&[f32::NAN, 1.0], &[0.0, 0.0]),
        LogitsRow::new(&[1.0, 1.0], &[0.0, f32::INFINITY]),
    ];
    for row in rows {
        assert!(matches!(
            detector.decide(row),
            Err(ItemError::InvalidFeatures)
        ));
    }
}

/// A score of the caller's own that is NaN for every image.
#[derive(Debug)]
struct NoScore;

impl Score for NoScore {
    fn name(&self) -> &'static str {
        "msp"
    }
    fn display_name(&self) -> &'static str {
        "none"
    }
    fn uses_no(&self) -> bool {
        false
    }
    fn faithful(&self, _: LogitsRow<'_, f32>) -> f32 {
        f32::NAN
    }
    fn stable(&self, _: LogitsRow<'_, f64>) -> f64 {
        f64::NAN
    }
    fn from_stable(&self, value: f64) -> f64 {
        value
    }
    fn to_stable(&self, value: f64) -> f64 {
        value
    }
}

#[test]
fn a_score_that_is_nan_is_an_error() {
    assert!(!is_built_in(&NoScore) && is_built_in(&Msp));
    let rule = DecisionRule::Threshold {
        score: &NoScore,
        threshold: 0.5,
    };
    let detector = detector().with_rule(rule).unwrap();
    let error = detector
        .decide(LogitsRow::new(&[1.0, 2.0], &[0.0, 0.0]))
        .unwrap_err();
    assert_eq!(error.to_string(), "the score msp of the image is NaN");
}

#[test]
fn dropping_the_iterator_ends_an_endless_stream() {
    let alive = Arc::new(());
    let held = Arc::clone(&alive);
    let images = (0..).map(move |_: usize| {
        let _ = &held;
        Drawn::Angle(0)
    });
    let mut found = detector()
        .detect_many_with(images, parallelism(2, 3))
        .unwrap();
    assert!(found.next().unwrap().1.is_ok());
    drop(found);
    // The workers, which owned the stream, have ended.
    assert_eq!(Arc::strong_count(&alive), 1);
}

#[test]
fn images_are_drawn_as_they_are_needed() {
    let drawn = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&drawn);
    let images = (0..).map(move |_: usize| {
        counter.fetch_add(1, Ordering::SeqCst);
        Drawn::Angle(0)
    });
    let (batch, workers) = (2, 2);
    let mut found = detector()
        .detect_many_with(images, parallelism(batch, workers))
        .unwrap();
    for taken in 1..40 {
        found.next();
        // Three batches a worker are ahead, and one is handed on.
        let limit = taken + batch * (3 * workers + 1);
        let drawn = drawn.load(Ordering::SeqCst);
        assert!(drawn <= limit, "{drawn} drawn after {taken}");
    }
}

#[test]
fn a_panic_is_reported_instead_of_ending_the_stream() {
    let images = (0..40).map(|index| match index {
        23 => Drawn::Panicking,
        _ => Drawn::Angle(0),
    });
    let found = detector()
        .detect_many_with(images, parallelism(1, 2))
        .unwrap();
    let count = AtomicUsize::new(0);
    let count_all = || {
        for _ in found {
            count.fetch_add(1, Ordering::SeqCst);
        }
    };
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(count_all)).is_err();
    let count = count.into_inner();
    assert!(panicked && count <= 23, "{panicked} {count}");
}

#[test]
fn no_images_give_no_detections() {
    let none: [Drawn; 0] = [];
    assert_eq!(detector().detect_many(none).unwrap().count(), 0);
}

#[test]
fn files_are_classified_as_one_by_one_to_the_bit() {
    let bundle: Bundle = BundleBuilder::new(ClassifierBuilder::new(["school bus", "banana"]))
        .with_image_tower(true)
        .build(&PretrainedWeights::mini().unwrap())
        .unwrap();
    let detector = Detector::from_bundle(bundle).unwrap();
    let names = [
        "420.jpg",
        "422.jpg",
        "444.jpg",
        "cmyk.jpg",
        "absent.jpg",
        "palette8.png",
        "lossy.webp",
        "plain.gif",
        "grey16.png",
    ];
    let paths: Vec<PathBuf> = names
        .iter()
        .map(|name| fixture(&format!("image/{name}")))
        .collect();
    for (batch, workers) in [(1, 1), (4, 2), (16, 3)] {
        let found = detector
            .detect_many_with(paths.clone(), parallelism(batch, workers))
            .unwrap();
        for (path, detection) in found {
            match (detection, detector.detect_file(&path)) {
                (Ok(found), Ok(expected)) => assert_eq!(found, expected, "{}", path.display()),
                (Err(found), Err(expected)) => {
                    assert_eq!(found.to_string(), expected.to_string());
                    assert!(path.ends_with("absent.jpg"), "{found}");
                }
                (found, _) => panic!("{}: {found:?}", path.display()),
            }
        }
    }
}

#[test]
fn large_images_make_small_batches() {
    /// Image that holds 100 MB before it is read.
    struct Large;

    impl ImageSource for Large {
        fn read_tensor(&mut self, _: &Preprocessing, out: &mut [f32]) -> Result<(), ImageError> {
            out.fill(1.0);
            Ok(())
        }

        fn bytes_in_memory(&self) -> usize {
            100_000_000
        }
    }

    let tower = Arc::new(FirstValues::default());
    let base = detector();
    let detector = Detector::from_classifier(
        base.classifier().clone(),
        Arc::clone(&tower) as Arc<dyn ImageTower<f32>>,
        base.preprocessing().clone(),
    )
    .unwrap();
    let found = detector.detect_many_with((0..12).map(|_| Large), parallelism(12, 1));
    assert_eq!(found.unwrap().count(), 12);
    // 256 MiB is the limit: three images pass it.
    assert_eq!(tower.batches.load(Ordering::SeqCst), 4);
}

/// Progress that cancels after a number of images.
struct CancelAfter {
    images: usize,
    done: AtomicUsize,
}

impl Progress for CancelAfter {
    fn advance(&self, units: u64) {
        self.done.fetch_add(units as usize, Ordering::SeqCst);
    }

    fn is_cancelled(&self) -> bool {
        self.done.load(Ordering::SeqCst) >= self.images
    }
}

#[test]
fn progress_cancels_a_run() {
    let detector = detector();
    let pipeline = InferencePipeline::new(
        detector.tower(),
        detector.classifier(),
        detector.preprocessing(),
    )
    .unwrap();
    let progress = CancelAfter {
        images: 10,
        done: AtomicUsize::new(0),
    };
    let mut seen = 0;
    let result = pipeline
        .with_parallelism(parallelism(2, 2))
        .with_progress(&progress)
        .run(
            (0..1000).map(|_| Drawn::Angle(0)),
            |_, logits| logits.is_ok(),
            |is_read| -> Result<(), InferenceError> {
                assert!(is_read);
                seen += 1;
                Ok(())
            },
        );
    match result {
        Err(InferenceError::Cancelled { done }) => assert_eq!(done, seen),
        other => panic!("{other:?}"),
    }
    assert!(seen < 1000);
}

#[test]
fn an_error_of_the_sink_ends_a_run() {
    #[derive(Debug)]
    enum Failure {
        Inference,
        Full,
    }

    impl From<InferenceError> for Failure {
        fn from(_: InferenceError) -> Self {
            Self::Inference
        }
    }

    let detector = detector();
    let pipeline = InferencePipeline::new(
        detector.tower(),
        detector.classifier(),
        detector.preprocessing(),
    )
    .unwrap();
    let mut seen = 0;
    let result = pipeline.with_parallelism(parallelism(1, 2)).run(
        (0..).map(|_: usize| Drawn::Angle(0)),
        |_, _| (),
        |()| {
            seen += 1;
            if seen == 5 {
                Err(Failure::Full)
            } else {
                Ok(())
            }
        },
    );
    assert!(matches!(result, Err(Failure::Full)), "{result:?}");
    assert_eq!(seen, 5);
}
