//! The published code's decoded pixels, crops and tensors, over photographs that are not in the repository.
mod common;

use std::path::{Path, PathBuf};

use clipn::image::{DecodeOptions, ImageError, Preprocessing, RgbImage, decode_file};
use safetensors::SafeTensors;
use serde_json::Value;
use sha2::{Digest, Sha256};

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The golden folder and its images, but for the one that cannot be decoded.
fn goldens() -> Option<(PathBuf, Vec<Value>)> {
    let folder = common::test_data("golden/preprocess")?;
    let text = std::fs::read_to_string(folder.join("expected.json")).unwrap();
    let mut expected: Value = serde_json::from_str(&text).unwrap();
    let images = expected["images"].as_array_mut().map(std::mem::take).unwrap();
    Some((folder, images.into_iter().filter(|image| image.get("error").is_none()).collect()))
}

fn name(image: &Value) -> String {
    image["file"].as_str().unwrap().rsplit('/').next().unwrap().to_owned()
}

fn is_jpeg(image: &Value) -> bool {
    name(image).ends_with(".jpg")
}

fn decode(folder: &Path, image: &Value) -> RgbImage {
    decode_file(&folder.join("images").join(name(image)), &DecodeOptions::faithful()).unwrap()
}

fn png(path: PathBuf) -> RgbImage {
    decode_file(&path, &DecodeOptions::faithful()).unwrap()
}

/// The largest and the mean difference of two pictures, in levels.
fn difference(a: &RgbImage, b: &RgbImage) -> (u8, f64) {
    assert_eq!((a.width(), a.height()), (b.width(), b.height()));
    let differences = || a.pixels().iter().zip(b.pixels()).map(|(a, b)| a.abs_diff(*b));
    let mean = differences().map(f64::from).sum::<f64>() / a.pixels().len() as f64;
    (differences().max().unwrap(), mean)
}

