//! Scores that are fitted to images, against the figures of OpenOOD's own code
//! (`fixtures/scores/authors/posthoc.safetensors`). The tolerance is 1e-9 but for MDS and RMDS, whose
//! covariance is in f32 there.

use clipn_ood::fitted::{FitError, FitSettings, FitWarning, Fitted, ScoreFit, ScoreFitter};
use clipn_ood::scores::{FittedScore, FittedScoreSet, LogitsRow, ScoreInputs, by_name};
use safetensors::SafeTensors;

use crate::authors::{Rows, with_file};
use crate::tensors::{f32s, f64s, indices};

const CLASSES: usize = 12;
const DIM: usize = 64;

/// Training images and test images of the recording.
struct Data {
    train: Vec<f32>,
    train_logits: Vec<f64>,
    labels: Vec<Option<usize>>,
    images: Rows,
    logits: Rows,
    weights: Vec<f64>,
}

impl Data {
    fn read(file: &SafeTensors<'_>) -> Self {
        let weights = Rows::f64s(file, "weights");
        let images = Rows::f32s(file, "image.features");
        Self {
            train: f32s(file, "train.features"),
            train_logits: Rows::f32s(file, "train.features")
                .times(&weights, 1.0)
                .values,
            labels: indices(file, "train.labels")
                .into_iter()
                .map(Some)
                .collect(),
            logits: images.times(&weights, 1.0),
            images,
            weights: weights.values,
        }
    }

    fn fitter(&self, scores: FittedScoreSet, settings: &str) -> ScoreFitter {
        let names: Vec<String> = (0..CLASSES).map(|class| format!("class {class}")).collect();
        ScoreFitter::new(&names, DIM, scores, settings.parse().unwrap()).unwrap()
    }

    fn fit(&self, settings: &str) -> Fitted {
        let mut fitter = self.fitter(FittedScoreSet::all(), settings);
        fitter
            .add(&self.train, &self.train_logits, &self.labels)
            .unwrap();
        fitter.finish(&self.weights).unwrap()
    }

    /// Values of a score for all test images.
    fn values(&self, fit: &ScoreFit, score: FittedScore) -> Vec<f64> {
        let images = self.images.iter().zip(self.logits.iter());
        images
            .map(|(feature, logits)| fit.values(feature, logits, &[]).get(score))
            .collect()
    }
}

fn assert_near(what: &str, actual: &[f64], expected: &[f64], tolerance: f64) {
    assert_eq!(actual.len(), expected.len(), "{what}");
    for (index, (actual, expected)) in actual.iter().zip(expected).enumerate() {
        assert!(
            (actual - expected).abs() <= tolerance * expected.abs().max(1.0),
            "{what} {index}: expected {expected}, got {actual}"
        );
    }
}

/// A tensor of the fitted state.
fn state(fit: &ScoreFit, name: &str) -> Vec<f64> {
    let tensors = fit.tensors();
    let tensor = tensors.into_iter().find(|tensor| tensor.name == name);
    tensor.unwrap().values
}

fn set(scores: &[FittedScore]) -> FittedScoreSet {
    scores.iter().copied().collect()
}

#[test]
fn every_score_agrees_with_openood() {
    with_file("posthoc", |file| {
        let data = Data::read(file);
        for (settings, score, tensor) in [
            ("knn-k=1", FittedScore::Knn, "knn.K1"),
            ("knn-k=10", FittedScore::Knn, "knn.K10"),
            ("", FittedScore::Knn, "knn.K50"),
            ("", FittedScore::Mds, "mds"),
            ("", FittedScore::Rmds, "rmds"),
            ("vim-dim=16", FittedScore::Vim, "vim.dim16"),
            ("", FittedScore::Vim, "vim.dim32"),
            ("vim-dim=16", FittedScore::Residual, "residual.dim16"),
            ("", FittedScore::Residual, "residual.dim32"),
            ("", FittedScore::She, "she"),
            (
                "nnguide-k=10,nnguide-fraction=1",
                FittedScore::NnGuide,
                "nnguide.K10",
            ),
            ("", FittedScore::Fdbd, "fdbd"),
            ("fdbd-norm=feature", FittedScore::Fdbd, "fdbd.norm"),
            ("", FittedScore::React, "react.p90"),
            ("react-percentile=99", FittedScore::React, "react.p99"),
            ("", FittedScore::KlMatching, "klm"),
        ] {
            let fitted = data.fit(settings);
            assert!(fitted.left_out.is_empty(), "{:?}", fitted.left_out);
            let tolerance = match score {
                FittedScore::Mds | FittedScore::Rmds => 2e-6,
                _ => 1e-9,
            };
            let expected = f64s(file, tensor);
            let values = data.values(&fitted.fit, score);
            assert_near(tensor, &values, &expected, tolerance);
            for (state_name, figure) in [("vim.alpha", ".alpha"), ("react.threshold", ".threshold")]
            {
                if let Ok(figure) = file.tensor(&format!("{tensor}{figure}")) {
                    let expected = f64::from_le_bytes(figure.data().try_into().unwrap());
                    assert_near(tensor, &state(&fitted.fit, state_name), &[expected], 1e-12);
                }
            }
        }
    });
}

