//! Comparison of random crops with torchvision's boxes and Pillow's pixels.

use clipn_image::{
    Augmentation, ColorJitter, CropBox, ImageError, Preprocessing, RgbImage, TrainingCrop,
    random_crop_box, resized_crop,
};
use proptest::prelude::*;
use serde::Deserialize;
use sha2::{Digest, Sha256};

fn read<T: for<'de> Deserialize<'de>>(name: &str) -> Vec<T> {
    serde_json::from_slice(&std::fs::read(clipn_testing::fixture(name)).unwrap()).unwrap()
}

#[derive(Deserialize)]
struct ExpectedBox {
    width: u32,
    height: u32,
    scale: [f64; 2],
    ratio: [f64; 2],
    draws: Vec<f64>,
    #[serde(rename = "box")]
    crop_box: [u32; 4],
}

#[derive(Deserialize)]
struct ExpectedCrop {
    width: u32,
    height: u32,
    #[serde(rename = "box")]
    crop_box: [u32; 4],
    size: usize,
    sha256: String,
}

fn to_crop_box([left, top, width, height]: [u32; 4]) -> CropBox {
    CropBox {
        left,
        top,
        width,
        height,
    }
}

#[test]
fn boxes_match_torchvision_for_the_same_draws() {
    let cases: Vec<ExpectedBox> = read("augment/boxes.json");
    let fallbacks = cases.iter().filter(|case| case.draws.len() == 20).count();
    assert!(
        fallbacks > 10 && fallbacks < cases.len() - 10,
        "{fallbacks} of {}",
        cases.len()
    );
    for (index, case) in cases.iter().enumerate() {
        let mut draws = case.draws.iter().copied();
        let crop_box =
            random_crop_box(case.width, case.height, case.scale, case.ratio, &mut || {
                draws.next().expect("as many draws as torchvision's")
            });
        assert_eq!(crop_box, to_crop_box(case.crop_box), "case {index}");
        assert_eq!(draws.next(), None, "case {index}");
    }
}

/// Creates an image from a formula.
fn synthetic_image(width: u32, height: u32) -> RgbImage {
    let pixel = |x: u32, y: u32, c: u32| {
        x * x * 3 + y * y * 5 + x * y * 7 * (c + 1) + c * 85 + (x / 5) * (y / 3) * 11
    };
    let pixels = (0..height)
        .flat_map(|y| (0..width).flat_map(move |x| (0..3).map(move |c| pixel(x, y, c) as u8)))
        .collect();
    RgbImage::new(width, height, pixels).unwrap()
}

#[test]
fn crops_match_pillow() {
    for case in read::<ExpectedCrop>("augment/crops.json") {
        let image = synthetic_image(case.width, case.height);
        let crop = resized_crop(&image, to_crop_box(case.crop_box), case.size).unwrap();
        let digest: String = Sha256::digest(crop.pixels())
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        assert_eq!(
            digest, case.sha256,
            "{}x{} {:?}",
            case.width, case.height, case.crop_box
        );
    }
}

fn jitter(contrast: f64) -> ColorJitter {
    ColorJitter {
        brightness: 0.4,
        contrast,
        saturation: 0.4,
    }
}

#[test]
fn disabled_steps_draw_nothing_and_enabled_steps_change_the_crop() {
    let image = synthetic_image(64, 64);
    let draws = |settings: Augmentation, uniform: f64| {
        let mut count = 0;
        let mut draw = || {
            count += 1;
            uniform
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
                color_jitter: Some(jitter(0.4)),
                ..none
            },
            4,
        ),
        (
            Augmentation {
                grayscale: 0.6,
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
        // A draw of 0.5 would give color factors of 1.
        let (count, changed) = draws(settings, 0.55);
        assert_eq!(count, expected, "{settings:?}");
        assert_ne!(changed, plain, "{settings:?}");
    }
    let (_, kept) = draws(
        Augmentation {
            grayscale: 0.6,
            erasing: 0.6,
            ..none
        },
        0.7,
    );
    assert_eq!(kept, plain);
}

#[test]
fn settings_without_newer_keys_are_accepted() {
    let old = r#"{"crop": "Centre", "horizontal_flip": 0.0}"#;
    assert_eq!(
        serde_json::from_str::<Augmentation>(old).unwrap(),
        Augmentation::none()
    );
}

#[test]
fn errors_name_the_invalid_setting() {
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
                grayscale: -0.1,
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
                color_jitter: Some(jitter(1.1)),
                ..Augmentation::none()
            },
            "colour_jitter.contrast",
        ),
    ] {
        let error = settings
            .apply(&synthetic_image(8, 8), &Preprocessing::clip(8), &mut || 0.5)
            .unwrap_err();
        assert!(error.to_string().contains(named), "{error}");
    }
    let published = Augmentation::published();
    let size_zero = published.apply(&synthetic_image(8, 8), &Preprocessing::clip(0), &mut || 0.5);
    assert!(matches!(size_zero, Err(ImageError::InvalidSetting { .. })));
    let outside = CropBox {
        left: 5,
        top: 0,
        width: 4,
        height: 8,
    };
    assert!(
        resized_crop(&synthetic_image(8, 8), outside, 4)
            .unwrap_err()
            .to_string()
            .contains("within 8x8")
    );
    assert!(
        resized_crop(
            &synthetic_image(8, 8),
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
fn gray_and_unaugmented_crops_equal_those_of_evaluation() {
    let image = synthetic_image(31, 17);
    let gray = Preprocessing {
        gray: true,
        ..Preprocessing::clip(16)
    };
    let none = Augmentation::none()
        .apply(&image, &gray, &mut || unreachable!())
        .unwrap();
    assert_eq!(none, gray.crop(&image).unwrap());
    let random = Augmentation::published()
        .apply(&image, &gray, &mut || 0.5)
        .unwrap();
    assert_eq!(random, random.to_gray());
}

proptest! {
    #[test]
    fn boxes_are_within_the_image(
        width in 1u32..5000,
        height in 1u32..5000,
        low in 0.01f64..1.0,
        ratio in 0.01f64..100.0,
        wider in 1.0f64..10.0,
        draws in prop::collection::vec(0.0f64..1.0, 22),
    ) {
        let mut next = draws.iter().copied();
        let settings = ([low, 1.0], [ratio, ratio * wider]);
        let mut draw = || next.next().unwrap();
        let crop = random_crop_box(width, height, settings.0, settings.1, &mut draw);
        prop_assert!(crop.width > 0 && crop.left + crop.width <= width, "{crop:?}");
        prop_assert!(crop.height > 0 && crop.top + crop.height <= height, "{crop:?}");
    }
}
