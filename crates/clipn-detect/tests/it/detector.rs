//! Bundles, and detectors created from them.

use std::path::{Path, PathBuf};

use clipn_checkpoint::Checkpoint;
use clipn_detect::bundle::{Bundle, BundleBuilder, BundleError, ModelIdentity};
use clipn_detect::classifier::{
    ClassPrompts, Classifier, ClassifierBuilder, ClassifierError, PromptVariant,
};
use clipn_detect::detector::{Detector, DetectorError};
use clipn_detect::negatives::{NegativeSource, NegativesBuilder};
use clipn_engine::TextEncoder;
use clipn_image::{Preprocessing, RgbImage};
use clipn_model::{LogitScale, ModelConfig, ModelWeights, Precision, PretrainedWeights, TextSide};
use clipn_ood::calibration::{Calibration, CalibrationSettings, calibrate};
use clipn_ood::scores::{
    Atd, DecisionRule, LogitsRow, MaxLogit, Msp, Score, agreement, predict, softmax_yes, stable,
};
use clipn_testing::fixture;
use clipn_text::prompts::TemplateSet;

const NAMES: [&str; 3] = ["school bus", "banana", "pizza"];

fn mini() -> ModelWeights {
    PretrainedWeights::mini().unwrap().weights(None).unwrap()
}

fn tiny() -> ModelWeights {
    let folder = fixture("models/clipn-tiny-realvocab");
    let config = ModelConfig::load(folder.join("clipn-tiny-realvocab.json")).unwrap();
    ModelWeights::new(
        config,
        Checkpoint::open(folder.join("model_fp16.safetensors")).unwrap(),
    )
    .unwrap()
}

fn prompts() -> ClassPrompts {
    let templates = TemplateSet::built_in("simple").unwrap();
    ClassPrompts::new(templates, PromptVariant::Learnable)
}

fn classifier(weights: &ModelWeights, names: &[&str]) -> Classifier {
    ClassifierBuilder::new(names.iter().copied())
        .with_prompts(prompts())
        .with_logit_scale(LogitScale::Trained)
        .build(weights)
        .unwrap()
}

fn bundle(weights: &ModelWeights, source: Option<&str>) -> Bundle {
    Bundle::new(
        classifier(weights, &NAMES),
        prompts(),
        ModelIdentity::from_weights(weights, source.map(str::to_owned)),
        Preprocessing::clip(weights.config().vision.image_size),
    )
}

#[test]
fn a_bundle_keeps_the_factor_of_the_no_logits() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.clipn");
    let weights = mini();
    let version = |path: &Path| {
        let checkpoint = Checkpoint::open(path).unwrap();
        let json: serde_json::Value =
            serde_json::from_str(checkpoint.metadata().get("bundle").unwrap()).unwrap();
        json["version"].as_u64().unwrap()
    };
    for (factor, expected) in [(1.0, 1), (2.5, 6)] {
        let classifier = classifier(&weights, &NAMES).with_no_scale(factor);
        let bundle = Bundle::new(
            classifier.clone(),
            prompts(),
            ModelIdentity::from_weights(&weights, None),
            Preprocessing::clip(weights.config().vision.image_size),
        );
        bundle.write(&path).unwrap();
        assert_eq!(version(&path), expected);
        let read = Bundle::open(&path).unwrap();
        assert_eq!(read.classifier(), &classifier);
        let fewer = classifier.without_classes(&["pizza".to_owned()]).unwrap();
        assert_eq!(fewer.no_scale(), factor);
        let other = self::classifier(&weights, &["teapot"]);
        assert_eq!(classifier.concat(&other).unwrap().no_scale(), factor);
    }
}

/// Creates an image of one color with some texture.
fn test_image(seed: u32) -> RgbImage {
    let pixel = |at: u32| ((at / 5 * (seed + 3) + seed * 70) % 256) as u8;
    RgbImage::new(70, 50, (0..70 * 50 * 3).map(pixel).collect()).unwrap()
}

fn calibration(detector: &Detector) -> Calibration {
    let scores: Vec<f64> = (0..40)
        .map(|seed| detector.detect(&test_image(seed)).unwrap().score.ln())
        .collect();
    calibrate(
        &scores,
        &[],
        &CalibrationSettings::default().with_target_tpr(0.9),
    )
    .unwrap()
    .with_description("drawn ones")
}