#[test]
fn blocks_of_any_size_give_the_same_scores() {
    with_file("posthoc", |file| {
        let data = Data::read(file);
        let whole = data.fit("knn-k=5").fit;
        for size in [1, 77, 599] {
            let mut fitter = data.fitter(FittedScoreSet::all(), "knn-k=5");
            let rows = data.train.chunks(size * DIM);
            let logits = data.train_logits.chunks(size * CLASSES);
            for ((rows, logits), labels) in rows.zip(logits).zip(data.labels.chunks(size)) {
                fitter.add(rows, logits, labels).unwrap();
            }
            let parts = fitter.finish(&data.weights).unwrap().fit;
            assert_eq!(parts.bank(), whole.bank());
            for score in FittedScore::ALL {
                let expected = data.values(&whole, score);
                let values = data.values(&parts, score);
                assert_near(score.as_str(), &values, &expected, 1e-9);
            }
        }
    });
}

#[test]
fn rounded_cosines_give_the_same_neighbors() {
    with_file("posthoc", |file| {
        let data = Data::read(file);
        let fit = data.fit("knn-k=3,nnguide-k=7").fit;
        let bank = fit.normalized_bank();
        for (feature, logits) in data.images.iter().zip(data.logits.iter()) {
            let length = feature.iter().map(|v| v * v).sum::<f64>().sqrt();
            // Products in f32, in another order than those of the crate.
            let cosines: Vec<f32> = bank
                .chunks_exact(DIM)
                .map(|row| {
                    let pairs = row.iter().zip(feature).rev();
                    pairs.map(|(a, b)| a * (b / length) as f32).sum()
                })
                .collect();
            let exact = fit.values(feature, logits, &[]);
            let rounded = fit.values(feature, logits, &cosines);
            for score in [FittedScore::Knn, FittedScore::NnGuide] {
                let (exact, rounded) = (exact.get(score), rounded.get(score));
                assert!((exact - rounded).abs() <= 1e-12 * exact.abs(), "{score:?}");
            }
            let mut distances: Vec<f64> = data
                .train
                .chunks_exact(DIM)
                .map(|row| {
                    let norm = row
                        .iter()
                        .map(|v| f64::from(*v).powi(2))
                        .sum::<f64>()
                        .sqrt();
                    let pairs = row.iter().zip(feature);
                    let square = |(a, b): (&f32, &f64)| (f64::from(*a) / norm - b / length).powi(2);
                    pairs.map(square).sum()
                })
                .collect();
            distances.sort_by(f64::total_cmp);
            assert!((exact.get(FittedScore::Knn) + distances[2]).abs() < 1e-12);
        }
    });
}

#[test]
fn stored_state_gives_the_same_bits() {
    with_file("posthoc", |file| {
        let data = Data::read(file);
        let fit = data.fit("").fit;
        let json = serde_json::to_string(fit.summary()).unwrap();
        let read = |bank: Vec<f32>| {
            ScoreFit::from_tensors(
                serde_json::from_str(&json).unwrap(),
                fit.tensors(),
                bank,
                fit.bank_energies().to_vec(),
                &data.weights,
            )
        };
        let again = read(fit.bank().to_vec()).unwrap();
        assert_eq!(again, fit);
        for score in FittedScore::ALL {
            assert_eq!(data.values(&again, score), data.values(&fit, score));
        }
        let error = read(vec![1.0; DIM]).unwrap_err().to_string();
        assert_eq!(error, "expected 38400 values of the bank, got 64");
        assert!(read(vec![f32::NAN; 600 * DIM]).is_err());
        let mut tensors = fit.tensors();
        tensors.retain(|tensor| tensor.name != "vim.alpha");
        let missing = ScoreFit::from_tensors(
            fit.summary().clone(),
            tensors,
            fit.bank().to_vec(),
            fit.bank_energies().to_vec(),
            &data.weights,
        );
        let error = missing.unwrap_err().to_string();
        assert_eq!(error, "expected 1 values of vim.alpha, got 0");
    });
}

