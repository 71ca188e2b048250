//! AdaNeg and TANL against the figures of their authors' own code, OpenOOD-VLM, in f64
//! (`fixtures/scores/authors/adaneg.safetensors`, `tanl.safetensors`). The tolerance is 1e-9.

use clipn_ood::streams::{
    AdaNeg, AdaNegProxies, AdaNegSettings, StreamError, StreamScore, StreamTensor, Tanl,
    TanlSettings, activation_aware_score, two_class_threshold,
};
use safetensors::SafeTensors;

use crate::authors::{Rows, with_file};
use crate::tensors::{f64s, indices};

const CLASSES: usize = 12;
const DIM: usize = 64;

/// Name in the recording, images per batch, and what differs from the default settings.
type Case<S> = (&'static str, usize, fn(&mut S));

fn assert_near(what: &str, actual: &[f64], expected: &[f64]) {
    assert_eq!(actual.len(), expected.len(), "{what}");
    for (index, (actual, expected)) in actual.iter().zip(expected).enumerate() {
        assert!(
            (actual - expected).abs() <= 1e-9,
            "{what} {index}: expected {expected}, got {actual}"
        );
    }
}

fn check(file: &SafeTensors<'_>, name: &str, scores: &[StreamScore]) {
    let values: Vec<f64> = scores.iter().map(|s| s.score).collect();
    assert_near(name, &values, &f64s(file, &format!("{name}.score")));
    let classes: Vec<usize> = scores.iter().map(|s| s.class).collect();
    assert_eq!(
        classes,
        indices(file, &format!("{name}.predicted")),
        "{name}"
    );
}

/// The texts with the negatives in the order of their groups, and the images.
fn adaneg_inputs(file: &SafeTensors<'_>) -> (Vec<f64>, Vec<f64>) {
    let texts = Rows::f32s(file, "text.features").values;
    let row = |index: usize| texts[index * DIM..][..DIM].iter().copied();
    let perm = indices(file, "perm")
        .into_iter()
        .map(|index| CLASSES + index);
    let texts = (0..CLASSES).chain(perm).flat_map(row).collect();
    (texts, Rows::f32s(file, "image.features").values)
}

fn adaneg(texts: &[f64], settings: AdaNegSettings) -> AdaNeg {
    let group_ends = [40, 80, 120, 160, 200];
    AdaNeg::new(texts, CLASSES, &group_ends, 100.0, DIM, settings).unwrap()
}

fn run_adaneg(stream: &mut AdaNeg, images: &[f64], batch: usize) -> Vec<StreamScore> {
    let batches = images.chunks(batch * DIM);
    batches
        .flat_map(|images| stream.batch(images).unwrap())
        .collect()
}

#[test]
fn adaneg_agrees_with_the_authors_code() {
    with_file("adaneg", |file| {
        let (texts, images) = adaneg_inputs(file);
        let default = AdaNegSettings::default;
        let cases: [Case<AdaNegSettings>; 6] = [
            ("official", 30, |_| {}),
            ("sample_adaptive", 30, |settings| {
                settings.proxies = AdaNegProxies::SampleAdaptive { beta: 5.0 };
            }),
            ("small_memory", 30, |settings| settings.memory = 3),
            ("batch_1", 1, |_| {}),
            ("one_batch", 120, |_| {}),
            ("not_combined", 30, |settings| settings.is_combined = false),
        ];
        for (name, batch, change) in cases {
            let mut settings = default();
            change(&mut settings);
            let mut stream = adaneg(&texts, settings);
            let scores = run_adaneg(&mut stream, &images, batch);
            check(file, name, &scores);
            let fixed: Vec<f64> = scores.iter().map(|s| s.fixed).collect();
            assert_near("static", &fixed, &f64s(file, "static.score"));
            if let Ok(tensor) = file.tensor(&format!("{name}.used_slots")) {
                let used = tensor.data().chunks_exact(8);
                let used = used.map(|b| f64::from_le_bytes(b.try_into().unwrap()));
                let images: f64 = used.map(|slots| slots - 1.0).sum();
                assert_eq!(stream.images() as f64, images, "{name}");
                let limit = settings.memory - 1;
                assert!(stream.images_per_text().iter().all(|n| *n <= limit));
            }
        }
    });
}

#[test]
fn a_reset_stream_begins_again() {
    with_file("adaneg", |file| {
        let (texts, images) = adaneg_inputs(file);
        let mut stream = adaneg(&texts, AdaNegSettings::default());
        let first = run_adaneg(&mut stream, &images, 30);
        assert!(stream.images() > 0);
        assert_ne!(run_adaneg(&mut stream, &images, 30), first);
        stream.reset();
        assert_eq!(stream.images(), 0);
        assert_eq!(run_adaneg(&mut stream, &images, 30), first);
    });
}

#[test]
fn a_restored_stream_continues() {
    with_file("adaneg", |file| {
        let (texts, images) = adaneg_inputs(file);
        let mut stream = adaneg(&texts, AdaNegSettings::default());
        let (first, rest) = images.split_at(images.len() / 2);
        run_adaneg(&mut stream, first, 30);
        let state = stream.state();
        let mut restored = adaneg(&texts, AdaNegSettings::default());
        restored.restore(&state).unwrap();
        assert_eq!(restored.images_per_text(), stream.images_per_text());
        let expected = run_adaneg(&mut stream, rest, 30);
        assert_eq!(run_adaneg(&mut restored, rest, 30), expected);

        // A state that does not fit changes nothing.
        let untouched = restored.state();
        let mut short = state.clone();
        short[1] = StreamTensor::f32("adaneg.features", [1, DIM], vec![0.0; DIM]);
        let mut infinite = state.clone();
        infinite[2] = StreamTensor::f64("adaneg.entropies", vec![f64::NAN; stream.images()]);
        for wrong in [&state[1..], &short, &infinite] {
            let error = restored.restore(wrong).unwrap_err();
            assert!(matches!(error, StreamError::State { .. }), "{error}");
            assert_eq!(restored.state(), untouched);
        }
    });
}

#[test]
fn a_restored_tanl_continues() {
    let logits = |seed: f32| -> Vec<f32> {
        let value = |i: usize| ((i as f32 + seed) * 0.7).sin() * 3.0;
        (0..6 * 20).map(value).collect()
    };
    let mut settings = TanlSettings::default();
    (settings.words, settings.queue, settings.history) = (3, 4, 30);
    settings.queue_weight = 0.5;
    let new = || Tanl::<f32>::new(&logits(0.0)[..12], &logits(1.0)[..18], 2, 4, settings).unwrap();
    let mut stream = new();
    stream.batch(&logits(2.0)).unwrap();
    let mut restored = new();
    restored.restore(&stream.state()).unwrap();
    assert_eq!(restored.threshold(), stream.threshold());
    let expected = stream.batch(&logits(5.0)).unwrap();
    assert_eq!(restored.batch(&logits(5.0)).unwrap(), expected);
    assert_ne!(new().batch(&logits(5.0)).unwrap(), expected);
    assert_eq!(stream.max_bytes(), 2 * 4 * 4 * 4 + 30 * 8);

    let mut wrong = stream.state();
    wrong[2] = StreamTensor::f64("tanl.history", vec![0.5; 31]);
    let before = restored.state();
    assert!(restored.restore(&wrong).is_err());
    assert!(restored.restore(&wrong[1..]).is_err());
    assert_eq!(restored.state(), before);
}

#[test]
fn the_parts_of_tanl_agree_with_the_authors_code() {
    with_file("tanl", |file| {
        let scores = f64s(file, "threshold.input");
        let threshold = two_class_threshold(&scores);
        assert_near("threshold", &[threshold], &f64s(file, "threshold.output"));
        let logits = Rows::f64s(file, "aas.logits");
        for step in [0, 1, 2, 5] {
            let values: Vec<f64> = logits
                .iter()
                .map(|row| activation_aware_score(&row[..CLASSES], &row[CLASSES..], step))
                .collect();
            let name = format!("aas.step{step}");
            assert_near(&name, &values, &f64s(file, &name));
        }
    });
}

#[test]
fn tanl_agrees_with_the_authors_code() {
    with_file("tanl", |file| {
        let texts = Rows::f32s(file, "text.features.all");
        let logits = |name: &str| Rows::f32s(file, name).times(&texts, 100.0).values;
        let (images, noise) = (logits("image.features"), logits("noise.features"));
        let width = images.len() / 120;
        let classes = texts.times(&texts, 100.0).values[..CLASSES * width].to_vec();
        let cases: [Case<TanlSettings>; 7] = [
            ("official_gamma1", 30, |_| {}),
            ("official_gamma2", 30, |settings| settings.step = 2),
            ("plain_gamma0", 30, |settings| settings.step = 0),
            ("alpha_0.95", 30, |settings| settings.queue_weight = 0.95),
            ("alpha_1_no_batch", 30, |settings| {
                settings.queue_weight = 1.0;
            }),
            ("short_queue", 30, |settings| {
                settings.queue = 20;
                settings.seed = None;
            }),
            ("batch_1", 1, |_| {}),
        ];
        for (name, batch, change) in cases {
            let mut settings = TanlSettings::default();
            settings.words = 50;
            change(&mut settings);
            let words = width - CLASSES;
            let mut stream = Tanl::<f64>::new(&classes, &noise, CLASSES, words, settings).unwrap();
            let (mut scores, mut thresholds, mut lengths) = (Vec::new(), Vec::new(), Vec::new());
            for images in images.chunks(batch * width) {
                scores.extend(stream.batch(images).unwrap());
                thresholds.extend(stream.threshold());
                lengths.extend(stream.queue_lengths());
            }
            let expected = f64s(file, &format!("{name}.threshold_after_batch"));
            assert_near(name, &thresholds, &expected);
            assert_eq!(
                lengths,
                indices(file, &format!("{name}.queue_lengths")),
                "{name}"
            );
            check(file, name, &scores);
        }
    });
}

#[test]
fn wrong_input_is_an_error_and_changes_nothing() {
    let settings = AdaNegSettings::default();
    let texts = [1.0, 0.0, 0.0, 1.0, -1.0, 0.0];
    let mut stream = AdaNeg::new(&texts, 2, &[1], 100.0, 2, settings).unwrap();
    assert_eq!(
        stream.batch(&[1.0, 0.0, f64::NAN, 1.0]),
        Err(StreamError::NotFinite {
            what: "image features",
            row: 1
        })
    );
    assert_eq!(
        stream.batch(&[1.0]).unwrap_err().to_string(),
        "expected a multiple of 2 values of image features, got 1"
    );
    assert_eq!(stream.images(), 0);
    let groups = AdaNeg::new(&texts, 2, &[2], 100.0, 2, settings);
    assert_eq!(groups.unwrap_err(), StreamError::Groups { words: 1 });
    let mut wrong = settings;
    wrong.gap = 1.5;
    let error = AdaNeg::new(&texts, 2, &[1], 100.0, 2, wrong).unwrap_err();
    assert_eq!(error.to_string(), "setting gap: expected 0 to 1, got 1.5");
    let logits = [1.0, 2.0];
    let tanl = |queue| {
        let mut settings = TanlSettings::default();
        settings.queue = queue;
        Tanl::<f32>::new(&logits, &logits, 1, 1, settings)
    };
    assert!(tanl(0).is_err());
    let mut stream = tanl(2).unwrap();
    assert!(stream.batch(&[1.0, f32::INFINITY]).is_err());
    assert_eq!((stream.queue_lengths(), stream.threshold()), ([1, 1], None));
}

#[test]
fn settings_that_are_not_finite_are_refused() {
    let texts = [1.0, 0.0, 0.0, 1.0, -1.0, 0.0];
    let new = |scale, settings| AdaNeg::new(&texts, 2, &[1], scale, 2, settings).map(drop);
    let settings = AdaNegSettings::default;
    assert!(new(100.0, settings()).is_ok());
    assert!(new(f64::NAN, settings()).is_err());
    let mut weight = settings();
    weight.static_weight = f64::NAN;
    assert!(new(100.0, weight).is_err());
    let mut proxies = settings();
    proxies.proxies = AdaNegProxies::SampleAdaptive { beta: f64::NAN };
    assert!(new(100.0, proxies).is_err());
    assert!(activation_aware_score(&[], &[1.0], 1).is_nan());
}
