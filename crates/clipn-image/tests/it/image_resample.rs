//! Comparison of crops of synthetic images with hashes of Pillow's crops.

use clipn_image::{PillowVersion, Preprocessing, ResizeMode, RgbImage};
use sha2::{Digest, Sha256};

/// Returns the first 8 bytes of the SHA-256 in hexadecimal.
fn digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes)
        .iter()
        .take(8)
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// Creates an image with noise in red and blue, and a checkerboard with a ramp in green.
fn synthetic_image(width: u32, height: u32) -> RgbImage {
    let noise = |index: u64| {
        let mut x = (index * 2_654_435_761) as u32;
        x ^= x >> 15;
        x = x.wrapping_mul(2_246_822_519);
        x ^= x >> 13;
        (x >> 24) as u8
    };
    let pixels = (0..u64::from(width) * u64::from(height) * 3)
        .map(|index| {
            let (x, y) = (index / 3 % u64::from(width), index / 3 / u64::from(width));
            match index % 3 {
                1 => ((x / 8 + y / 8) % 2 * 200 + (x + y) % 56) as u8,
                _ => noise(index),
            }
        })
        .collect();
    RgbImage::new(width, height, pixels).unwrap()
}

#[test]
fn synthetic_images_equal_pillows_input() {
    assert_eq!(digest(synthetic_image(5, 3).pixels()), "5578fa57f61aaa88");
}

/// The hashes are from Pillow before 13, which always runs the horizontal pass first.
#[test]
fn crops_match_pillow_byte_for_byte() {
    for (width, height, size, expected) in [
        (1, 1, 224, "cecaa81beb6aa1fb"),
        (3, 2, 224, "80dd752f49d28804"),
        (2, 3, 32, "0adf833c074b54af"),
        (300, 1, 224, "d2a6666b52ae12d7"),
        (1, 300, 224, "c7502da90ce4a478"),
        (40000, 1, 7, "4118c853f00dfb1f"),
        (1, 40000, 7, "96cb847314fe4e1b"),
        (2000, 16, 224, "4564594ec90602ff"),
        (16, 2000, 224, "5270ef4af0f9ea73"),
        (224, 224, 224, "603ef635d2e84de4"),
        (225, 224, 224, "090722cbff9831f2"),
        (224, 227, 224, "c3714c2c63e8d09b"),
        (640, 480, 224, "2a5147d91ff57548"),
        (480, 641, 224, "b213e2bbaf259391"),
        (97, 331, 224, "01400999fb80aee6"),
        (500, 375, 32, "1361c8256d79e4d1"),
        (1500, 1001, 224, "b081d6ed1b80cdbd"),
        (1024, 37, 48, "43760464e5b08d6b"),
        (33, 1000, 32, "f2fa8a54e1d3d23d"),
        (448, 1448, 224, "f2d7f987ca61bad8"),
        (230, 231, 7, "f5a95f33b8f49564"),
        (100, 100, 1, "d02e298f635282d2"),
        (1000, 999, 336, "5f4dee871e607e56"),
    ] {
        let crop = Preprocessing::clip(size)
            .crop(&synthetic_image(width, height))
            .unwrap();
        assert_eq!(
            digest(crop.pixels()),
            expected,
            "{width}x{height} to {size}"
        );
    }
}

/// The hashes are from Pillow 13.0. Its order of passes differs from 240x481 on, not at 240x480, where
/// twice as many rows as columns are lost.
#[test]
fn crops_match_pillow_13_by_request() {
    let mut different = Vec::new();
    for (width, height, size, expected) in [
        (225, 224, 224, "090722cbff9831f2"),
        (224, 227, 224, "c3714c2c63e8d09b"),
        (480, 641, 224, "b213e2bbaf259391"),
        (97, 331, 224, "01400999fb80aee6"),
        (33, 1000, 32, "5ae11a6c760cc268"),
        (448, 1448, 224, "083594206e43c3bb"),
        (448, 848, 224, "08d88bff8213c902"),
        (448, 948, 224, "8251dd8fae095dd1"),
        (240, 480, 224, "d80e075be118cfcc"),
        (240, 481, 224, "c2d8fd2e9a5900ec"),
        (300, 1000, 224, "f10bf1a06c10d12c"),
        (1000, 3000, 224, "c60cdaaf8c78e5bf"),
    ] {
        let image = synthetic_image(width, height);
        let older = Preprocessing::clip(size);
        let newer = older.clone().with_pillow(PillowVersion::V13);
        let crop = newer.crop(&image).unwrap();
        assert_eq!(
            digest(crop.pixels()),
            expected,
            "{width}x{height} to {size}"
        );
        if crop != older.crop(&image).unwrap() {
            different.push((width, height));
        }
    }
    assert_eq!(
        different,
        [
            (33, 1000),
            (448, 1448),
            (448, 948),
            (240, 481),
            (300, 1000),
            (1000, 3000)
        ]
    );
}

/// Resizing the whole images would take 6 GB each.
#[test]
fn extreme_aspect_ratios_cost_no_more_than_their_crop() {
    for (width, height) in [(40_000, 1), (1, 40_000), (10_000_000, 1), (1, 10_000_000)] {
        let image = RgbImage::new(width, height, vec![99; (width * height) as usize * 3]).unwrap();
        let crop = Preprocessing::clip(224).crop(&image).unwrap();
        assert!(
            crop.pixels().iter().all(|value| *value == 99),
            "{width}x{height}"
        );
    }
}

/// `fixtures/image/resize_modes.json` is the output of `scripts/resize_of_pillow.py` with Pillow 12.3.0.
#[test]
fn crops_of_every_resize_mode_equal_pillows() {
    #[derive(serde::Deserialize)]
    struct Case {
        width: u32,
        height: u32,
        size: usize,
        mode: String,
        crop: Vec<u8>,
    }
    #[derive(serde::Deserialize)]
    struct Cases {
        cases: Vec<Case>,
    }
    let file = std::fs::read(clipn_testing::fixture("image/resize_modes.json")).unwrap();
    let Cases { cases } = serde_json::from_slice(&file).unwrap();
    assert_eq!(cases.len(), 15);
    for case in cases {
        let mut state = 1_u32;
        let bytes = (0..case.width * case.height * 3).map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        });
        let image = RgbImage::new(case.width, case.height, bytes.collect()).unwrap();
        let mode: ResizeMode = case.mode.parse().unwrap();
        let crop = Preprocessing::clip(case.size)
            .with_resize(mode)
            .crop(&image)
            .unwrap();
        assert!(
            crop.pixels() == case.crop,
            "{mode}, {}x{}",
            case.width,
            case.height
        );
    }
}

#[test]
fn the_default_resize_mode_leaves_settings_as_they_were() {
    let clip = serde_json::to_string(&Preprocessing::clip(224)).unwrap();
    assert!(!clip.contains("resize"), "{clip}");
    for mode in ResizeMode::ALL {
        let settings = Preprocessing::clip(224).with_resize(mode);
        let text = serde_json::to_string(&settings).unwrap();
        assert_eq!(text.contains(mode.as_str()), mode != ResizeMode::Clip);
        assert_eq!(
            serde_json::from_str::<Preprocessing>(&text).unwrap(),
            settings
        );
        assert_eq!(mode.to_string().parse(), Ok(mode));
    }
    assert!("lanczos".parse::<ResizeMode>().is_err());
}