#[test]
fn classes_in_another_order_have_the_same_scores() {
    with_file("posthoc", |file| {
        let data = Data::read(file);
        let fit = data.fit("").fit;
        let order: Vec<usize> = (0..CLASSES)
            .map(|class| (5 * class + 3) % CLASSES)
            .collect();
        let reordered = |values: &[f64], width: usize| -> Vec<f64> {
            let row = |class: &usize| values[class * width..][..width].to_vec();
            order.iter().flat_map(row).collect()
        };
        let weights = reordered(&data.weights, DIM);
        let other = fit.clone().with_class_order(&order, &weights).unwrap();
        for (feature, logits) in data.images.iter().zip(data.logits.iter()) {
            let expected = fit.values(feature, logits, &[]);
            let values = other.values(feature, &reordered(logits, 1), &[]);
            for score in FittedScore::ALL {
                let (value, expected) = (values.get(score), expected.get(score));
                assert!(
                    (value - expected).abs() <= 1e-9 * expected.abs().max(1.0),
                    "{score:?}"
                );
            }
        }
        let error = fit
            .with_class_order(&[0, 1], &data.weights)
            .unwrap_err()
            .to_string();
        assert_eq!(error, "expected 12 values of different classes, got 2");
    });
}

#[test]
fn what_is_unusual_is_a_warning_or_an_error() {
    with_file("posthoc", |file| {
        let data = Data::read(file);
        // A sample of 100 of 600 images, too few for a K of 101; no labels.
        let mut fitter = data.fitter(FittedScoreSet::all(), "bank=100,knn-k=101");
        fitter.add(&data.train, &data.train_logits, &[]).unwrap();
        let fitted = fitter.finish(&data.weights).unwrap();
        let (score, error) = &fitted.left_out[0];
        assert_eq!((fitted.left_out.len(), *score), (1, FittedScore::Knn));
        assert_eq!(
            error.to_string(),
            "the score `knn` needs at least 101 images to compare with, got 100"
        );
        let warnings = &fitted.fit.summary().warnings;
        let sampled = FitWarning::Sampled {
            bank: 100,
            images: 600,
        };
        let unlabeled = FitWarning::PredictedLabels {
            unlabeled: 600,
            images: 600,
        };
        assert_eq!(warnings[..], [sampled, unlabeled]);
        let values = data.values(&fitted.fit, FittedScore::NnGuide);
        assert!(values.iter().all(|value| value.is_finite()));

        // Images of two classes only, fewer than there are dimensions.
        let kept: Vec<usize> = (0..600)
            .filter(|i| data.labels[*i] < Some(2))
            .take(30)
            .collect();
        let mut fitter = data.fitter(FittedScoreSet::all(), "knn-k=5,nnguide-k=5");
        for &index in &kept {
            let row = &data.train[index * DIM..][..DIM];
            let logits = &data.train_logits[index * CLASSES..][..CLASSES];
            fitter.add(row, logits, &[data.labels[index]]).unwrap();
        }
        let fitted = fitter.finish(&data.weights).unwrap();
        let errors: Vec<String> = fitted.left_out.iter().map(|(_, e)| e.to_string()).collect();
        assert!(
            errors.contains(
                &"the score `she` needs an image of every class, got none of `class 2` and 9 other classes"
                    .to_owned()
            ),
            "{errors:?}"
        );
        let warnings: Vec<String> = fitted
            .fit
            .summary()
            .warnings
            .iter()
            .map(ToString::to_string)
            .collect();
        assert!(
            warnings.contains(
                &"no image of 10 classes, such as `class 2`, which MDS and RMDS do not know"
                    .to_owned()
            ),
            "{warnings:?}"
        );
        assert!(
            warnings
                .iter()
                .any(|w| w.starts_with("the covariance of `mds` has rank 28 of 64")),
            "{warnings:?}"
        );
        for score in fitted.fit.scores().iter() {
            let values = data.values(&fitted.fit, score);
            assert!(values.iter().all(|value| value.is_finite()), "{score:?}");
        }
    });
}