fn written(folder: &Path, bundle: &Bundle) -> PathBuf {
    let path = folder.join("shop.clipn");
    bundle.write(&path).unwrap();
    path
}

#[test]
fn bundles_round_trip_bit_for_bit() {
    let folder = tempfile::tempdir().unwrap();
    let weights = mini();
    let plain = bundle(&weights, Some("clipn-mini"));
    let detector = Detector::new(plain.clone(), &weights).unwrap();
    let calibrated = plain.with_calibration(calibration(&detector));
    for bundle in [
        calibrated.clone(),
        calibrated.with_image_tower(&weights).unwrap(),
    ] {
        let path = written(folder.path(), &bundle);
        let read = Bundle::open(&path).unwrap();
        assert_eq!(read.classifier(), bundle.classifier());
        assert_eq!(read.calibration(), bundle.calibration());
        assert_eq!(read.identity(), bundle.identity());
        assert_eq!(read.prompts(), bundle.prompts());
        assert_eq!(read.preprocessing(), bundle.preprocessing());
        assert_eq!(read.has_image_tower(), bundle.has_image_tower());
        // A bundle read from a file can be written again, with its tower.
        let again = folder.path().join("again.clipn");
        read.write(&again).unwrap();
        assert_eq!(
            std::fs::read(&again).unwrap(),
            std::fs::read(&path).unwrap()
        );
    }
}

#[test]
fn bundles_keep_negatives_and_a_missing_no() {
    let folder = tempfile::tempdir().unwrap();
    let weights = mini();
    let whole = bundle(&weights, None);
    let classes = whole.classifier().clone();
    let tower = TextEncoder::from_weights(&weights, TextSide::Yes);
    let negatives = NegativesBuilder::new(&NegativeSource::list("goldfish, teapot, sofa"))
        .with_list_templates(prompts().templates().yes().to_vec())
        .build(classes.yes_weights(), &tower)
        .unwrap()
        .negatives;
    let plain = Classifier::new(
        classes.class_names().to_vec(),
        classes.yes_weights().to_vec(),
        None,
    )
    .unwrap();
    for classifier in [
        classes.clone().with_negatives(negatives.clone()).unwrap(),
        plain.clone().with_negatives(negatives).unwrap(),
        plain,
    ] {
        let path = written(
            folder.path(),
            &whole.clone().with_classifier(classifier.clone()).unwrap(),
        );
        assert_eq!(Bundle::open(&path).unwrap().classifier(), &classifier);
    }
    // Version 1 stored a copy of the "yes" rows for a plain CLIP.
    let copied = Classifier::new(
        classes.class_names().to_vec(),
        classes.yes_weights().to_vec(),
        classes.yes_weights().to_vec(),
    )
    .unwrap();
    let path = written(folder.path(), &whole.with_classifier(copied).unwrap());
    assert!(!Bundle::open(&path).unwrap().classifier().has_no());
}

