//! Small synthetic files of every kind that is read, against what Pillow reads in them (`fixtures/image/make.py`).

use clipn_image::{DecodeOptions, ImageError, Preprocessing, RgbImage, decode_bytes, decode_file};
use serde_json::Value;
use sha2::{Digest, Sha256};

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

fn expected() -> serde_json::Map<String, Value> {
    let text = std::fs::read_to_string(clipn_testing::fixture("image/expected.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

fn read(name: &str, options: &DecodeOptions) -> Result<RgbImage, ImageError> {
    decode_file(&clipn_testing::fixture("image").join(name), options)
}

/// Pillow reads it through libtiff; the `tiff` crate does not know this compression.
const NOT_READ: &str = "one_bit_group3.tif";

/// What differs between `image` and an entry of the expected figures, if anything.
fn mismatch(image: &RgbImage, entry: &Value) -> Option<String> {
    let size = serde_json::json!([image.width(), image.height()]);
    if size != entry["size"] {
        return Some(format!("size {size}, not {}", entry["size"]));
    }
    (sha256(image.pixels()) != entry["sha256"]).then(|| "pixels".to_owned())
}

#[test]
fn every_kind_decodes_to_pillows_pixels() {
    let mut wrong = Vec::new();
    let expected = expected();
    assert!(expected.len() >= 110, "{}", expected.len());
    for (name, entry) in expected.iter().filter(|(name, _)| *name != NOT_READ) {
        match read(name, &DecodeOptions::faithful()) {
            Err(error) => wrong.push(format!("{name}: {error}")),
            Ok(image) => {
                wrong.extend(mismatch(&image, entry).map(|what| format!("{name}: {what}")))
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_orientation_is_turned_upright_for_users() {
    let mut compared = 0;
    for (name, entry) in expected()
        .iter()
        .filter(|(name, _)| name.starts_with("orientation"))
    {
        let upright = read(name, &DecodeOptions::for_users()).unwrap();
        assert_eq!(mismatch(&upright, &entry["upright"]), None, "{name}");
        compared += 1;
    }
    assert_eq!(compared, 19);
}

#[test]
fn sixteen_bit_grey_clips_faithfully_and_scales_for_users() {
    for name in [
        "grey16.png",
        "grey16_trns.png",
        "grey16.tif",
        "grey16_big_endian.tif",
    ] {
        let clipped = read(name, &DecodeOptions::faithful()).unwrap();
        let scaled = read(name, &DecodeOptions::for_users()).unwrap();
        for (i, (clipped, scaled)) in clipped.pixels().iter().zip(scaled.pixels()).enumerate() {
            let (x, y) = (i / 3 % 21, i / 3 / 21);
            let value = x * 1500 + y * 40;
            assert_eq!(usize::from(*clipped), value.min(255), "{name} at {x}, {y}");
            assert_eq!(usize::from(*scaled), value >> 8, "{name} at {x}, {y}");
        }
    }
}

#[test]
fn the_extension_does_not_matter() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("photograph.jpg");
    std::fs::copy(clipn_testing::fixture("image/rgb.webp"), &path).unwrap();
    let image = decode_file(&path, &DecodeOptions::faithful()).unwrap();
    assert_eq!(image, read("rgb.webp", &DecodeOptions::faithful()).unwrap());
}

#[test]
fn errors_name_the_file_and_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let written = |name: &str, bytes: &[u8]| {
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        decode_file(&path, &DecodeOptions::faithful()).unwrap_err()
    };
    let text = written("notes.png", b"these are notes\n");
    assert!(
        text.to_string()
            .contains("notes.png: not an image that can be read, looks like a text file"),
        "{text}"
    );
    assert!(
        text.to_string()
            .contains("JPEG, PNG, WebP, BMP, GIF and TIFF"),
        "{text}"
    );
    assert!(matches!(
        written("empty.png", b""),
        ImageError::Empty { .. }
    ));
    let missing =
        decode_file(&folder.path().join("gone.png"), &DecodeOptions::faithful()).unwrap_err();
    assert!(
        matches!(missing, ImageError::NotFound { .. }) && missing.to_string().contains("gone.png"),
        "{missing}"
    );
    let at_folder = decode_file(folder.path(), &DecodeOptions::faithful()).unwrap_err();
    assert!(
        matches!(at_folder, ImageError::IsFolder { .. }),
        "{at_folder}"
    );
    let png = std::fs::read(clipn_testing::fixture("image/rgba8.png")).unwrap();
    let cut = written("cut.png", &png[..png.len() / 2]);
    assert!(
        matches!(cut, ImageError::Truncated { format: "PNG", .. }),
        "{cut}"
    );
    assert!(matches!(
        decode_bytes(&[], &DecodeOptions::faithful()),
        Err(ImageError::Empty { .. })
    ));
}

#[test]
fn pictures_over_the_cap_are_refused_with_their_size() {
    for name in expected().keys() {
        let options = DecodeOptions {
            max_pixels: 53,
            ..DecodeOptions::faithful()
        };
        let error = read(name, &options).unwrap_err();
        assert!(
            matches!(error, ImageError::TooManyPixels { limit: 53, .. }),
            "{name}: {error}"
        );
    }
    let options = DecodeOptions {
        max_pixels: 21 * 14 - 1,
        ..DecodeOptions::faithful()
    };
    let error = read("rgb16.png", &options).unwrap_err().to_string();
    assert!(
        error.contains("21x14 is 294 pixels, over the cap of 293"),
        "{error}"
    );
    let enough = DecodeOptions {
        max_pixels: 21 * 14,
        ..DecodeOptions::faithful()
    };
    assert!(read("rgb16.png", &enough).is_ok());
}

#[test]
fn bombs_are_refused_by_default() {
    // A JPEG, a PNG, a BMP and a GIF that say they are as large as their formats allow.
    let mut jpeg = std::fs::read(clipn_testing::fixture("image/444.jpg")).unwrap();
    let frame = jpeg
        .windows(2)
        .position(|pair| pair == [0xFF, 0xC0])
        .unwrap();
    jpeg[frame + 5..frame + 9].copy_from_slice(&[0xFF; 4]);
    let mut png = std::fs::read(clipn_testing::fixture("image/rgb16.png")).unwrap();
    png[16..24].copy_from_slice(&[0x7F, 0xFF, 0xFF, 0xFF, 0x7F, 0xFF, 0xFF, 0xFF]);
    let mut bmp = std::fs::read(clipn_testing::fixture("image/rgb24.bmp")).unwrap();
    bmp[18..26].copy_from_slice(&[0, 0xFF, 0, 0, 0, 0xFF, 0, 0]);
    let mut gif = std::fs::read(clipn_testing::fixture("image/plain.gif")).unwrap();
    gif[6..10].copy_from_slice(&[0xFF; 4]);
    for bytes in [jpeg, png, bmp, gif] {
        let error = decode_bytes(&bytes, &DecodeOptions::default()).unwrap_err();
        assert!(
            matches!(
                error,
                ImageError::TooManyPixels {
                    limit: 178_956_970,
                    ..
                }
            ),
            "{error}"
        );
    }
}

#[test]
fn a_jpeg_must_reach_its_end_marker() {
    for name in [
        "444.jpg",
        "progressive.jpg",
        "restarts.jpg",
        "cmyk.jpg",
        "grey.jpg",
    ] {
        let whole = std::fs::read(clipn_testing::fixture("image").join(name)).unwrap();
        for length in 4..whole.len() {
            let error = decode_bytes(&whole[..length], &DecodeOptions::faithful()).unwrap_err();
            assert!(
                matches!(error, ImageError::Truncated { .. }),
                "{name} cut at {length}: {error}"
            );
        }
        let mut followed = whole.clone();
        followed.extend_from_slice(b"appended by a camera");
        let (alone, followed) = (
            decode_bytes(&whole, &DecodeOptions::faithful()).unwrap(),
            decode_bytes(&followed, &DecodeOptions::faithful()).unwrap(),
        );
        assert_eq!(alone, followed, "{name}");
    }
}

#[test]
fn kinds_that_are_not_read_are_named() {
    let mut jpeg = std::fs::read(clipn_testing::fixture("image/444.jpg")).unwrap();
    let frame = jpeg
        .windows(2)
        .position(|pair| pair == [0xFF, 0xC0])
        .unwrap();
    let error = read(NOT_READ, &DecodeOptions::faithful()).unwrap_err();
    assert!(
        matches!(error, ImageError::Unsupported { .. }) && error.to_string().contains("Fax3"),
        "{error}"
    );
    for (marker, what) in [
        (0xC9, "arithmetic"),
        (0xC3, "lossless"),
        (0xC5, "hierarchical"),
    ] {
        jpeg[frame + 1] = marker;
        let error = decode_bytes(&jpeg, &DecodeOptions::faithful()).unwrap_err();
        assert!(matches!(error, ImageError::Unsupported { .. }), "{error}");
        assert!(error.to_string().contains(what), "{error}");
    }
    jpeg[frame + 1] = 0xC1;
    jpeg[frame + 4] = 12;
    let error = decode_bytes(&jpeg, &DecodeOptions::faithful()).unwrap_err();
    assert!(error.to_string().contains("12 bits a sample"), "{error}");
}

#[test]
fn a_file_becomes_the_tensor_of_its_bytes() {
    let settings = Preprocessing::clip(16);
    let (mut of_file, mut of_bytes) = (
        vec![0.0; settings.tensor_len()],
        vec![1.0; settings.tensor_len()],
    );
    let path = clipn_testing::fixture("image/420.jpg");
    settings.file_into(&path, &mut of_file).unwrap();
    settings
        .bytes_into(&std::fs::read(&path).unwrap(), &mut of_bytes)
        .unwrap();
    assert_eq!(of_file, of_bytes);
    assert!(of_file.iter().any(|value| *value != of_file[0]));
}