#[test]
fn classes_without_a_rightly_classified_image_take_the_mean_of_their_images() {
    let names = ["cat", "dog"].map(String::from);
    let scores = set(&[FittedScore::She]);
    let mut fitter = ScoreFitter::new(&names, 2, scores, FitSettings::default()).unwrap();
    // The second image is a dog that is classified as a cat.
    let logits = [9.0_f32, 1.0, 8.0, 2.0];
    fitter
        .add(&[1.0, 0.0, 0.5, 0.5], &logits, &[Some(0), Some(1)])
        .unwrap();
    let fitted = fitter.finish(&[1.0_f32, 0.0, 0.0, 1.0]).unwrap();
    let warning = FitWarning::NoneRightlyClassified {
        classes: 1,
        first: "dog".to_owned(),
    };
    assert_eq!(fitted.fit.summary().warnings, [warning]);
    let value = |logits: &[f64]| {
        fitted
            .fit
            .values(&[1.0, 2.0], logits, &[])
            .get(FittedScore::She)
    };
    assert_eq!((value(&[2.0, 1.0]), value(&[1.0, 2.0])), (1.0, 1.5));
}

/// Fits scores with a subspace of 3 dimensions to features of 8.
fn fitted_in_8_dimensions(
    scores: &[FittedScore],
    features: &[f32],
    labels: &[Option<usize>],
) -> Fitted {
    let names = ["cat", "dog"].map(String::from);
    let settings: FitSettings = "vim-dim=3".parse().unwrap();
    let logits = vec![1.0; features.len() / 4];
    let mut fitter = ScoreFitter::new(&names, 8, set(scores), settings).unwrap();
    fitter.add(features, &logits, labels).unwrap();
    fitter.finish(&[0.5; 16]).unwrap()
}

/// Features whose rows have no more than the rank of their dimension.
fn features_of_full_rank(images: usize) -> Vec<f32> {
    let value = |i: usize| ((i * i) as f32 * 0.7).sin() + 0.2;
    (0..8 * images).map(value).collect()
}

#[test]
fn residuals_need_images_that_leave_the_subspace() {
    let scores = [FittedScore::Vim, FittedScore::Residual];
    let mut twice = features_of_full_rank(3);
    twice.extend(features_of_full_rank(3));
    for (features, images) in [(features_of_full_rank(3), 3), (twice, 6)] {
        let left_out = fitted_in_8_dimensions(&scores, &features, &[]).left_out;
        let errors: Vec<_> = left_out.into_iter().map(|(_, error)| error).collect();
        let expected = ["vim", "residual"].map(|score| FitError::NoResidual { score, images });
        assert_eq!(errors, expected);
    }
    let many = fitted_in_8_dimensions(&scores, &features_of_full_rank(40), &[]);
    assert!(many.left_out.is_empty(), "{:?}", many.left_out);
}

#[test]
fn rmds_needs_images_of_two_classes() {
    let scores = [FittedScore::Mds, FittedScore::Rmds];
    let features = features_of_full_rank(40);
    let one = fitted_in_8_dimensions(&scores, &features, &[Some(1); 40]);
    let score = "rmds";
    assert_eq!(
        one.left_out,
        [(
            FittedScore::Rmds,
            FitError::TooFewClasses { score, present: 1 }
        )]
    );
    let mut labels = [Some(1); 40];
    labels[7] = Some(0);
    let both = fitted_in_8_dimensions(&scores, &features, &labels);
    assert!(both.left_out.is_empty(), "{:?}", both.left_out);
}

#[test]
fn fdbd_needs_features_that_differ() {
    let scores = [FittedScore::Fdbd];
    let equal = features_of_full_rank(1).repeat(200);
    for features in [&equal[..8], &equal] {
        let score = "fdbd";
        assert_eq!(
            fitted_in_8_dimensions(&scores, features, &[]).left_out,
            [(FittedScore::Fdbd, FitError::NoSpread { score })]
        );
    }
    let two = features_of_full_rank(2);
    assert!(
        fitted_in_8_dimensions(&scores, &two, &[])
            .left_out
            .is_empty()
    );
}

