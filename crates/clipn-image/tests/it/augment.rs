//! Random crops against torchvision's own boxes and Pillow's own pixels.

use clipn_image::{
    Augmentation, ColourJitter, CropBox, ImageError, Preprocessing, RgbImage, TrainingCrop,
    random_box, resized_crop,
};
use proptest::prelude::*;
use serde::Deserialize;
use sha2::{Digest, Sha256};

fn read<T: for<'de> Deserialize<'de>>(name: &str) -> Vec<T> {
    serde_json::from_slice(&std::fs::read(clipn_testing::fixture(name)).unwrap()).unwrap()
}

#[derive(Deserialize)]
struct Drawn {
    width: u32,
    height: u32,
    scale: [f64; 2],
    ratio: [f64; 2],
    draws: Vec<f64>,
    #[serde(rename = "box")]
    taken: [u32; 4],
}

#[derive(Deserialize)]
struct Cropped {
    width: u32,
    height: u32,
    #[serde(rename = "box")]
    taken: [u32; 4],
    size: usize,
    sha256: String,
}

fn crop_box([left, top, width, height]: [u32; 4]) -> CropBox {
    CropBox {
        left,
        top,
        width,
        height,
    }
}

#[test]
fn boxes_are_torchvision_s_for_the_same_draws() {
    let figures: Vec<Drawn> = read("augment/boxes.json");
    let fallbacks = figures
        .iter()
        .filter(|figure| figure.draws.len() == 20)
        .count();
    assert!(
        fallbacks > 10 && fallbacks < figures.len() - 10,
        "{fallbacks} of {}",
        figures.len()
    );
    for (index, figure) in figures.iter().enumerate() {
        let mut draws = figure.draws.iter().copied();
        let taken = random_box(
            figure.width,
            figure.height,
            figure.scale,
            figure.ratio,
            &mut || draws.next().expect("as many draws as torchvision's"),
        );
        assert_eq!(taken, crop_box(figure.taken), "figure {index}");
        assert_eq!(draws.next(), None, "figure {index}");
    }
}

/// A picture given by a formula.
fn picture(width: u32, height: u32) -> RgbImage {
    let pixel = |x: u32, y: u32, c: u32| {
        x * x * 3 + y * y * 5 + x * y * 7 * (c + 1) + c * 85 + (x / 5) * (y / 3) * 11
    };
    let pixels = (0..height)
        .flat_map(|y| (0..width).flat_map(move |x| (0..3).map(move |c| pixel(x, y, c) as u8)))
        .collect();
    RgbImage::new(width, height, pixels).unwrap()
}

#[test]
fn crops_are_pillow_s() {
    for figure in read::<Cropped>("augment/crops.json") {
        let image = picture(figure.width, figure.height);
        let crop = resized_crop(&image, crop_box(figure.taken), figure.size).unwrap();
        let found: String = Sha256::digest(crop.pixels())
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        assert_eq!(
            found, figure.sha256,
            "{}x{} {:?}",
            figure.width, figure.height, figure.taken
        );
    }
}

fn jitter(contrast: f64) -> ColourJitter {
    ColourJitter {
        brightness: 0.4,
        contrast,
        saturation: 0.4,
    }
}

#[test]
fn what_is_off_draws_nothing_and_what_is_on_changes_the_crop() {
    let image = picture(64, 64);
    let draws = |settings: Augmentation, share: f64| {
        let mut count = 0;
        let mut draw = || {
            count += 1;
            share
        };
        let crop = settings
            .apply(&image, &Preprocessing::clip(32), &mut draw)
            .unwrap();
        (count, crop)
    };
    let none = Augmentation::none();
    let (count, plain) = draws(none, 0.5);
    assert_eq!(count, 0);
    for (settings, expected) in [
        (
            Augmentation {
                horizontal_flip: 0.6,
                ..none
            },
            1,
        ),
        (
            Augmentation {
                colour_jitter: Some(jitter(0.4)),
                ..none
            },
            4,
        ),
        (
            Augmentation {
                greyscale: 0.6,
                ..none
            },
            1,
        ),
        (
            Augmentation {
                erasing: 0.6,
                ..none
            },
            5,
        ),
    ] {
        // At a share of a half colours would keep their factors of 1.
        let (count, changed) = draws(settings, 0.55);
        assert_eq!(count, expected, "{settings:?}");
        assert_ne!(changed, plain, "{settings:?}");
    }
    let (_, kept) = draws(
        Augmentation {
            greyscale: 0.6,
            erasing: 0.6,
            ..none
        },
        0.7,
    );
    assert_eq!(kept, plain);
}

