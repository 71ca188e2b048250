//! The published code's decoded pixels, crops and tensors, over photographs that are not in the repository.

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

/// The golden folder and its images, but for the one that cannot be decoded.
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
        &folder.join("images").join(name(image)),
        &DecodeOptions::faithful(),
    )
    .unwrap()
}

fn tensor(preprocessing: &Preprocessing, crop: &RgbImage) -> Vec<u8> {
    let mut values = vec![0.0; preprocessing.tensor_len()];
    preprocessing.normalise_into(crop, &mut values).unwrap();
    values
        .iter()
        .flat_map(|value| value.to_le_bytes())
        .collect()
}

#[test]
fn images_decode_to_pillows_pixels() {
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
fn images_give_the_published_crops_and_tensors() {
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
fn crops_of_the_published_evaluation_are_reproduced() {
    let (Some(crops), Some(photographs)) = (
        clipn_testing::test_data("golden/e2e/crops"),
        clipn_testing::test_data("golden/e2e"),
    ) else {
        return;
    };
    let mut compared = 0;
    for file in files_below(&photographs) {
        let name = file.file_name().unwrap().to_str().unwrap();
        if !name.ends_with(".JPEG") {
            continue;
        }
        let faithful = DecodeOptions::faithful();
        let wanted = decode_file(&crops.join(format!("{name}.png")), &faithful).unwrap();
        let decoded = decode_file(&file, &faithful).unwrap();
        assert!(
            Preprocessing::clip(224).crop(&decoded).unwrap() == wanted,
            "{name}"
        );
        compared += 1;
    }
    assert!(compared >= 28, "{compared} crops were compared");
}

fn files_below(folder: &Path) -> Vec<PathBuf> {
    std::fs::read_dir(folder)
        .unwrap()
        .flat_map(|entry| {
            let path = entry.unwrap().path();
            if path.is_dir() {
                files_below(&path)
            } else {
                vec![path]
            }
        })
        .collect()
}

#[test]
fn a_truncated_jpeg_is_refused_by_name() {
    let Some((folder, _)) = goldens() else { return };
    let error = decode_file(
        &folder.join("images/truncated.jpg"),
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
fn orientation_is_applied_for_users_only() {
    let Some((folder, images)) = goldens() else {
        return;
    };
    let image = images
        .iter()
        .find(|image| name(image) == "exif_rot6.jpg")
        .unwrap();
    let path = folder.join("images/exif_rot6.jpg");
    let lying = decode(&folder, image);
    let upright = decode_file(&path, &DecodeOptions::for_users()).unwrap();
    assert_eq!((lying.width(), lying.height()), (167, 250));
    assert_eq!((upright.width(), upright.height()), (250, 167));
    assert_eq!(upright.pixels()[..3], lying.pixels()[249 * 167 * 3..][..3]);
}

#[test]
fn every_byte_normalises_to_the_published_bits() {
    let Some((folder, _)) = goldens() else { return };
    let file = std::fs::read(folder.join("lut.safetensors")).unwrap();
    let tensors = SafeTensors::deserialize(&file).unwrap();
    let wanted = tensors.tensor("lut").unwrap();
    let pixels: Vec<u8> = (0..=255u8).flat_map(|byte| [byte; 3]).collect();
    let image = RgbImage::new(16, 16, pixels).unwrap();
    assert_eq!(tensor(&Preprocessing::clip(16), &image), wanted.data());
}

#[test]
fn whole_and_thinned_tensors_are_the_published_ones() {
    let Some((folder, images)) = goldens() else {
        return;
    };
    let file = std::fs::read(folder.join("tensors.safetensors")).unwrap();
    let tensors = SafeTensors::deserialize(&file).unwrap();
    for image in &images {
        let path = folder.join("images").join(name(image));
        let small = Preprocessing::clip(32);
        let mut values = vec![0.0; small.tensor_len()];
        small.file_into(&path, &mut values).unwrap();
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
            .bytes_into(&std::fs::read(&path).unwrap(), &mut values)
            .unwrap();
        let thinned: Vec<u8> = (0..3 * 14 * 14)
            .map(|i| values[i / 196 * 224 * 224 + i % 196 / 14 * 16 * 224 + i % 14 * 16])
            .flat_map(f32::to_le_bytes)
            .collect();
        let wanted = tensors
            .tensor(&format!("A224.sub16.{}", name(image)))
            .unwrap();
        assert_eq!(thinned, wanted.data(), "{}", name(image));
    }
}