#[test]
fn a_detector_equals_its_parts() {
    let folder = tempfile::tempdir().unwrap();
    let weights = mini();
    let plain = bundle(&weights, Some("clipn-mini"));
    let detector = Detector::new(plain.clone(), &weights).unwrap();
    let calibrated = plain.with_calibration(calibration(&detector));
    let path = written(
        folder.path(),
        &calibrated.with_image_tower(&weights).unwrap(),
    );
    // No weights are needed if the bundle contains the tower.
    let detector = Detector::open(&path).unwrap().with_top_k(2);
    let classifier = detector.classifier().clone();
    let (mut known, mut unknown) = (0, 0);
    for seed in 0..60 {
        let image = test_image(seed);
        let found = detector.detect(&image).unwrap();
        let mut pixels = vec![0.0; detector.preprocessing().tensor_len()];
        let crop = detector.preprocessing().crop(&image).unwrap();
        detector
            .preprocessing()
            .normalize_into(&crop, &mut pixels)
            .unwrap();
        let size = detector.preprocessing().size;
        let images = clipn_model::ImageBatch::new(&pixels, size, size).unwrap();
        let mut features = detector.tower().encode(images).unwrap();
        features.normalize();
        let logits = classifier.logits(&features).unwrap();
        let row: LogitsRow<'_, f32> = logits.rows().next().unwrap();
        assert_eq!(found, detector.decide(row).unwrap());
        let (p, q) = (softmax_yes(row), agreement(row));
        let best = predict(row);
        assert_eq!(
            (
                found.top.len(),
                found.top[0].class,
                found.top[0].probability
            ),
            (2, best, p[best])
        );
        assert_eq!(found.top[0].agreement, Some(q[best]));
        let calibration = detector.calibration().unwrap();
        assert_eq!(found.p_value, Some(calibration.p_value(stable(&Atd, row))));
        let no = found.strongest_no.as_ref().unwrap();
        let contributions: Vec<f32> = p.iter().zip(&q).map(|(p, q)| p * (1.0 - q)).collect();
        assert_eq!(
            no.contribution,
            contributions.iter().copied().fold(0.0, f32::max)
        );
        assert_eq!(no.label, NAMES[no.class]);
        assert_eq!(
            found.class.is_some(),
            stable(&Atd, row) >= calibration.threshold()
        );
        if let Some(class) = found.class {
            known += 1;
            assert_eq!((class, found.label.as_deref()), (best, Some(NAMES[best])));
            assert!(
                found.reason.contains("is at least") && found.reason.contains("keep 90%"),
                "{}",
                found.reason
            );
        } else {
            unknown += 1;
            assert_eq!(found.label_or_unknown(), "unknown");
            assert!(
                found.reason.contains("is below") && found.reason.contains("p-value"),
                "{}",
                found.reason
            );
            assert!(
                found.reason.contains(&format!(
                    "largest contribution to rejection: `{}`",
                    no.label
                )),
                "{}",
                found.reason
            );
        }
    }
    // The threshold is the fourth lowest score of the calibration, whose image is on either side of it:
    // the calibration has its score rounded to f32.
    assert!(known > 30 && unknown >= 3, "{known} {unknown}");
}

#[test]
fn classifies_files_and_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let weights = mini();
    let detector = Detector::new(bundle(&weights, None), &weights).unwrap();
    let path = folder.path().join("a.bmp");
    std::fs::write(&path, bmp()).unwrap();
    let found = detector.detect_file(&path).unwrap();
    assert_eq!(found, detector.detect_bytes(&bmp()).unwrap());
    assert!(matches!(
        detector.detect_bytes(b"not an image"),
        Err(DetectorError::Image(_))
    ));
    assert!(matches!(
        detector.detect_file("absent.png"),
        Err(DetectorError::Image(_))
    ));
    assert!(found.reason.contains("none of these"), "{}", found.reason);
}

/// A BMP of 4 × 4 pixels, 24 bits each.
fn bmp() -> Vec<u8> {
    let mut bytes = b"BM".to_vec();
    for number in [
        54_u32 + 48,
        0,
        54,
        40,
        4,
        4,
        1 | 24 << 16,
        0,
        48,
        2835,
        2835,
        0,
        0,
    ] {
        bytes.extend(number.to_le_bytes());
    }
    bytes.extend((0..48).map(|i| i * 5));
    bytes
}

#[test]
fn rejects_another_model() {
    let weights = mini();
    let bundle = bundle(&weights, None);
    let error = Detector::new(bundle.clone(), &tiny())
        .unwrap_err()
        .to_string();
    assert!(error.contains("does not match the bundle"), "{error}");
    // The same architecture with different weights.
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("other.safetensors");
    let changed = PretrainedWeights::mini().unwrap();
    let tensors = changed.checkpoint().iter().map(|(name, tensor)| {
        let tensor = if name == "visual.proj" {
            let mut bytes = tensor.bytes().to_vec();
            bytes[1] ^= 1;
            clipn_checkpoint::Tensor::from_bytes(tensor.dtype(), tensor.shape(), bytes).unwrap()
        } else {
            tensor.clone()
        };
        (name.to_owned(), tensor)
    });
    let metadata = changed
        .checkpoint()
        .metadata()
        .iter()
        .map(|(k, v)| (k.to_owned(), v.to_owned()))
        .collect();
    clipn_checkpoint::write_safetensors(&path, tensors, &metadata).unwrap();
    let other = PretrainedWeights::open(&path)
        .unwrap()
        .weights(None)
        .unwrap();
    let error = Detector::new(bundle.clone(), &other).unwrap_err();
    assert!(
        matches!(
            &error,
            DetectorError::Bundle(BundleError::ModelMismatch { .. })
        ),
        "{error}"
    );
    assert!(
        error.to_string().contains("different image tower weights"),
        "{error}"
    );
    assert!(bundle.check_text_towers(&weights).is_ok());
    assert_ne!(weights.image_tower_hash(), other.image_tower_hash());
    assert_eq!(weights.text_towers_hash(), other.text_towers_hash());
}