#[test]
fn settings_without_the_newer_keys_are_read() {
    let old = r#"{"crop": "Centre", "horizontal_flip": 0.0}"#;
    assert_eq!(
        serde_json::from_str::<Augmentation>(old).unwrap(),
        Augmentation::none()
    );
}

#[test]
fn wrong_settings_are_named() {
    let random = |scale, ratio| Augmentation {
        crop: TrainingCrop::RandomResized { scale, ratio },
        ..Augmentation::none()
    };
    for (settings, named) in [
        (random([0.0, 1.0], [0.75, 1.5]), "scale"),
        (random([0.9, 0.8], [0.75, 1.5]), "scale"),
        (random([0.9, 1.1], [0.75, 1.5]), "scale"),
        (random([f64::NAN, 1.0], [0.75, 1.5]), "scale"),
        (random([0.9, 1.0], [0.0, 1.5]), "ratio"),
        (random([0.9, 1.0], [1.0, f64::INFINITY]), "ratio"),
        (
            Augmentation {
                horizontal_flip: 1.5,
                ..Augmentation::none()
            },
            "horizontal_flip",
        ),
        (
            Augmentation {
                greyscale: -0.1,
                ..Augmentation::none()
            },
            "greyscale",
        ),
        (
            Augmentation {
                erasing: f64::NAN,
                ..Augmentation::none()
            },
            "erasing",
        ),
        (
            Augmentation {
                colour_jitter: Some(jitter(1.1)),
                ..Augmentation::none()
            },
            "colour_jitter.contrast",
        ),
    ] {
        let error = settings
            .apply(&picture(8, 8), &Preprocessing::clip(8), &mut || 0.5)
            .unwrap_err();
        assert!(error.to_string().contains(named), "{error}");
    }
    let published = Augmentation::published();
    let size_zero = published.apply(&picture(8, 8), &Preprocessing::clip(0), &mut || 0.5);
    assert!(matches!(size_zero, Err(ImageError::Preprocessing { .. })));
    let outside = CropBox {
        left: 5,
        top: 0,
        width: 4,
        height: 8,
    };
    assert!(
        resized_crop(&picture(8, 8), outside, 4)
            .unwrap_err()
            .to_string()
            .contains("within 8x8")
    );
    assert!(
        resized_crop(
            &picture(8, 8),
            CropBox {
                left: u32::MAX,
                ..outside
            },
            4
        )
        .is_err()
    );
}

#[test]
fn grey_and_no_augmentation_are_those_of_evaluation() {
    let image = picture(31, 17);
    let grey = Preprocessing {
        grey: true,
        ..Preprocessing::clip(16)
    };
    let none = Augmentation::none()
        .apply(&image, &grey, &mut || unreachable!())
        .unwrap();
    assert_eq!(none, grey.crop(&image).unwrap());
    let random = Augmentation::published()
        .apply(&image, &grey, &mut || 0.5)
        .unwrap();
    assert_eq!(random, random.to_grey());
}

proptest! {
    #[test]
    fn boxes_lie_in_the_picture(
        width in 1u32..5000,
        height in 1u32..5000,
        low in 0.01f64..1.0,
        ratio in 0.01f64..100.0,
        wider in 1.0f64..10.0,
        draws in prop::collection::vec(0.0f64..1.0, 22),
    ) {
        let mut next = draws.iter().copied();
        let settings = ([low, 1.0], [ratio, ratio * wider]);
        let taken = random_box(width, height, settings.0, settings.1, &mut || next.next().unwrap());
        prop_assert!(taken.width > 0 && taken.left + taken.width <= width, "{taken:?}");
        prop_assert!(taken.height > 0 && taken.top + taken.height <= height, "{taken:?}");
    }
}