#[test]
fn wrong_input_is_an_error_with_the_index() {
    let names = ["cat", "dog"].map(String::from);
    let scores = set(&[FittedScore::Knn]);
    let fitter = || ScoreFitter::new(&names, 2, scores, FitSettings::default()).unwrap();
    let add = |features: &[f32], logits: &[f32], labels: &[Option<usize>]| {
        fitter().add(features, logits, labels).unwrap_err()
    };
    let rows = [1.0, 0.0, 0.0, 1.0];
    assert_eq!(
        add(&rows, &[1.0, 2.0, 3.0], &[]).to_string(),
        "expected 4 values of logits, got 3"
    );
    assert_eq!(
        add(&rows, &rows, &[None]).to_string(),
        "expected 2 values of labels, got 1"
    );
    assert_eq!(
        add(&rows, &[1.0, 2.0, 3.0, f32::NAN], &[]),
        FitError::NotFinite { index: 1 }
    );
    assert_eq!(add(&[0.0; 4], &rows, &[]), FitError::NotFinite { index: 0 });
    assert_eq!(
        add(&rows, &rows, &[None, Some(2)]).to_string(),
        "expected a label below 2 for image 1, got 2"
    );
    assert_eq!(fitter().finish(&rows).unwrap_err(), FitError::NoImages);
    assert!(ScoreFitter::new(&[], 2, scores, FitSettings::default()).is_err());
}

#[test]
fn scores_without_a_fit_are_refused_by_name() {
    let mut inputs = ScoreInputs {
        classes: 2,
        has_no: false,
        has_negatives: false,
        has_local: false,
        fitted: FittedScoreSet::default(),
    };
    let vim = by_name("vim").unwrap();
    assert_eq!(
        inputs.check(vim).unwrap_err().to_string(),
        "the score `vim` needs in-distribution images that it is fitted to, got none"
    );
    inputs.fitted = set(&[FittedScore::Vim]);
    assert!(inputs.check(vim).is_ok());
    assert!(inputs.available().contains(&vim));
    assert!(vim.faithful(LogitsRow::new(&[1.0, 2.0], &[])).is_nan());
}

/// With an image per class, or equal images in each, what is left around the means is rounding.
#[test]
fn classes_without_spread_have_no_mahalanobis_distance() {
    const CLASSES: usize = 10;
    let names: Vec<String> = (0..CLASSES).map(|n| format!("class {n}")).collect();
    let scores = set(&[FittedScore::Mds, FittedScore::Rmds]);
    for per_class in [1, 7] {
        let mut features: Vec<f32> = Vec::new();
        for class in 0..CLASSES {
            let row: Vec<f32> = (0..16)
                .map(|i| ((class * 16 + i) as f32 * 0.7).sin() + 0.3)
                .collect();
            (0..per_class).for_each(|_| features.extend(&row));
        }
        let labels: Vec<_> = (0..CLASSES * per_class)
            .map(|image| Some(image / per_class))
            .collect();
        let mut fitter = ScoreFitter::new(&names, 16, scores, FitSettings::default()).unwrap();
        let logits = vec![1.0_f32; CLASSES * labels.len()];
        fitter.add(&features, &logits, &labels).unwrap();
        let fitted = fitter.finish(&vec![0.5; CLASSES * 16]).unwrap();
        let left_out: Vec<_> = fitted.left_out.iter().map(|(_, error)| error).collect();
        assert_eq!(left_out.len(), 2, "{per_class} per class");
        let no_spread = |error: &&FitError| matches!(error, FitError::NoSpread { .. });
        assert!(left_out.iter().all(no_spread), "{left_out:?}");
    }
}

#[test]
fn nothing_is_added_after_an_error() {
    let names = ["a", "b"].map(String::from);
    let scores = set(&[FittedScore::Knn, FittedScore::Mds, FittedScore::She]);
    let mut fitter = ScoreFitter::new(&names, 2, scores, FitSettings::default()).unwrap();
    let features: Vec<f32> = (0..40).map(|i| (i as f32 * 0.7).sin()).collect();
    let logits = vec![1.0_f32; 40];
    let mut labels: Vec<_> = (0..20).map(|image| Some(image % 2)).collect();
    labels[19] = Some(9);
    let error = fitter.add(&features, &logits, &labels).unwrap_err();
    assert!(
        matches!(error, FitError::Label { index: 19, .. }),
        "{error}"
    );
    assert_eq!(fitter.images(), 0);
    fitter
        .add(&features[..12], &logits[..12], &labels[..6])
        .unwrap();
    let fitted = fitter.finish(&[1.0, 0.0, 0.0, 1.0]).unwrap();
    let summary = fitted.fit.summary();
    assert_eq!((summary.images, summary.labeled), (6, 6));
}