#[test]
fn finds_the_model_at_the_named_path_or_beside_the_bundle() {
    let folder = tempfile::tempdir().unwrap();
    let weights = tiny();
    let file = fixture("models/clipn-tiny-realvocab/model_fp16.safetensors");
    let path = written(
        folder.path(),
        &bundle(&weights, Some("/gone/model_fp16.safetensors")),
    );
    let error = Detector::open(&path).unwrap_err();
    assert!(
        matches!(&error, DetectorError::ModelNotFound { .. }),
        "{error}"
    );
    assert!(
        error
            .to_string()
            .contains("/gone/model_fp16.safetensors does not exist"),
        "{error}"
    );
    std::fs::copy(&file, folder.path().join("model_fp16.safetensors")).unwrap();
    assert_eq!(
        Bundle::open(&path).unwrap().find_weights(&path),
        Some(folder.path().join("model_fp16.safetensors"))
    );
    assert_eq!(Detector::open(&path).unwrap().classifier().len(), 3);
    let path = written(folder.path(), &bundle(&weights, file.to_str()));
    assert!(Detector::open(&path).is_ok());
    let path = written(folder.path(), &bundle(&mini(), Some("clipn-mini")));
    assert!(Detector::open(&path).is_ok());
}

#[test]
fn adds_and_removes_classes() {
    let weights = mini();
    let whole = classifier(&weights, &["school bus", "banana", "pizza", "teapot"]);
    let joined = classifier(&weights, &NAMES)
        .concat(&classifier(&weights, &["teapot"]))
        .unwrap();
    let close = |a: &[f32], b: &[f32]| a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-6);
    assert_eq!(joined.class_names(), whole.class_names());
    assert!(
        close(joined.yes_weights(), whole.yes_weights())
            && close(joined.no_weights().unwrap(), whole.no_weights().unwrap())
    );
    let remaining = joined
        .without_classes(&["banana".to_owned(), "teapot".to_owned()])
        .unwrap();
    assert_eq!(remaining.class_names(), ["school bus", "pizza"]);
    assert_eq!(
        &remaining.yes_weights()[remaining.dim()..],
        &joined.yes_weights()[2 * remaining.dim()..3 * remaining.dim()]
    );
    assert_eq!(remaining.scale(), joined.scale());
    assert!(
        joined
            .without_classes(&["lamp".to_owned()])
            .unwrap_err()
            .to_string()
            .contains("unknown class `lamp`")
    );
    assert!(
        remaining
            .without_classes(&["school bus".to_owned(), "pizza".to_owned()])
            .is_err()
    );
    assert!(
        remaining
            .concat(&remaining)
            .unwrap_err()
            .to_string()
            .contains("duplicate class name `school bus`")
    );
    assert!(remaining.concat(&classifier(&tiny(), &["lamp"])).is_err());

    // A threshold is removed with the classes that it was calibrated with.
    let bundle = bundle(&weights, None);
    let detector = Detector::new(bundle.clone(), &weights).unwrap();
    let other_model = bundle
        .clone()
        .with_classifier(classifier(&tiny(), &["lamp"]));
    assert!(
        matches!(
            other_model,
            Err(BundleError::Classifier(
                ClassifierError::FeatureDimension { .. }
            ))
        ),
        "{other_model:?}"
    );
    let calibrated = bundle.with_calibration(calibration(&detector));
    assert!(
        calibrated
            .clone()
            .with_classifier(joined.clone())
            .unwrap()
            .calibration()
            .is_none()
    );
    let detector = Detector::new(calibrated, &weights).unwrap();
    assert!(detector.calibration().is_some());
    let other = detector.with_classifier(joined).unwrap();
    assert!(other.calibration().is_none() && other.rule() == DecisionRule::AtdExtraClass);
    let changed = detector
        .with_rule(DecisionRule::Ctw { threshold: 0.5 })
        .unwrap();
    assert!(
        changed.calibration().is_none()
            && changed.detect(&test_image(1)).unwrap().p_value.is_none()
    );
}