fn tensor(preprocessing: &Preprocessing, crop: &RgbImage) -> Vec<u8> {
    let mut values = vec![0.0; preprocessing.tensor_len()];
    preprocessing.normalise_into(crop, &mut values).unwrap();
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

#[test]
fn lossless_images_decode_to_pillows_pixels() {
    let Some((folder, images)) = goldens() else { return };
    let lossless: Vec<_> = images.iter().filter(|image| !is_jpeg(image)).collect();
    assert_eq!(lossless.len(), 18);
    for image in lossless {
        let decoded = decode(&folder, image);
        let size = [decoded.width(), decoded.height()].map(u64::from);
        assert_eq!(serde_json::json!(size), image["size"], "{}", name(image));
        assert_eq!(sha256(decoded.pixels()), image["decoded_rgb_sha256"], "{}", name(image));
    }
}

#[test]
fn lossless_images_give_the_published_crops_and_tensors() {
    let Some((folder, images)) = goldens() else { return };
    for image in images.iter().filter(|image| !is_jpeg(image)) {
        let decoded = decode(&folder, image);
        for (key, size) in [("A224", 224), ("A32", 32), ("A336", 336)] {
            let preprocessing = Preprocessing::clip(size);
            let crop = preprocessing.crop(&decoded).unwrap();
            assert_eq!(sha256(crop.pixels()), image[key]["crop_u8_sha256"], "{} {key}", name(image));
            let tensor = tensor(&preprocessing, &crop);
            assert_eq!(sha256(&tensor), image[key]["tensor_f32_sha256"], "{} {key}", name(image));
        }
    }
}

/// What another decoder did is taken out: libjpeg's pixels through our crop.
#[test]
fn libjpegs_pixels_give_the_published_crops_and_tensors() {
    let Some((folder, images)) = goldens() else { return };
    let mut compared = 0;
    for image in images.iter().filter(|image| is_jpeg(image) && image.get("decoded_png").is_some()) {
        let decoded = png(folder.join("decoded").join(name(image) + ".png"));
        assert_eq!(sha256(decoded.pixels()), image["decoded_rgb_sha256"], "{}", name(image));
        for (key, size) in [("A224", 224), ("A32", 32), ("A336", 336)] {
            let preprocessing = Preprocessing::clip(size);
            let crop = preprocessing.crop(&decoded).unwrap();
            assert_eq!(sha256(crop.pixels()), image[key]["crop_u8_sha256"], "{} {key}", name(image));
            let tensor = tensor(&preprocessing, &crop);
            assert_eq!(sha256(&tensor), image[key]["tensor_f32_sha256"], "{} {key}", name(image));
        }
        compared += 1;
    }
    assert_eq!(compared, 14);
}

#[test]
fn jpegs_differ_from_libjpeg_by_little() {
    let Some((folder, images)) = goldens() else { return };
    let (mut decoded_worst, mut crop_worst) = ((0, 0.0f64), (0, 0.0f64));
    for image in images.iter().filter(|image| is_jpeg(image)) {
        let decoded = decode(&folder, image);
        if image.get("decoded_png").is_some() {
            let wanted = png(folder.join("decoded").join(name(image) + ".png"));
            let (worst, mean) = difference(&decoded, &wanted);
            println!("{:40} decoded: worst {worst}, mean {mean:.4}", name(image));
            decoded_worst = (decoded_worst.0.max(worst), decoded_worst.1.max(mean));
        }
        let crop = Preprocessing::clip(224).crop(&decoded).unwrap();
        let wanted = png(folder.join("expected_A224").join(name(image) + ".png"));
        let (worst, mean) = difference(&crop, &wanted);
        println!("{:40} crop: worst {worst}, mean {mean:.4}", name(image));
        crop_worst = (crop_worst.0.max(worst), crop_worst.1.max(mean));
    }
    assert!(decoded_worst.0 <= 5 && decoded_worst.1 < 0.3, "decoded: {decoded_worst:?}");
    assert!(crop_worst.0 <= 2 && crop_worst.1 < 0.3, "crops: {crop_worst:?}");
}

#[test]
fn crops_of_the_published_evaluation_are_reproduced() {
    let (Some(crops), Some(photographs)) =
        (common::test_data("golden/e2e/crops"), common::test_data("golden/e2e"))
    else {
        return;
    };
    let mut compared = 0;
    let mut total_mean = 0.0;
    for (stem, file) in files_below(&photographs).into_iter().filter_map(|path| {
        let file = path.file_name()?.to_str()?.to_owned();
        file.ends_with(".JPEG").then_some((file, path))
    }) {
        let wanted = png(crops.join(format!("{stem}.png")));
        let decoded = decode_file(&file, &DecodeOptions::faithful()).unwrap();
        let (worst, mean) = difference(&Preprocessing::clip(224).crop(&decoded).unwrap(), &wanted);
        println!("{stem:45} crop: worst {worst}, mean {mean:.4}");
        assert!(worst <= 2 && mean < 0.3, "{stem}: worst {worst}, mean {mean}");
        total_mean += mean;
        compared += 1;
    }
    assert!(compared >= 28, "{compared} crops were compared");
    println!("mean of {compared}: {:.4}", total_mean / f64::from(compared));
}

fn files_below(folder: &Path) -> Vec<PathBuf> {
    std::fs::read_dir(folder)
        .unwrap()
        .flat_map(|entry| {
            let path = entry.unwrap().path();
            if path.is_dir() { files_below(&path) } else { vec![path] }
        })
        .collect()
}

#[test]
fn a_truncated_jpeg_is_refused_by_name() {
    let Some((folder, _)) = goldens() else { return };
    let error = decode_file(&folder.join("images/truncated.jpg"), &DecodeOptions::faithful()).unwrap_err();
    assert!(matches!(error, ImageError::Truncated { .. }), "{error:?}");
    assert!(error.to_string().contains("images/truncated.jpg"), "{error}");
}

#[test]
fn orientation_is_applied_for_users_only() {
    let Some((folder, images)) = goldens() else { return };
    let image = images.iter().find(|image| name(image) == "exif_rot6.jpg").unwrap();
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
    let Some((folder, images)) = goldens() else { return };
    let file = std::fs::read(folder.join("tensors.safetensors")).unwrap();
    let tensors = SafeTensors::deserialize(&file).unwrap();
    for image in images.iter().filter(|image| !is_jpeg(image)) {
        let path = folder.join("images").join(name(image));
        let small = Preprocessing::clip(32);
        let mut values = vec![0.0; small.tensor_len()];
        small.file_into(&path, &mut values).unwrap();
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        assert_eq!(bytes, tensors.tensor(&format!("A32.{}", name(image))).unwrap().data(), "{}", name(image));

        let large = Preprocessing::clip(224);
        let mut values = vec![0.0; large.tensor_len()];
        large.bytes_into(&std::fs::read(&path).unwrap(), &mut values).unwrap();
        let thinned: Vec<u8> = (0..3 * 14 * 14)
            .map(|i| values[i / 196 * 224 * 224 + i % 196 / 14 * 16 * 224 + i % 14 * 16])
            .flat_map(f32::to_le_bytes)
            .collect();
        let wanted = tensors.tensor(&format!("A224.sub16.{}", name(image))).unwrap();
        assert_eq!(thinned, wanted.data(), "{}", name(image));
    }
}
