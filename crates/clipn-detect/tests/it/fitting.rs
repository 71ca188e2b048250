//! Scores that are fitted to features: products in f32, bundles, detectors.

use clipn_detect::bundle::{Bundle, BundleError, ModelIdentity};
use clipn_detect::classifier::{ClassPrompts, Classifier, ClassifierError, PromptVariant};
use clipn_detect::detector::Detector;
use clipn_detect::fitting::{ClassifierFitter, FittingError, round_bank};
use clipn_detect::inference::ItemError;
use clipn_image::Preprocessing;
use clipn_model::{FeatureMatrix, PretrainedWeights};
use clipn_ood::calibration::{CalibrationSettings, calibrate};
use clipn_ood::fitted::{FitSettings, ScoreFit};
use clipn_ood::scores::{FittedScore, FittedScoreSet, Score, stable};
use clipn_text::prompts::TemplateSet;

/// Feature dimension of the built-in model.
fn dim() -> usize {
    mini().config().embed_dim
}

fn mini() -> clipn_model::ModelWeights {
    PretrainedWeights::mini().unwrap().weights(None).unwrap()
}

/// Rows of length 1 that follow no pattern.
fn rows(count: usize, dim: usize, seed: u32) -> Vec<f32> {
    let value = |i: usize| {
        ((i as u32)
            .wrapping_mul(2_654_435_761)
            .wrapping_add(seed * 97)
            >> 8) as f32
    };
    let mut rows: Vec<f32> = (0..count * dim)
        .map(|i| value(i) / 8_388_608.0 - 1.0)
        .collect();
    for row in rows.chunks_exact_mut(dim) {
        let length = row.iter().map(|v| v * v).sum::<f32>().sqrt();
        row.iter_mut().for_each(|v| *v /= length);
    }
    rows
}

fn classifier(dim: usize) -> Classifier {
    let names = ["school bus", "banana", "pizza"].map(String::from).into();
    Classifier::new(names, rows(3, dim, 7), None).unwrap()
}

fn fit(classifier: &Classifier, scores: FittedScoreSet) -> ScoreFit {
    let settings: FitSettings = "knn-k=5,nnguide-k=5".parse().unwrap();
    let mut fitter = ClassifierFitter::new(classifier, scores, settings).unwrap();
    for (index, row) in rows(300, classifier.dim(), 1)
        .chunks_exact(classifier.dim())
        .enumerate()
    {
        fitter.add(row, Some(index % 3)).unwrap();
    }
    let fitted = fitter.finish().unwrap();
    assert!(fitted.left_out.is_empty(), "{:?}", fitted.left_out);
    fitted.fit
}

/// Values of a score for all rows, with the products of the engine.
fn values(classifier: &Classifier, features: &[f32], score: FittedScore) -> Vec<f64> {
    let features = FeatureMatrix::new(features.to_vec(), classifier.dim());
    let logits = classifier.logits(&features).unwrap();
    logits.rows().map(|row| stable(&score, row)).collect()
}

#[test]
fn scores_do_not_depend_on_the_products_that_select_neighbors() {
    let classifier = classifier(96);
    let fit = fit(&classifier, FittedScoreSet::all());
    let fitted = classifier.clone().with_fit(fit.clone()).unwrap();
    assert_eq!(fitted.score_inputs().fitted, FittedScoreSet::all());
    let images = rows(70, 96, 2);
    let matrix = FeatureMatrix::new(images.clone(), 96);
    let logits = classifier.logits(&matrix).unwrap();
    for score in FittedScore::ALL {
        let found = values(&fitted, &images, score);
        for (image, (row, found)) in matrix.rows().zip(&found).enumerate() {
            let wide: Vec<f64> = row.iter().map(|v| f64::from(*v)).collect();
            let yes = logits.yes()[3 * image..][..3].iter().map(|v| f64::from(*v));
            let exact = fit
                .values(&wide, &yes.collect::<Vec<f64>>(), &[])
                .get(score);
            assert_eq!(exact, *found, "{score:?} of image {image}");
        }
        // One by one, as a detector sees them.
        let single = images
            .chunks_exact(96)
            .flat_map(|row| values(&fitted, row, score));
        assert_eq!(single.collect::<Vec<f64>>(), found, "{score:?}");
    }
    // Another scale changes the logits that the scores were fitted to.
    assert!(fitted.with_scale(50.0).fit().is_none());
    let mismatch = Classifier::new(vec!["a".to_owned()], rows(1, 96, 0), None).unwrap();
    assert!(matches!(
        mismatch.with_fit(fit),
        Err(ClassifierError::FitMismatch {
            expected: [1, 96],
            found: [3, 96]
        })
    ));
}

