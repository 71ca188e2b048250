//! Comparison of decoded pixels with Pillow, on small synthetic files of every supported kind
//! (`fixtures/image/make.py`).

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
    decode_file(clipn_testing::fixture("image").join(name), options)
}

/// File with a compression that libtiff supports (and thus Pillow), but the `tiff` crate does not.
const UNSUPPORTED: &str = "one_bit_group3.tif";

/// Describes the difference between `image` and an entry of the expected values; `None` if there is
/// none.
fn mismatch(image: &RgbImage, entry: &Value) -> Option<String> {
    let size = serde_json::json!([image.width(), image.height()]);
    if size != entry["size"] {
        return Some(format!("expected size {}, got {size}", entry["size"]));
    }
    (sha256(image.pixels()) != entry["sha256"]).then(|| "pixels".to_owned())
}

#[test]
fn every_kind_matches_pillows_pixels() {
    let mut mismatches = Vec::new();
    let expected = expected();
    assert!(expected.len() >= 144, "{}", expected.len());
    for (name, entry) in expected.iter().filter(|(name, _)| *name != UNSUPPORTED) {
        match read(name, &DecodeOptions::faithful()) {
            Err(error) => mismatches.push(format!("{name}: {error}")),
            Ok(image) => {
                mismatches.extend(mismatch(&image, entry).map(|what| format!("{name}: {what}")));
            }
        }
    }
    assert!(mismatches.is_empty(), "{}", mismatches.join("\n"));
}

#[test]
fn every_orientation_is_applied_for_users() {
    let mut compared = 0;
    for (name, entry) in expected()
        .iter()
        .filter(|(name, _)| name.starts_with("orientation"))
    {
        let upright = read(name, &DecodeOptions::for_display()).unwrap();
        assert_eq!(mismatch(&upright, &entry["upright"]), None, "{name}");
        compared += 1;
    }
    assert_eq!(compared, 19);
}

#[test]
fn sixteen_bit_gray_is_clipped_by_default_and_scaled_for_users() {
    for name in [
        "grey16.png",
        "grey16_trns.png",
        "grey16.tif",
        "grey16_big_endian.tif",
    ] {
        let clipped = read(name, &DecodeOptions::faithful()).unwrap();
        let scaled = read(name, &DecodeOptions::for_display()).unwrap();
        for (i, (clipped, scaled)) in clipped.pixels().iter().zip(scaled.pixels()).enumerate() {
            let (x, y) = (i / 3 % 21, i / 3 / 21);
            let value = x * 1500 + y * 40;
            assert_eq!(usize::from(*clipped), value.min(255), "{name} at {x}, {y}");
            assert_eq!(usize::from(*scaled), value >> 8, "{name} at {x}, {y}");
        }
    }
}

#[test]
fn the_format_does_not_depend_on_the_extension() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("photograph.jpg");
    std::fs::copy(clipn_testing::fixture("image/rgb.webp"), &path).unwrap();
    let image = decode_file(&path, &DecodeOptions::faithful()).unwrap();
    assert_eq!(image, read("rgb.webp", &DecodeOptions::faithful()).unwrap());
}

#[test]
fn errors_name_the_file_and_the_problem() {
    let folder = tempfile::tempdir().unwrap();
    let error_of = |name: &str, bytes: &[u8]| {
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        decode_file(&path, &DecodeOptions::faithful()).unwrap_err()
    };
    let text = error_of("notes.png", b"these are notes\n");
    assert!(
        text.to_string().ends_with(
            "notes.png: expected a JPEG, PNG, WebP, BMP, GIF, TIFF, PNM or QOI image, got a text file"
        ),
        "{text}"
    );
    assert!(matches!(
        error_of("empty.png", b""),
        ImageError::Empty { .. }
    ));
    let missing =
        decode_file(folder.path().join("gone.png"), &DecodeOptions::faithful()).unwrap_err();
    assert!(
        matches!(missing, ImageError::NotFound { .. }) && missing.to_string().contains("gone.png"),
        "{missing}"
    );
    let directory = decode_file(folder.path(), &DecodeOptions::faithful()).unwrap_err();
    assert!(
        matches!(directory, ImageError::IsDirectory { .. }),
        "{directory}"
    );
    let png = std::fs::read(clipn_testing::fixture("image/rgba8.png")).unwrap();
    let truncated = error_of("cut.png", &png[..png.len() / 2]);
    assert!(
        matches!(truncated, ImageError::Truncated { format: "PNG", .. }),
        "{truncated}"
    );
    assert!(matches!(
        decode_bytes(&[], &DecodeOptions::faithful()),
        Err(ImageError::Empty { .. })
    ));
}

#[cfg(unix)]
#[test]
fn pipes_and_devices_are_refused_before_they_are_opened() {
    let folder = tempfile::tempdir().unwrap();
    let pipe = folder.path().join("a.jpg");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status();
    if !made.is_ok_and(|status| status.success()) {
        eprintln!("skipped: mkfifo is not available");
        return;
    }
    for path in [pipe.as_path(), "/dev/zero".as_ref()] {
        let error = decode_file(path, &DecodeOptions::faithful()).unwrap_err();
        let expected = format!("{}: not a regular file", path.display());
        assert_eq!(error.to_string(), expected);
    }
}

#[test]
fn images_over_the_pixel_limit_are_rejected_with_their_size() {
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
        error.contains("21x14 image has 294 pixels, more than the limit of 293"),
        "{error}"
    );
    let options = DecodeOptions {
        max_pixels: 21 * 14,
        ..DecodeOptions::faithful()
    };
    assert!(read("rgb16.png", &options).is_ok());
}

