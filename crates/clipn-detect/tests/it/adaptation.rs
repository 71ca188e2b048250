//! Scores that learn from the stream of images, over the texts of a classifier.

use clipn_base::random::{RandomSource, Xoshiro256};
use clipn_detect::adaptation::{AdaptationError, AdaptiveMethod, AdaptiveScorer, StreamPosition};
use clipn_detect::classifier::Classifier;
use clipn_detect::negatives::choice::Grouping;
use clipn_detect::negatives::{Negatives, NegativesOrigin, TemplateJoin};
use clipn_model::FeatureMatrix;
use clipn_ood::streams::{AdaNeg, AdaNegSettings, Tanl, TanlSettings};

const DIM: usize = 16;
const CLASSES: usize = 3;
const WORDS: usize = 20;

fn rows(seed: u64, count: usize) -> Vec<f32> {
    let mut random = Xoshiro256::new(seed);
    let values = (0..count * DIM).map(|_| random.normal() as f32).collect();
    let mut rows = FeatureMatrix::new(values, DIM);
    rows.normalize();
    rows.values().to_vec()
}

fn negatives(seed: u64) -> Negatives {
    let words = (0..WORDS).map(|i| format!("word {i}")).collect();
    let origin = NegativesOrigin::user_list(vec![], TemplateJoin::default(), Grouping::default());
    Negatives::new(words, &rows(seed, WORDS), vec![7, 14, WORDS], origin).unwrap()
}

fn classifier(seed: u64) -> Classifier {
    let names = (0..CLASSES).map(|i| format!("class {i}")).collect();
    let classifier = Classifier::new(names, rows(1, CLASSES), None).unwrap();
    classifier.with_negatives(negatives(seed)).unwrap()
}

/// Images near texts, so that the memories fill.
fn images(count: usize) -> Vec<f32> {
    let texts = [rows(1, CLASSES), negatives(2).rows().to_vec()].concat();
    let mut random = Xoshiro256::new(9);
    let mut values = Vec::new();
    for _ in 0..count {
        let text = random.below((CLASSES + WORDS) as u64) as usize;
        let text = &texts[text * DIM..][..DIM];
        values.extend(text.iter().map(|v| v + 0.08 * random.normal() as f32));
    }
    let mut features = FeatureMatrix::new(values, DIM);
    features.normalize();
    features.values().to_vec()
}

fn adaneg(seed: u64) -> AdaptiveScorer {
    AdaptiveScorer::adaneg(&classifier(seed), AdaNegSettings::default()).unwrap()
}

fn tanl() -> AdaptiveScorer {
    let noise = FeatureMatrix::new(rows(3, 15), DIM);
    AdaptiveScorer::tanl(&classifier(2), &negatives(2), &noise, tanl_settings()).unwrap()
}

fn tanl_settings() -> TanlSettings {
    let mut settings = TanlSettings::default();
    (settings.words, settings.queue) = (8, 12);
    settings
}

fn wide(values: &[f32]) -> Vec<f64> {
    values.iter().map(|value| f64::from(*value)).collect()
}

#[test]
fn scores_are_those_of_plain_products() {
    let images = images(60);
    let negatives = negatives(2);
    let texts = wide(&[rows(1, CLASSES), negatives.rows().to_vec()].concat());
    let ends = negatives.group_ends();
    let settings = AdaNegSettings::default();
    let mut plain = AdaNeg::new(&texts, CLASSES, ends, 100.0, DIM, settings).unwrap();
    let mut scorer = adaneg(2);
    for batch in images.chunks(20 * DIM) {
        let expected = plain.batch(&wide(batch)).unwrap();
        for (actual, expected) in scorer.batch(batch).unwrap().iter().zip(&expected) {
            assert!((actual.score - expected.score).abs() < 1e-4);
            assert!((actual.fixed - expected.fixed).abs() < 1e-4);
            assert_eq!(actual.class, expected.class);
        }
    }
    assert_eq!((scorer.images(), scorer.remembered()), (60, plain.images()));
    assert!(plain.images() > 20, "{}", plain.images());

    let product = |images: &[f32]| -> Vec<f64> {
        let images = images.chunks_exact(DIM);
        let row = |image: &[f32]| -> Vec<f64> {
            let texts = texts.chunks_exact(DIM);
            let dot = |text: &[f64]| -> f64 {
                let pairs = text.iter().zip(image);
                pairs.map(|(t, v)| t * f64::from(*v)).sum()
            };
            texts.map(|text| 100.0 * dot(text)).collect()
        };
        images.flat_map(row).collect()
    };
    let (classes, noise) = (product(&rows(1, CLASSES)), product(&rows(3, 15)));
    let mut plain = Tanl::<f64>::new(&classes, &noise, CLASSES, WORDS, tanl_settings()).unwrap();
    let mut scorer = tanl();
    for batch in images.chunks(20 * DIM) {
        let expected = plain.batch(&product(batch)).unwrap();
        for (actual, expected) in scorer.batch(batch).unwrap().iter().zip(&expected) {
            assert!((actual.score - expected.score).abs() < 1e-4);
            assert_eq!(actual.class, expected.class);
        }
        assert_eq!(Some(scorer.threshold()), plain.threshold());
    }
}

