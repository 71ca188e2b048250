//! Scoring of image sets: order, labels, unreadable images, several classifiers, interruption.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use clipn_base::progress::Progress;
use clipn_data::{ImageSet, LabeledImage, OodKind, OodSet};
use clipn_detect::classifier::Classifier;
use clipn_detect::inference::{InferencePipeline, Parallelism};
use clipn_eval::{
    Evaluation, EvaluationError, EvaluationOptions, Evaluator, ImageEncoder, ScorePrecision,
};
use clipn_image::{Preprocessing, RgbImage};
use clipn_model::{FeatureMatrix, ImageBatch, ImageTower, ModelError};
use clipn_ood::scores::parse_list;

/// A tower whose features are the mean color of an image.
struct MeanColor;

/// Image size of the tower.
const SIZE: usize = 8;

impl ImageTower<f32> for MeanColor {
    fn embed_dim(&self) -> usize {
        3
    }

    fn image_size(&self) -> usize {
        SIZE
    }

    fn encode(&self, images: ImageBatch<'_, f32>) -> Result<FeatureMatrix<f32>, ModelError> {
        let channels = images.pixels().chunks(SIZE * SIZE);
        let sums = channels.map(|channel| channel.iter().sum()).collect();
        Ok(FeatureMatrix::new(sums, 3))
    }
}

/// A classifier of pure colors whose "no" is the opposite; `turn` rotates the channels.
fn classifier(names: [&str; 2], turn: usize, scale: f64) -> Classifier {
    let mut yes = vec![0.0; 6];
    yes[turn % 3] = 1.0;
    yes[3 + (turn + 1) % 3] = 1.0;
    let no: Vec<f32> = yes.iter().map(|v| -v).collect();
    Classifier::new(names.map(str::to_owned).to_vec(), yes, no)
        .unwrap()
        .with_scale(scale)
}

/// Writes images of one color each, and returns them as a set.
fn set(dir: &Path, name: &str, images: &[([u8; 3], Option<usize>)]) -> ImageSet {
    let mut samples = Vec::new();
    for (i, &(color, label)) in images.iter().enumerate() {
        let path = dir.join(format!("{name}-{i}.png"));
        let image = RgbImage::new(8, 8, color.repeat(64)).unwrap();
        fs::write(&path, image.to_png().unwrap()).unwrap();
        samples.push(LabeledImage { path, label });
    }
    ImageSet {
        name: name.to_owned(),
        root: dir.to_owned(),
        samples,
        ..ImageSet::default()
    }
}

fn sets(dir: &Path) -> (ImageSet, Vec<OodSet>) {
    let id = set(
        dir,
        "id",
        &[
            ([250, 0, 0], Some(0)),
            ([0, 250, 0], Some(1)),
            ([250, 60, 0], Some(0)),
            ([200, 0, 30], Some(1)),
        ],
    );
    let near = set(dir, "near", &[([90, 0, 250], None), ([0, 90, 250], None)]);
    let far = set(dir, "far", &[([0, 0, 250], None)]);
    let ood = [(near, OodKind::Near), (far, OodKind::Far)];
    let ood = ood.map(|(set, kind)| OodSet {
        set,
        kind: Some(kind),
    });
    (id, ood.into())
}

fn options() -> EvaluationOptions {
    EvaluationOptions::default().with_scores(parse_list("msp,ctw").unwrap())
}

fn predictions(evaluation: &Evaluation) -> Vec<Option<usize>> {
    let rows = evaluation.id.rows.iter();
    rows.map(|row| Some(row.outcome.as_ref().ok()?.prediction))
        .collect()
}

#[test]
fn rows_are_in_the_order_of_the_sets() {
    let dir = tempfile::tempdir().unwrap();
    let (id, ood) = sets(dir.path());
    let (classifier, preprocessing) = (
        classifier(["red", "green"], 0, 100.0),
        Preprocessing::clip(SIZE),
    );
    let pipeline = InferencePipeline::new(&MeanColor, &classifier, &preprocessing).unwrap();
    let evaluator = Evaluator::new(&id, &ood).with_options(options());
    let evaluation = evaluator.evaluate(&pipeline).unwrap();
    assert_eq!(
        predictions(&evaluation),
        [Some(0), Some(1), Some(0), Some(0)]
    );
    let paths: Vec<&Path> = evaluation
        .id
        .rows
        .iter()
        .map(|r| r.path.as_path())
        .collect();
    let samples: Vec<&Path> = id.paths().collect();
    assert_eq!(paths, samples);
    let names: Vec<(&str, Option<OodKind>)> = evaluation
        .ood
        .iter()
        .map(|set| (set.name.as_str(), set.kind))
        .collect();
    assert_eq!(
        names,
        [("near", Some(OodKind::Near)), ("far", Some(OodKind::Far))]
    );
    // Neither batches nor threads change a bit.
    let one_by_one = options().with_parallelism(Parallelism {
        batch_size: 1,
        workers: 3,
    });
    let evaluator = Evaluator::new(&id, &ood).with_options(one_by_one);
    assert_eq!(evaluator.evaluate(&pipeline).unwrap(), evaluation);
}