#[test]
fn a_bundle_has_the_scores_of_its_fit_to_the_bit() {
    let weights = mini();
    let templates = TemplateSet::built_in("simple").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let images = rows(40, dim(), 2);
    for score in FittedScore::ALL {
        let classifier = classifier(dim());
        let set = [score].into_iter().collect();
        let fit = round_bank(fit(&classifier, set), &classifier).unwrap();
        let classifier = classifier.with_fit(fit).unwrap();
        let expected = values(&classifier, &images, score);
        let settings = CalibrationSettings::default().with_score(by_name(score));
        let calibration = calibrate(&expected, &[], &settings).unwrap();
        let path = folder.path().join(format!("{}.clipn", score.as_str()));
        Bundle::new(
            classifier,
            ClassPrompts::new(templates.clone(), PromptVariant::Learnable),
            ModelIdentity::from_weights(&weights, None),
            Preprocessing::clip(weights.config().vision.image_size),
        )
        .with_calibration(calibration)
        .write(&path)
        .unwrap();
        let bundle = Bundle::open(&path).unwrap();
        let found = values(bundle.classifier(), &images, score);
        assert_eq!(found, expected, "{score:?}");
        let detector = Detector::for_features_of(bundle.clone()).unwrap();
        let detections = detector.detect_features(&images).unwrap();
        for (detection, expected) in detections.into_iter().zip(&expected) {
            assert_eq!(detection.unwrap().score, *expected);
        }
        // Other classes have no fit, and thus another rule.
        let fewer = bundle
            .classifier()
            .without_classes(&["pizza".to_owned()])
            .unwrap();
        let detector = detector.with_classifier(fewer).unwrap();
        assert_ne!(detector.score_name(), score.as_str());
    }
}

fn by_name(score: FittedScore) -> &'static dyn Score {
    clipn_ood::scores::by_name(score.as_str()).unwrap()
}

#[test]
fn a_bundle_without_a_part_of_its_fit_is_corrupt() {
    let weights = mini();
    let classifier = classifier(dim());
    let set = [FittedScore::Knn].into_iter().collect();
    let fit = fit(&classifier, set);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("b.clipn");
    Bundle::new(
        classifier.with_fit(fit).unwrap(),
        ClassPrompts::new(
            TemplateSet::built_in("simple").unwrap(),
            PromptVariant::Learnable,
        ),
        ModelIdentity::from_weights(&weights, None),
        Preprocessing::clip(weights.config().vision.image_size),
    )
    .write(&path)
    .unwrap();
    let bytes = std::fs::read(&path).unwrap();
    let renamed = |from: &str, to: &str| {
        let text: Vec<u8> = bytes.clone();
        let at = text
            .windows(from.len())
            .position(|w| w == from.as_bytes())
            .unwrap();
        let mut changed = text;
        changed[at..at + from.len()].copy_from_slice(to.as_bytes());
        Bundle::from_bytes("b.clipn", changed)
    };
    let error = renamed("\"fit.bank\"", "\"fit.tank\"").unwrap_err();
    assert!(matches!(error, BundleError::Corrupt { .. }), "{error}");
    assert!(
        error.to_string().contains("values of the bank, got 0"),
        "{error}"
    );
}

#[test]
fn unusable_images_are_errors_and_not_added() {
    let classifier = classifier(4);
    let set = [FittedScore::Knn].into_iter().collect();
    let mut fitter = ClassifierFitter::new(&classifier, set, FitSettings::default()).unwrap();
    fitter.add(&[1.0, 0.0, 0.0, 0.0], None).unwrap();
    let error = fitter.add(&[f32::NAN, 0.0, 0.0, 0.0], None).unwrap_err();
    let is_second = matches!(
        error,
        FittingError::Item {
            index: 1,
            source: ItemError::InvalidRow { .. }
        }
    );
    assert!(is_second, "{error:?}");
    // Other dimensions, whose total would be right, and a label out of range.
    for row in [&[1.0, 0.0, 0.0][..], &[0.0, 1.0, 0.0, 0.0, 1.0]] {
        let error = fitter.add(row, None).unwrap_err();
        assert!(matches!(error, FittingError::Classifier(_)), "{error:?}");
    }
    let error = fitter.add(&[1.0; 4], Some(3)).unwrap_err();
    assert!(matches!(error, FittingError::Fit(_)), "{error:?}");
    assert_eq!(fitter.images(), 1);
    fitter.add(&[0.0, 1.0, 0.0, 0.0], Some(2)).unwrap();
    assert_eq!(fitter.finish().unwrap().fit.summary().images, 2);
    let fitter = ClassifierFitter::new(&classifier, set, FitSettings::default()).unwrap();
    assert!(
        fitter
            .finish()
            .unwrap_err()
            .to_string()
            .contains("at least one image")
    );
}

#[test]
fn the_hash_of_a_classifier_has_the_settings_of_its_fit() {
    let hash = |settings: &str| {
        let classifier = classifier(4);
        let set = [FittedScore::Knn].into_iter().collect();
        let mut fitter =
            ClassifierFitter::new(&classifier, set, settings.parse().unwrap()).unwrap();
        for row in rows(40, 4, 1).chunks_exact(4) {
            fitter.add(row, None).unwrap();
        }
        let fit = round_bank(fitter.finish().unwrap().fit, &classifier).unwrap();
        classifier.with_fit(fit).unwrap().hash()
    };
    assert_eq!(hash("knn-k=5"), hash("knn-k=5"));
    assert_ne!(hash("knn-k=5"), hash("knn-k=9"));
}