#[test]
fn other_classes_keep_a_rule_that_was_set() {
    let weights = mini();
    let detector = Detector::new(bundle(&weights, None), &weights).unwrap();
    let one = classifier(&weights, &["teapot"]);
    // The largest probability of one class says nothing.
    assert!(one.score_inputs().check(&Msp).is_err());
    let rule = |rule| {
        let detector = detector.clone().with_rule(rule).unwrap();
        let other = detector.with_classifier(one.clone());
        other.map(|detector| detector.rule())
    };
    let accepts = DecisionRule::AcceptAll { score: &MaxLogit };
    assert_eq!(rule(accepts).unwrap(), accepts);
    assert_eq!(
        rule(DecisionRule::AcceptAll { score: &Msp }).unwrap(),
        accepts
    );
    let threshold = DecisionRule::Threshold {
        score: &Msp,
        threshold: 0.1,
    };
    let error = rule(threshold).unwrap_err();
    assert!(matches!(error, DetectorError::Score(_)), "{error}");
}

#[test]
fn rejects_damaged_bundles() {
    let folder = tempfile::tempdir().unwrap();
    let weights = mini();
    let whole = bundle(&weights, None);
    let detector = Detector::new(whole.clone(), &weights).unwrap();
    let path = written(
        folder.path(),
        &whole.with_calibration(calibration(&detector)),
    );
    let bytes = std::fs::read(&path).unwrap();
    // Truncated at many positions, and with each byte of the header changed.
    for end in (0..bytes.len()).step_by(97) {
        assert!(
            Bundle::from_bytes(Path::new("truncated"), bytes[..end].to_vec()).is_err(),
            "{end}"
        );
    }
    let header = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    for at in 8..8 + header {
        let mut changed = bytes.clone();
        changed[at] = changed[at].wrapping_add(1);
        // It may still be a valid bundle, for example of another class name; it must not panic.
        let _ = Bundle::from_bytes(Path::new("changed"), changed);
    }
    let check_error = |from: &str, to: &str, part: &str| {
        let header_text = String::from_utf8(bytes[8..8 + header].to_vec()).unwrap();
        assert!(header_text.contains(from), "{from} is not in {header_text}");
        let mut text = header_text.replacen(from, to, 1);
        text.extend(std::iter::repeat_n(
            ' ',
            text.len().next_multiple_of(8) - text.len(),
        ));
        let mut changed = (text.len() as u64).to_le_bytes().to_vec();
        changed.extend(text.bytes().chain(bytes[8 + header..].iter().copied()));
        let error = Bundle::from_bytes(Path::new("x"), changed)
            .unwrap_err()
            .to_string();
        assert!(error.contains(part), "{from} → {to}: {error}");
    };
    check_error(r#"\"version\":6"#, r#"\"version\":7"#, "expected 6, got 7");
    check_error(r#"\"school bus\","#, "", "for classifier.yes, got");
    check_error(
        r#""classifier.no""#,
        r#""classifier.on""#,
        "classifier.no is missing",
    );
    check_error(
        r#""classifier.no_scale""#,
        r#""classifier.on_scale""#,
        "classifier.no_scale is missing",
    );
    check_error(
        r#""calibration.scores""#,
        r#""calibration.other""#,
        "calibration.scores is missing",
    );
    check_error(
        r#"\"target_tpr\":0.9"#,
        r#"\"target_tpr\":1.9"#,
        "between 0 and 1",
    );
    check_error(
        r#"\"score\":\"atd\""#,
        r#"\"score\":\"dta\""#,
        "unknown score",
    );
    check_error(
        r#"\"embed_dim\":128"#,
        r#"\"embed_dim\":127"#,
        "for classifier.yes, got",
    );
    check_error(r#"\"std\":[0."#, r#"\"std\":[-0."#, "setting std");
    let error = |path: &Path| Bundle::open(path).unwrap_err();
    assert!(matches!(
        error(&folder.path().join("none.clipn")),
        BundleError::NotFound { .. }
    ));
    assert!(matches!(
        error(&fixture(
            "models/clipn-tiny-realvocab/model_fp16.safetensors"
        )),
        BundleError::NotABundle { .. }
    ));
    std::fs::write(folder.path().join("text.clipn"), "school bus\nbanana\n").unwrap();
    assert!(matches!(
        error(&folder.path().join("text.clipn")),
        BundleError::NotABundle { .. }
    ));
    assert!(matches!(
        error(folder.path()),
        BundleError::NotABundle { .. }
    ));
}

#[test]
fn a_bundle_in_memory_makes_a_detector() {
    let weights = mini();
    let without = bundle(&weights, Some("clipn-mini"));
    let error = Detector::from_bundle(without.clone()).unwrap_err();
    assert!(matches!(error, DetectorError::NoImageTower), "{error}");
    assert_eq!(error.to_string(), "the bundle has no image tower");
    assert!(error.hint().unwrap().contains("Detector::new"));

    let expected = Detector::new(without.clone(), &weights).unwrap();
    let with = without.with_image_tower(&weights).unwrap();
    let found = Detector::from_bundle(with).unwrap();
    let image = test_image(3);
    assert_eq!(
        found.detect(&image).unwrap(),
        expected.detect(&image).unwrap()
    );
}

#[test]
fn the_builder_combines_classifier_and_model() {
    let pretrained = PretrainedWeights::mini().unwrap();
    let weights = mini();
    let classes = ClassifierBuilder::new(NAMES).with_prompts(prompts());
    let built = BundleBuilder::new(classes)
        .with_image_tower(true)
        .build(&pretrained)
        .unwrap();
    assert!(built.has_image_tower());
    assert_eq!(built.prompts(), &prompts());
    // The metadata of the weights names the trained scale.
    assert_eq!(built.classifier(), &classifier(&weights, &NAMES));
    assert_eq!(built.identity().source.as_deref(), Some("clipn-mini"));
    built.check_text_towers(&weights).unwrap();

    let plain = Bundle::build(NAMES, &pretrained).unwrap();
    assert!(!plain.has_image_tower());
    assert_eq!(
        Some(plain.templates().name()),
        pretrained.metadata().templates.as_deref()
    );
    assert_eq!(plain.preprocessing(), built.preprocessing());
}

#[test]
fn each_image_of_a_batch_has_its_own_classes() {
    let weights = mini();
    let own = Detector::new(bundle(&weights, None), &weights).unwrap();
    let other = own
        .with_classifier(classifier(&weights, &["teapot", "pizza"]))
        .unwrap()
        .with_top_k(1);
    let mut pixels = Vec::new();
    for seed in 0..3 {
        let mut tensor = vec![0.0; own.preprocessing().tensor_len()];
        let crop = own.preprocessing().crop(&test_image(seed)).unwrap();
        own.preprocessing()
            .normalize_into(&crop, &mut tensor)
            .unwrap();
        pixels.extend(tensor);
    }
    let found = own
        .detect_pixels_each(&pixels, &[&own, &other, &own])
        .unwrap();
    let all_own = own.detect_pixels(&pixels).unwrap();
    let all_other = other.detect_pixels(&pixels).unwrap();
    assert_eq!(
        found,
        [&all_own[0], &all_other[1], &all_own[2]].map(Clone::clone)
    );
    assert_eq!(found[1].top.len(), 1);

    let error = own.detect_pixels_each(&pixels, &[&own]).unwrap_err();
    assert_eq!(error.to_string(), "expected 1 image, got 3");
}

#[test]
fn a_bundle_is_not_built_from_a_damaged_image_tower() {
    let open = |name: &str| {
        PretrainedWeights::open(fixture(&format!("cases/weights/{name}.safetensors"))).unwrap()
    };
    let classes = || BundleBuilder::new(ClassifierBuilder::new(["pizza", "goldfish"]));
    classes().build(&open("sound")).unwrap();
    for name in ["nan-image-tower", "inf-image-tower"] {
        let error = classes().build(&open(name)).unwrap_err();
        assert!(matches!(error, BundleError::DamagedImageTower), "{error}");
        assert!(error.hint().is_some());
    }
}

/// A score with the name of a built-in one.
#[derive(Debug)]
struct OwnMargin;

impl Score for OwnMargin {
    fn name(&self) -> &'static str {
        "margin"
    }
    fn display_name(&self) -> &'static str {
        "Own margin"
    }
    fn uses_no(&self) -> bool {
        false
    }
    fn faithful(&self, row: LogitsRow<'_, f32>) -> f32 {
        row.yes[0] - row.yes[1]
    }
    fn stable(&self, row: LogitsRow<'_, f64>) -> f64 {
        row.yes[0] - row.yes[1]
    }
    fn from_stable(&self, value: f64) -> f64 {
        value
    }
    fn to_stable(&self, value: f64) -> f64 {
        value
    }
}

/// A reader of the file does not have the score, and the built-in one of that name is another.
#[test]
fn a_bundle_with_a_score_of_the_callers_own_is_not_written() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("shop.clipn");
    let scores: Vec<f64> = (0..40).map(f64::from).collect();
    let settings = CalibrationSettings::default().with_score(&OwnMargin);
    let calibration = calibrate(&scores, &[], &settings).unwrap();
    let bundle = bundle(&mini(), None).with_calibration(calibration);
    let error = bundle.write(&path).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the calibration uses the score `margin`, which is not a built-in score"
    );
    assert!(error.hint().is_some() && !path.exists());
}