#[test]
fn several_classifiers_score_as_each_alone() {
    let dir = tempfile::tempdir().unwrap();
    let (id, ood) = sets(dir.path());
    let classifiers = [
        classifier(["red", "green"], 0, 100.0),
        classifier(["blue", "red"], 2, 55.0),
    ];
    let preprocessing = Preprocessing::clip(SIZE);
    for precision in [ScorePrecision::F32, ScorePrecision::F64] {
        let evaluator = Evaluator::new(&id, &ood).with_options(options().with_precision(precision));
        let encoder = ImageEncoder {
            tower: &MeanColor,
            preprocessing: &preprocessing,
        };
        let together = evaluator
            .evaluate_classifiers(encoder, &classifiers)
            .unwrap();
        let alone: Vec<Evaluation> = classifiers
            .iter()
            .map(|classifier| {
                let pipeline =
                    InferencePipeline::new(&MeanColor, classifier, &preprocessing).unwrap();
                evaluator.evaluate(&pipeline).unwrap()
            })
            .collect();
        assert_eq!(together, alone);
        // One evaluation is that of the first.
        let pipeline =
            InferencePipeline::with_classifiers(&MeanColor, &classifiers, &preprocessing).unwrap();
        assert_eq!(evaluator.evaluate(&pipeline).unwrap(), together[0]);
    }
    let encoder = ImageEncoder {
        tower: &MeanColor,
        preprocessing: &preprocessing,
    };
    let error = Evaluator::new(&id, &ood)
        .evaluate_classifiers(encoder, &[])
        .unwrap_err();
    assert!(matches!(error, EvaluationError::Classifier(_)), "{error}");
}

#[test]
fn unreadable_images_are_rows_or_end_a_strict_run() {
    let dir = tempfile::tempdir().unwrap();
    let (id, ood) = sets(dir.path());
    fs::write(&id.samples[1].path, "no image").unwrap();
    let (classifier, preprocessing) = (
        classifier(["red", "green"], 0, 100.0),
        Preprocessing::clip(SIZE),
    );
    let pipeline = InferencePipeline::new(&MeanColor, &classifier, &preprocessing).unwrap();
    let evaluator = Evaluator::new(&id, &ood).with_options(options());
    assert_eq!(
        predictions(&evaluator.evaluate(&pipeline).unwrap()),
        [Some(0), None, Some(0), Some(0)]
    );
    let strict = evaluator.with_options(options().with_strict(true));
    let error = strict.evaluate(&pipeline).unwrap_err();
    assert!(matches!(error, EvaluationError::Image(_)), "{error}");
    fs::write(&ood[1].set.samples[0].path, "no image").unwrap();
    let error = Evaluator::new(&id, &ood).evaluate(&pipeline).unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("none of the images of `far` (1) could be read; first error: "),
        "{error}"
    );
}

#[test]
fn the_row_of_an_unreadable_image_has_the_cause() {
    let dir = tempfile::tempdir().unwrap();
    let (mut id, ood) = sets(dir.path());
    // No system has names of this length.
    let path = dir.path().join("x".repeat(5000));
    id.samples[1].path.clone_from(&path);
    let (classifier, preprocessing) = (
        classifier(["red", "green"], 0, 100.0),
        Preprocessing::clip(SIZE),
    );
    let pipeline = InferencePipeline::new(&MeanColor, &classifier, &preprocessing).unwrap();
    let evaluation = Evaluator::new(&id, &ood).evaluate(&pipeline).unwrap();
    let error = evaluation.id.rows[1].outcome.as_ref().unwrap_err();
    let cause = fs::read(path).unwrap_err().to_string();
    assert!(error.ends_with(&cause), "{error}");
}

#[test]
fn rejects_a_label_without_a_class() {
    let dir = tempfile::tempdir().unwrap();
    let (mut id, ood) = sets(dir.path());
    id.samples[2].label = Some(2);
    let (classifier, preprocessing) = (
        classifier(["red", "green"], 0, 100.0),
        Preprocessing::clip(SIZE),
    );
    let pipeline = InferencePipeline::new(&MeanColor, &classifier, &preprocessing).unwrap();
    let error = Evaluator::new(&id, &ood).evaluate(&pipeline).unwrap_err();
    let path = id.samples[2].path.display();
    assert_eq!(
        error.to_string(),
        format!("label of {path} is out of range: expected at most 1, got 2")
    );
}

#[test]
fn an_interruption_counts_the_images_of_all_sets() {
    /// Cancels after five images.
    #[derive(Default)]
    struct CancelAfterFive(AtomicU64);
    impl Progress for CancelAfterFive {
        fn advance(&self, units: u64) {
            self.0.fetch_add(units, Ordering::Relaxed);
        }
        fn is_cancelled(&self) -> bool {
            self.0.load(Ordering::Relaxed) >= 5
        }
    }
    let dir = tempfile::tempdir().unwrap();
    let (id, ood) = sets(dir.path());
    let (classifier, preprocessing) = (
        classifier(["red", "green"], 0, 100.0),
        Preprocessing::clip(SIZE),
    );
    let pipeline = InferencePipeline::new(&MeanColor, &classifier, &preprocessing).unwrap();
    let one_by_one = options().with_parallelism(Parallelism {
        batch_size: 1,
        workers: 1,
    });
    let error = Evaluator::new(&id, &ood)
        .with_options(one_by_one)
        .with_progress(&CancelAfterFive::default())
        .evaluate(&pipeline)
        .unwrap_err();
    assert!(
        matches!(error, EvaluationError::Interrupted { done: 5, total: 7 }),
        "{error}"
    );
}