#[test]
fn decompression_bombs_are_rejected_by_default() {
    // A JPEG, a PNG, a BMP and a GIF whose headers state the maximum size of their format.
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

/// Decodes a file that may be cut: the image, or `None` if it is truncated.
fn decode_cut(bytes: &[u8], what: &str) -> Option<RgbImage> {
    match decode_bytes(bytes, &DecodeOptions::faithful()) {
        Ok(image) => Some(image),
        Err(ImageError::Truncated { .. }) => None,
        Err(error) => panic!("{what}: {error}"),
    }
}

/// Files with their last byte of image data: the number of bytes behind it.
const WHOLE_WITHOUT: [(&str, usize); 16] = [
    ("444.jpg", 2),
    ("progressive.jpg", 2),
    ("progressive_restarts.jpg", 2),
    ("restarts.jpg", 2),
    ("scans.jpg", 2),
    ("cmyk.jpg", 2),
    ("grey.jpg", 2),
    // The end chunk, and two checksums.
    ("rgba8.png", 20),
    ("grey1.png", 20),
    ("palette4_trns_interlaced.png", 20),
    ("plain.gif", 2),
    ("rgb24.bmp", 1),
    // The ends of the last row and of the image.
    ("rle4.bmp", 4),
    ("rle8.bmp", 4),
    ("rgb.qoi", 8),
    ("grey.pgm", 0),
];

#[test]
fn the_end_mark_may_be_missing_but_no_pixel() {
    for (name, behind) in WHOLE_WITHOUT {
        let file = std::fs::read(clipn_testing::fixture("image").join(name)).unwrap();
        let whole = decode_bytes(&file, &DecodeOptions::faithful()).unwrap();
        for length in 26..=file.len() {
            let what = format!("{name} cut at {length}");
            match decode_cut(&file[..length], &what) {
                Some(image) => assert!(image == whole, "{what}: other pixels"),
                None => assert!(length < file.len() - behind, "{what}: truncated"),
            }
            if length + behind + 2 < file.len() {
                assert!(decode_cut(&file[..length], &what).is_none(), "{what}");
            }
        }
    }
}

#[test]
fn zeros_that_fill_up_a_jpeg_are_no_image_data() {
    for (name, behind) in WHOLE_WITHOUT
        .into_iter()
        .filter(|(name, _)| name.ends_with("jpg"))
    {
        let file = std::fs::read(clipn_testing::fixture("image").join(name)).unwrap();
        let whole = decode_bytes(&file, &DecodeOptions::faithful()).unwrap();
        let start = file
            .windows(2)
            .position(|pair| pair == [0xFF, 0xDA])
            .unwrap()
            + 14;
        for length in start..=file.len() - behind {
            let what = format!("{name} cut at {length} and filled up");
            let filled = [&file[..length], &[0; 500]].concat();
            match decode_bytes(&filled, &DecodeOptions::faithful()) {
                Ok(image) => assert!(image == whole, "{what}: other pixels"),
                Err(error) => assert!(length < file.len() - behind, "{what}: {error}"),
            }
        }
    }
}

#[test]
fn a_trailer_does_not_change_a_jpeg() {
    let trailer = b"appended by a camera";
    for (name, _) in WHOLE_WITHOUT
        .into_iter()
        .filter(|(name, _)| name.ends_with("jpg"))
    {
        let file = std::fs::read(clipn_testing::fixture("image").join(name)).unwrap();
        let whole = decode_bytes(&file, &DecodeOptions::faithful()).unwrap();
        for end in [file.len(), file.len() - 2] {
            let with_trailer = [&file[..end], trailer].concat();
            assert_eq!(
                decode_cut(&with_trailer, name),
                Some(whole.clone()),
                "{name}"
            );
        }
    }
}

#[test]
fn arithmetic_coding_needs_the_end_mark() {
    let file = std::fs::read(clipn_testing::fixture("image/arithmetic.jpg")).unwrap();
    for length in 26..file.len() {
        assert_eq!(
            decode_cut(&file[..length], "arithmetic.jpg"),
            None,
            "{length}"
        );
    }
}

#[test]
fn errors_name_unsupported_features() {
    let mut jpeg = std::fs::read(clipn_testing::fixture("image/444.jpg")).unwrap();
    let frame = jpeg
        .windows(2)
        .position(|pair| pair == [0xFF, 0xC0])
        .unwrap();
    let error = read(UNSUPPORTED, &DecodeOptions::faithful()).unwrap_err();
    assert!(
        matches!(error, ImageError::Unsupported { .. })
            && error.to_string().contains("CCITT group 3"),
        "{error}"
    );
    for (marker, what) in [
        (0xC3, "lossless"),
        (0xCB, "lossless"),
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
    assert!(error.to_string().contains("12 bits per sample"), "{error}");
}

#[test]
fn files_and_their_bytes_give_the_same_tensor() {
    let settings = Preprocessing::clip(16);
    let (mut file_tensor, mut bytes_tensor) = (
        vec![0.0; settings.tensor_len()],
        vec![1.0; settings.tensor_len()],
    );
    let path = clipn_testing::fixture("image/420.jpg");
    settings.preprocess_file(&path, &mut file_tensor).unwrap();
    settings
        .preprocess_bytes(&std::fs::read(&path).unwrap(), &mut bytes_tensor)
        .unwrap();
    assert_eq!(file_tensor, bytes_tensor);
    assert!(file_tensor.iter().any(|value| *value != file_tensor[0]));
}
