//! Cached image features.

use crate::common::text;
use crate::train::{assert_same_end, log, sandbox, steps, train, trained_clip};

#[test]
fn cached_image_features_do_not_change_training() {
    let s = &sandbox();
    let weights = trained_clip(s);
    let more = [
        "--objective",
        "clipn",
        "--pretrained",
        &weights,
        "--epochs",
        "2",
        "--augmentation",
        "none",
    ];
    s.done(&train("again", &more));
    s.done(&train(
        "cached",
        &[&more[..], &["--cache-image-features"]].concat(),
    ));
    let features = std::fs::metadata(s.path("logs/cached/cache/image-contents.features"))
        .unwrap()
        .len();
    // A fourth of the images have the contents of others.
    assert!(features >= 36 * 16 * 4, "{features} bytes");
    assert!(!s.path("logs/again/cache/image-contents.features").exists());
    assert_same_end(s, "again", "cached", "epoch-2");
}

#[test]
fn runs_share_a_feature_cache() {
    let s = &sandbox();
    let weights = trained_clip(s);
    let more = [
        "--objective",
        "clipn",
        "--pretrained",
        &weights,
        "--epochs",
        "2",
        "--augmentation",
        "none",
    ];
    let shared = [
        &more[..],
        &["--cache-image-features", "--feature-cache", "features"],
    ]
    .concat();
    s.done(&train("first", &shared));
    let features = std::fs::read(s.path("features/image-contents.features")).unwrap();
    assert!(features.len() >= 36 * 16 * 4 && !s.path("logs/first/cache").exists());
    // The second run adds no images, and neither does one on the same images under another name.
    s.done(&train("second", &[&shared[..], &["--seed", "1"]].concat()));
    assert!(features == std::fs::read(s.path("features/image-contents.features")).unwrap());
    std::fs::copy(s.path("captions.tsv"), s.path("others.tsv")).unwrap();
    let others = [&shared[..], &["--train-data", "others.tsv"]].concat();
    s.done(&train("others", &others));
    assert!(features == std::fs::read(s.path("features/image-contents.features")).unwrap());
    assert_same_end(s, "first", "others", "epoch-2");
    // Features of other weights are refused.
    let clip = ["--objective", "clip", "--epochs", "1", "--seed", "5"];
    let other = s.done(&train("another", &clip)).trim().to_owned();
    let others: Vec<&str> = shared
        .iter()
        .map(|&word| if word == weights { &other } else { word })
        .collect();
    let output = s.clipn(&train("refused", &others));
    let stderr = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(
        stderr.contains("features belongs to another model or preprocessing")
            && stderr.contains("give another --feature-cache"),
        "{stderr}"
    );
}

#[test]
fn completes_a_partial_cache_and_uses_a_full_one() {
    let s = &sandbox();
    let weights = trained_clip(s);
    let more = [
        "--objective",
        "clipn",
        "--pretrained",
        &weights,
        "--epochs",
        "2",
        "--augmentation",
        "none",
    ];
    let cached = [&more[..], &["--cache-image-features"]].concat();
    s.done(&train("whole", &cached));
    for file in ["image-contents.features", "captions.features"] {
        let features = std::fs::read(s.path(&format!("logs/whole/cache/{file}"))).unwrap();
        s.write(
            &format!("logs/half/cache/{file}"),
            &features[..features.len() / 2],
        );
        s.write(&format!("logs/all/cache/{file}"), &features);
    }
    s.done(&train("half", &cached));
    // Fewer rows at a time may round differently.
    let (whole, half) = (log(s, "whole"), log(s, "half"));
    assert_eq!((whole.len(), steps(&whole)), (12, steps(&half)));
    for (whole, half) in whole.iter().zip(&half) {
        let [whole, half] = [whole, half].map(|line| line["losses"]["total"].as_f64().unwrap());
        assert!((whole - half).abs() < 1e-4 * whole, "{whole} and {half}");
    }
    let files = ["whole", "half"]
        .map(|run| std::fs::metadata(s.path(&format!("logs/{run}/cache/image-contents.features"))));
    let [whole, half] = files.map(|file| file.unwrap().len());
    assert_eq!(whole, half);
    s.done(&train("all", &cached));
    assert_same_end(s, "whole", "all", "epoch-2");
}

#[test]
fn skips_broken_images_with_and_without_cache() {
    let s = &sandbox();
    let weights = trained_clip(s);
    s.write("pairs/7.bmp", "no image");
    let more = [
        "--objective",
        "clipn",
        "--pretrained",
        &weights,
        "--augmentation",
        "none",
    ];
    let skipped = |name: &str, cache: &[&str]| {
        let output = s.clipn(&train(
            name,
            &[&more[..], &["--epochs", "2"], cache].concat(),
        ));
        let error = text(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "{error}");
        error
            .lines()
            .filter(|line| line.contains("skipped"))
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    let (again, cached) = (
        skipped("again", &[]),
        skipped("cached", &["--cache-image-features"]),
    );
    assert!(
        again.len() == 2 && again[1].contains("with an unreadable image"),
        "{again:?}"
    );
    assert_eq!(again, cached);
    assert_same_end(s, "again", "cached", "epoch-2");
}