#[test]
fn a_reset_scorer_begins_again() {
    let images = images(60);
    for mut scorer in [adaneg(2), tanl()] {
        let first = scorer.batch(&images).unwrap();
        assert_ne!(scorer.batch(&images).unwrap(), first, "{scorer:?}");
        scorer.reset().unwrap();
        assert_eq!(scorer.images(), 0);
        assert_eq!(scorer.batch(&images).unwrap(), first);
    }
}

#[test]
fn a_memory_is_stored_and_continued() {
    let directory = tempfile::tempdir().unwrap();
    let images = images(60);
    let (first, rest) = images.split_at(30 * DIM);
    for (new, name) in [
        (&(|| adaneg(2)) as &dyn Fn() -> AdaptiveScorer, "a"),
        (&tanl, "t"),
    ] {
        let path = directory.path().join(name);
        let mut scorer = new();
        scorer.batch(first).unwrap();
        scorer.save(&path, 7).unwrap();
        let mut loaded = new();
        assert_eq!(loaded.load(&path).unwrap(), StreamPosition::from(7));
        let named = StreamPosition::from(8).with_stream("rows.jsonl".to_owned());
        scorer.save(&path, named.clone()).unwrap();
        assert_eq!(loaded.load(&path).unwrap(), named);
        assert_eq!(loaded.images(), 30);
        assert_eq!(loaded.remembered(), scorer.remembered());
        assert_eq!(loaded.batch(rest).unwrap(), scorer.batch(rest).unwrap());
    }
}

#[test]
fn a_memory_of_another_stream_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("memory");
    let mut scorer = adaneg(2);
    scorer.batch(&images(60)).unwrap();
    scorer.save(&path, 7).unwrap();
    let reason = |mut other: AdaptiveScorer| {
        let error = other.load(&path).unwrap_err();
        assert_eq!(
            (
                other.images(),
                matches!(error, AdaptationError::OtherStream { .. })
            ),
            (0, true)
        );
        error
            .to_string()
            .replace(&path.display().to_string(), "FILE")
    };
    assert_eq!(
        reason(adaneg(5)),
        "FILE is the memory of other classes, words or settings"
    );
    assert_eq!(reason(tanl()), "FILE is the memory of adaneg, not tanl");

    std::fs::write(&path, "gravel\nfog\na brick wall\n").unwrap();
    let error = adaneg(2).load(&path).unwrap_err();
    assert!(
        matches!(error, AdaptationError::NotMemory { .. }),
        "{error}"
    );
    negatives(2).save(&path).unwrap();
    let error = adaneg(2).load(&path).unwrap_err();
    assert!(
        matches!(error, AdaptationError::NotMemory { .. }),
        "{error}"
    );
}

#[test]
fn a_damaged_memory_is_an_error_and_changes_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("memory");
    let mut scorer = tanl();
    scorer.batch(&images(60)).unwrap();
    scorer.save(&path, 7).unwrap();
    let whole = std::fs::read(&path).unwrap();
    for length in (0..whole.len()).step_by(whole.len() / 40) {
        std::fs::write(&path, &whole[..length]).unwrap();
        let mut other = tanl();
        let queues = other.remembered();
        assert!(other.load(&path).is_err(), "{length}");
        assert_eq!((other.images(), other.remembered()), (0, queues));
    }
}

#[test]
fn a_memory_with_any_changed_bytes_is_loaded_or_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("memory");
    let images = images(60);
    let mut random = Xoshiro256::new(11);
    for new in [&(|| adaneg(2)) as &dyn Fn() -> AdaptiveScorer, &tanl] {
        let mut scorer = new();
        scorer.batch(&images).unwrap();
        scorer.save(&path, 60).unwrap();
        let whole = std::fs::read(&path).unwrap();
        let mut refused = 0;
        for _ in 0..300 {
            let mut bytes = whole.clone();
            for _ in 0..=random.below(3) {
                let at = random.below(bytes.len() as u64) as usize;
                bytes[at] ^= 1 << random.below(8);
            }
            std::fs::write(&path, bytes).unwrap();
            let mut other = new();
            match other.load(&path) {
                // Values may have changed, but what is remembered can be used.
                Ok(_) => assert_eq!(other.batch(&images).unwrap().len(), 60),
                Err(_) => {
                    refused += 1;
                    assert_eq!(other.images(), 0);
                }
            }
        }
        assert!(refused > 10, "{refused}");
    }
}

#[test]
fn what_a_method_needs_is_named() {
    let names = vec!["a".to_owned()];
    let plain: Classifier = Classifier::new(names, rows(1, 1), None).unwrap();
    let error = AdaptiveScorer::adaneg(&plain, AdaNegSettings::default()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "adaneg needs negatives, and the classifier has none"
    );
    let noise = FeatureMatrix::new(vec![0.0; 30], 2);
    let error = AdaptiveScorer::tanl(&plain, &negatives(2), &noise, TanlSettings::default());
    assert_eq!(
        error.unwrap_err().to_string(),
        "expected features of noise of dimension 16, got 2"
    );
    assert!(tanl().batch(&[0.0; DIM + 1]).is_err());
    for method in AdaptiveMethod::ALL {
        assert_eq!(
            method.to_string().parse::<AdaptiveMethod>().unwrap(),
            method
        );
    }
    let error = "oodd".parse::<AdaptiveMethod>().unwrap_err();
    assert_eq!(
        error.to_string(),
        "unknown method `oodd`: expected adaneg or tanl"
    );
}