#[test]
fn bundles_record_and_use_their_precision() {
    let folder = tempfile::tempdir().unwrap();
    let pretrained = PretrainedWeights::mini().unwrap();
    let in_f32 = Bundle::build(NAMES, &pretrained).unwrap();
    let weights = mini().with_precision(Precision::Int8).unwrap();
    let identity = ModelIdentity::from_weights(&weights, None);
    assert_eq!(identity.precision, Precision::Int8);
    let int8 = Bundle::new(
        classifier(&weights, &NAMES),
        prompts(),
        identity,
        in_f32.preprocessing().clone(),
    );
    // Text towers in int8 give other rows, which caches keep apart.
    assert_ne!(weights.yes_tower_hash(), mini().yes_tower_hash());
    assert_ne!(int8.classifier(), in_f32.classifier());
    for bundle in [int8.clone(), int8.with_image_tower(&weights).unwrap()] {
        let path = written(folder.path(), &bundle);
        let read = Bundle::open(&path).unwrap();
        assert_eq!(read.identity(), bundle.identity());
        let detector = match read.has_image_tower() {
            true => Detector::from_bundle(read).unwrap(),
            // The precision of the bundle counts, not that of the weights.
            false => Detector::new(read, &mini()).unwrap(),
        };
        assert_eq!(detector.tower().precision(), Precision::Int8);
    }
    let changed = in_f32.clone().with_precision(Precision::Int8);
    let changed = Detector::new(changed, &mini()).unwrap();
    let plain = Detector::new(in_f32, &mini()).unwrap();
    assert!(!plain.has_tower_of(changed.bundle().unwrap()));
    let image = test_image(3);
    let [a, b] = [&changed, &plain].map(|detector| detector.detect(&image).unwrap());
    assert_ne!(a.score, b.score);
}

