//! Comparison of decoded pixels, crops and tensors with those of the published code, on images that
//! are not in the repository.

use std::path::{Path, PathBuf};

use clipn_image::{DecodeOptions, ImageError, Preprocessing, RgbImage, decode_file};
use safetensors::SafeTensors;
use serde_json::Value;
use sha2::{Digest, Sha256};

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// Returns the directory of the golden data and its images, without the one that cannot be decoded.
fn goldens() -> Option<(PathBuf, Vec<Value>)> {
    let folder = clipn_testing::test_data("golden/preprocess")?;
    let text = std::fs::read_to_string(folder.join("expected.json")).unwrap();
    let mut expected: Value = serde_json::from_str(&text).unwrap();
    let images = expected["images"]
        .as_array_mut()
        .map(std::mem::take)
        .unwrap();
    Some((
        folder,
        images
            .into_iter()
            .filter(|image| image.get("error").is_none())
            .collect(),
    ))
}

fn name(image: &Value) -> String {
    image["file"]
        .as_str()
        .unwrap()
        .rsplit('/')
        .next()
        .unwrap()
        .to_owned()
}

fn decode(folder: &Path, image: &Value) -> RgbImage {
    decode_file(
        folder.join("images").join(name(image)),
        &DecodeOptions::faithful(),
    )
    .unwrap()
}

fn tensor(preprocessing: &Preprocessing, crop: &RgbImage) -> Vec<u8> {
    let mut values = vec![0.0; preprocessing.tensor_len()];
    preprocessing.normalize_into(crop, &mut values).unwrap();
    values
        .iter()
        .flat_map(|value| value.to_le_bytes())
        .collect()
}

#[test]
fn decoded_pixels_match_pillow() {
    let Some((folder, images)) = goldens() else {
        return;
    };
    assert_eq!(images.len(), 33);
    for image in &images {
        let decoded = decode(&folder, image);
        let size = [decoded.width(), decoded.height()].map(u64::from);
        assert_eq!(serde_json::json!(size), image["size"], "{}", name(image));
        assert_eq!(
            sha256(decoded.pixels()),
            image["decoded_rgb_sha256"],
            "{}",
            name(image)
        );
    }
}

#[test]
fn crops_and_tensors_match_the_published_code() {
    let Some((folder, images)) = goldens() else {
        return;
    };
    for image in &images {
        let decoded = decode(&folder, image);
        for (key, size) in [("A224", 224), ("A32", 32), ("A336", 336)] {
            let preprocessing = Preprocessing::clip(size);
            let crop = preprocessing.crop(&decoded).unwrap();
            assert_eq!(
                sha256(crop.pixels()),
                image[key]["crop_u8_sha256"],
                "{} {key}",
                name(image)
            );
            let tensor = tensor(&preprocessing, &crop);
            assert_eq!(
                sha256(&tensor),
                image[key]["tensor_f32_sha256"],
                "{} {key}",
                name(image)
            );
        }
    }
}

#[test]
fn crops_match_the_published_evaluation() {
    let (Some(crops), Some(images)) = (
        clipn_testing::test_data("golden/e2e/crops"),
        clipn_testing::test_data("golden/e2e"),
    ) else {
        return;
    };
    let mut compared = 0;
    for file in files_under(&images) {
        let name = file.file_name().unwrap().to_str().unwrap();
        if !name.ends_with(".JPEG") {
            continue;
        }
        let faithful = DecodeOptions::faithful();
        let expected = decode_file(crops.join(format!("{name}.png")), &faithful).unwrap();
        let decoded = decode_file(&file, &faithful).unwrap();
        assert!(
            Preprocessing::clip(224).crop(&decoded).unwrap() == expected,
            "{name}"
        );
        compared += 1;
    }
    assert!(compared >= 28, "only {compared} crops compared");
}

fn files_under(folder: &Path) -> Vec<PathBuf> {
    std::fs::read_dir(folder)
        .unwrap()
        .flat_map(|entry| {
            let path = entry.unwrap().path();
            if path.is_dir() {
                files_under(&path)
            } else {
                vec![path]
            }
        })
        .collect()
}

#[test]
fn truncated_jpegs_are_rejected_with_their_path() {
    let Some((folder, _)) = goldens() else { return };
    let error = decode_file(
        folder.join("images/truncated.jpg"),
        &DecodeOptions::faithful(),
    )
    .unwrap_err();
    assert!(matches!(error, ImageError::Truncated { .. }), "{error:?}");
    assert!(
        error.to_string().contains("images/truncated.jpg"),
        "{error}"
    );
}

#[test]
fn orientation_is_applied_only_for_users() {
    let Some((folder, images)) = goldens() else {
        return;
    };
    let image = images
        .iter()
        .find(|image| name(image) == "exif_rot6.jpg")
        .unwrap();
    let path = folder.join("images/exif_rot6.jpg");
    let unrotated = decode(&folder, image);
    let upright = decode_file(&path, &DecodeOptions::for_display()).unwrap();
    assert_eq!((unrotated.width(), unrotated.height()), (167, 250));
    assert_eq!((upright.width(), upright.height()), (250, 167));
    assert_eq!(
        upright.pixels()[..3],
        unrotated.pixels()[249 * 167 * 3..][..3]
    );
}

#[test]
fn every_byte_normalizes_to_the_published_bits() {
    let Some((folder, _)) = goldens() else { return };
    let file = std::fs::read(folder.join("lut.safetensors")).unwrap();
    let tensors = SafeTensors::deserialize(&file).unwrap();
    let expected = tensors.tensor("lut").unwrap();
    let pixels: Vec<u8> = (0..=255u8).flat_map(|byte| [byte; 3]).collect();
    let image = RgbImage::new(16, 16, pixels).unwrap();
    assert_eq!(tensor(&Preprocessing::clip(16), &image), expected.data());
}

#[test]
fn full_and_subsampled_tensors_match_the_published_ones() {
    let Some((folder, images)) = goldens() else {
        return;
    };
    let file = std::fs::read(folder.join("tensors.safetensors")).unwrap();
    let tensors = SafeTensors::deserialize(&file).unwrap();
    for image in &images {
        let path = folder.join("images").join(name(image));
        let small = Preprocessing::clip(32);
        let mut values = vec![0.0; small.tensor_len()];
        small.preprocess_file(&path, &mut values).unwrap();
        let bytes: Vec<u8> = values
            .iter()
            .flat_map(|value| value.to_le_bytes())
            .collect();
        assert_eq!(
            bytes,
            tensors
                .tensor(&format!("A32.{}", name(image)))
                .unwrap()
                .data(),
            "{}",
            name(image)
        );

        let large = Preprocessing::clip(224);
        let mut values = vec![0.0; large.tensor_len()];
        large
            .preprocess_bytes(&std::fs::read(&path).unwrap(), &mut values)
            .unwrap();
        let subsampled: Vec<u8> = (0..3 * 14 * 14)
            .map(|i| values[i / 196 * 224 * 224 + i % 196 / 14 * 16 * 224 + i % 14 * 16])
            .flat_map(f32::to_le_bytes)
            .collect();
        let expected = tensors
            .tensor(&format!("A224.sub16.{}", name(image)))
            .unwrap();
        assert_eq!(subsampled, expected.data(), "{}", name(image));
    }
}
