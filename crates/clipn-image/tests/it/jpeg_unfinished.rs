//! Progressive JPEGs that end early or lack scans (`fixtures/image_unfinished/make.py`): libjpeg
//! smooths over the borders of their blocks. Pixels are those of Pillow 13.0 with libjpeg-turbo 3.2.

use clipn_image::{DecodeOptions, decode_bytes};
use serde_json::Value;
use sha2::{Digest, Sha256};

/// Start of the SHA-256 of the pixels of images that other encoders made.
const PHOTOS: [(&str, &str); 4] = [
    ("progressive-chroma-dc-only.jpg", "d1706bd686a55a1f"),
    ("progressive-ended-early.jpg", "cb7aef6e56ecd18b"),
    ("progressive-photo-35-percent.jpg", "d42a3d31729a31d3"),
    ("progressive-unfinished.jpg", "3431e0ca26f524f1"),
];

fn digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

#[test]
fn unfinished_progressive_images_are_smoothed_as_in_libjpeg() {
    let folder = clipn_testing::fixture("image_unfinished");
    let images = std::fs::read(folder.join("images.bin")).unwrap();
    let expected = std::fs::read_to_string(folder.join("expected.json")).unwrap();
    let expected: Vec<Value> = serde_json::from_str(&expected).unwrap();
    assert_eq!(expected.len(), 64);
    let mut rest = &images[..];
    for entry in &expected {
        let (file, others) = rest.split_at(entry["length"].as_u64().unwrap() as usize);
        rest = others;
        let image = decode_bytes(file, &DecodeOptions::faithful()).unwrap();
        let size = serde_json::json!([image.width(), image.height()]);
        assert_eq!(size, entry["size"], "{entry}");
        assert_eq!(digest(image.pixels()), entry["sha256"], "{entry}");
    }
    assert!(rest.is_empty());
}

#[test]
fn a_component_without_any_scan_is_neutral() {
    let folder = clipn_testing::fixture("image");
    let file = std::fs::read(folder.join("scans.jpg")).unwrap();
    let scans: Vec<usize> = (0..file.len() - 1)
        .filter(|index| file[*index..].starts_with(&[0xFF, 0xDA]))
        .collect();
    assert_eq!(scans.len(), 3, "one scan per component");
    // Without the chroma, the image is gray.
    let luma = [&file[..scans[1]], &[0xFF, 0xD9]].concat();
    let image = decode_bytes(&luma, &DecodeOptions::faithful()).unwrap();
    let pixels = image.pixels().as_chunks::<3>().0;
    assert!(pixels.iter().all(|[r, g, b]| r == g && g == b));
    assert!(pixels.iter().any(|pixel| *pixel != pixels[0]));
}

#[test]
fn unfinished_photos_are_smoothed_as_in_libjpeg() {
    let Some(folder) = clipn_testing::test_data("cases/images") else {
        return;
    };
    for (name, expected) in PHOTOS {
        let bytes = std::fs::read(folder.join(name)).unwrap();
        let image = decode_bytes(&bytes, &DecodeOptions::faithful()).unwrap();
        assert_eq!(digest(image.pixels())[..16], *expected, "{name}");
    }
}