#[test]
fn a_bundle_that_could_not_be_read_again_is_not_written() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.clipn");
    let weights = mini();
    let own = classifier(&weights, &NAMES);
    let other = Classifier::new(vec!["a".to_owned()], vec![1.0, 0.0], None).unwrap();
    for unusable in [
        own.clone().with_scale(f64::INFINITY),
        own.clone().with_no_scale(0.0),
        own.with_no_scale(-1.0),
        other,
    ] {
        let bundle = Bundle::new(
            unusable,
            prompts(),
            ModelIdentity::from_weights(&weights, None),
            Preprocessing::clip(weights.config().vision.image_size),
        );
        let error = bundle.write(&path).unwrap_err();
        assert!(matches!(error, BundleError::Unreadable { .. }), "{error}");
        assert!(!path.exists());
    }
}

#[test]
fn a_calibration_that_the_classifier_cannot_apply_is_not_written() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.clipn");
    let weights = mini();
    let plain = bundle(&weights, None);
    let detector = Detector::new(plain.clone(), &weights).unwrap();
    let calibration = calibration(&detector);
    let names = NAMES.map(str::to_owned).to_vec();
    let yes = plain.classifier().yes_weights().to_vec();
    let without_no = Bundle::new(
        Classifier::new(names, yes, None).unwrap(),
        prompts(),
        plain.identity().clone(),
        plain.preprocessing().clone(),
    );
    let error = without_no
        .with_calibration(calibration)
        .write(&path)
        .unwrap_err();
    assert!(matches!(error, BundleError::Unreadable { .. }), "{error}");
    assert!(!path.exists());
}

#[test]
fn a_threshold_that_is_not_a_number_is_refused() {
    let weights = mini();
    let detector = Detector::new(bundle(&weights, None), &weights).unwrap();
    let threshold = f64::NAN;
    let score = &MaxLogit;
    for rule in [
        DecisionRule::Threshold { score, threshold },
        DecisionRule::Ctw { threshold },
    ] {
        let error = detector.clone().with_rule(rule).unwrap_err();
        let message = error.to_string();
        assert!(message.ends_with("is not a number"), "{message}");
    }
}
