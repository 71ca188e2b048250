//! Images as scanners, cameras and scientific programs write them (`fixtures/image_odd/make.py`).
//! Pixels are those of Pillow 13.0 with libtiff 4.7 and libjpeg-turbo 3.2.

use clipn_image::{DecodeOptions, ImageError, RgbImage, decode_bytes};
use serde_json::Value;
use sha2::{Digest, Sha256};

/// Images that Pillow reads otherwise, with the reason.
const OTHERWISE: [&str; 6] = [
    // 32-bit gray and integers with a sign, which Pillow clips to 0 to 255.
    "signed_16",
    "signed_8",
    "float_32",
    "unsigned_32",
    // See `cielab_is_close`.
    "lab",
    // Pillow refuses uncompressed YCbCr with chroma of lower resolution.
    "ycbcr_22_plain",
];

/// Names, contents and expected values of the images.
fn images() -> Vec<(String, Vec<u8>, Value)> {
    let folder = clipn_testing::fixture("image_odd");
    let bytes = std::fs::read(folder.join("images.bin")).unwrap();
    let expected = std::fs::read_to_string(folder.join("expected.json")).unwrap();
    let expected: Vec<Value> = serde_json::from_str(&expected).unwrap();
    let mut start = 0;
    let mut image = |entry: Value| {
        let end = start + entry["length"].as_u64().unwrap() as usize;
        let file = bytes[start..end].to_vec();
        start = end;
        (entry["name"].as_str().unwrap().to_owned(), file, entry)
    };
    expected.into_iter().map(&mut image).collect()
}

fn image(name: &str) -> Vec<u8> {
    let mut images = images().into_iter();
    images.find(|(other, ..)| other == name).unwrap().1
}

fn decode(name: &str, options: DecodeOptions) -> Result<RgbImage, ImageError> {
    decode_bytes(&image(name), &options)
}

fn mismatch(image: &RgbImage, expected: &Value) -> Option<String> {
    let size = serde_json::json!([image.width(), image.height()]);
    if size != expected["size"] {
        return Some(format!("expected size {}, got {size}", expected["size"]));
    }
    let digest = Sha256::digest(image.pixels());
    let digits: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    (digits != expected["sha256"]).then(|| "other pixels".to_owned())
}

#[test]
fn pixels_are_pillows() {
    let mut compared = 0;
    for (name, file, entry) in images() {
        if OTHERWISE.contains(&&*name) {
            continue;
        }
        let decoded = decode_bytes(&file, &DecodeOptions::faithful());
        match (decoded, entry["plain"].is_null()) {
            (Ok(image), false) => assert_eq!(mismatch(&image, &entry["plain"]), None, "{name}"),
            (Err(_), true) => {}
            (Ok(_), true) => panic!("{name}: read, but Pillow refuses it"),
            (Err(error), false) => panic!("{name}: {error}"),
        }
        compared += 1;
    }
    assert!(compared >= 38, "{compared}");
}

#[test]
fn orientation_is_that_of_exif_or_xmp() {
    let mut compared = 0;
    for (name, file, entry) in images() {
        if name.starts_with("orientation") {
            let image = decode_bytes(&file, &DecodeOptions::for_display()).unwrap();
            assert_eq!(mismatch(&image, &entry["upright"]), None, "{name}");
            compared += 1;
        }
    }
    assert_eq!(compared, 10);
}

#[test]
fn cielab_is_close() {
    let expected = std::fs::read(clipn_testing::fixture("image_odd/lab.rgb")).unwrap();
    let image = decode("lab", DecodeOptions::faithful()).unwrap();
    assert_eq!(image.pixels().len(), expected.len());
    let differences = image.pixels().iter().zip(&expected);
    let highest = differences.map(|(a, b)| a.abs_diff(*b)).max().unwrap();
    assert!(highest <= 3, "{highest}");
}

#[test]
fn uncompressed_chroma_of_lower_resolution_is_read() {
    let plain = decode("ycbcr_22_plain", DecodeOptions::faithful()).unwrap();
    let deflated = decode("ycbcr_22", DecodeOptions::faithful()).unwrap();
    assert_eq!(plain, deflated);
}

#[test]
fn wide_white_is_zero_is_inverted_for_users_only() {
    let faithful = decode("white_is_zero_16", DecodeOptions::faithful()).unwrap();
    assert_eq!(faithful.pixels()[0], 0, "clipped, as in Pillow");
    let shown = decode("white_is_zero_16", DecodeOptions::for_display()).unwrap();
    assert_eq!(shown.pixels()[0], 255);
    assert_eq!(shown.pixels()[3], 255 - (1700u16 >> 8) as u8);
}

#[test]
fn samples_that_cannot_be_shown_are_rejected_by_name() {
    for (name, part) in [
        ("signed_16", "signed 16-bit samples"),
        ("signed_8", "signed 8-bit samples"),
        ("float_32", "32-bit floating-point samples"),
        ("float_16", "16-bit floating-point samples"),
        ("unsigned_32", "32-bit samples"),
    ] {
        let error = decode(name, DecodeOptions::for_display()).unwrap_err();
        assert!(error.to_string().ends_with(part), "{name}: {error}");
    }
}

#[test]
fn bands_without_colors_must_be_chosen() {
    let display = DecodeOptions::for_display();
    for name in ["five_bands", "five_planes"] {
        let error = decode(name, display).unwrap_err();
        assert!(
            matches!(error, ImageError::UnclearBands { bands: 5, .. }),
            "{error}"
        );
        // The first three are the image `rgb`, the next two its inverse.
        let rgb = decode("rgb", display).unwrap();
        assert_eq!(decode(name, display.with_bands([1, 2, 3])).unwrap(), rgb);
        let other = decode(name, display.with_bands([5, 4, 1])).unwrap();
        let expected = rgb.pixels().as_chunks::<3>().0.iter();
        let expected: Vec<u8> = expected
            .flat_map(|[r, g, _]| [255 - g, 255 - r, *r])
            .collect();
        assert_eq!(other.pixels(), expected);
        let missing = decode(name, display.with_bands([1, 2, 6])).unwrap_err();
        assert!(
            missing.to_string().ends_with("no band 6; the image has 5"),
            "{missing}"
        );
    }
    // Extra bands behind colors are left out.
    let extra = decode("rgb_and_two_more", display).unwrap();
    assert_eq!(extra, decode("rgb", display).unwrap());
    // They can be chosen, as near infrared in aerial images.
    let other = decode("rgb_and_two_more", display.with_bands([5, 1, 2])).unwrap();
    let rgb = extra.pixels().as_chunks::<3>().0.iter();
    let chosen = other.pixels().as_chunks::<3>().0.iter();
    assert!(chosen.zip(rgb).all(|(chosen, rgb)| chosen[1..] == rgb[..2]));
    let missing = decode("rgb_and_two_more", display.with_bands([1, 2, 6])).unwrap_err();
    assert!(
        missing.to_string().ends_with("no band 6; the image has 5"),
        "{missing}"
    );
    let zero = decode("rgb", display.with_bands([0, 1, 2])).unwrap_err();
    assert!(matches!(
        zero,
        ImageError::InvalidSetting {
            setting: "bands",
            ..
        }
    ));
}

#[test]
fn bands_of_converted_images_are_their_colors() {
    for name in ["ycbcr_11", "ycbcr_22", "jpeg_ycbcr", "jpeg_cmyk", "lab"] {
        let plain = decode(name, DecodeOptions::faithful()).unwrap();
        let swapped = decode(name, DecodeOptions::faithful().with_bands([3, 2, 1])).unwrap();
        let expected = plain.pixels().as_chunks::<3>().0.iter();
        let expected: Vec<u8> = expected.flat_map(|[r, g, b]| [*b, *g, *r]).collect();
        assert_eq!(swapped.pixels(), expected, "{name}");
        let fourth = decode(name, DecodeOptions::faithful().with_bands([4, 2, 1])).unwrap_err();
        assert!(
            matches!(fourth, ImageError::BandOutOfRange { bands: 3, .. }),
            "{name}: {fourth}"
        );
    }
}

#[test]
fn bands_of_other_formats_are_their_colors() {
    let file = std::fs::read(clipn_testing::fixture("image/rgba8.png")).unwrap();
    let decode = |options| decode_bytes(&file, &options);
    let plain = decode(DecodeOptions::for_display()).unwrap();
    let swapped = decode(DecodeOptions::for_display().with_bands([3, 2, 1])).unwrap();
    let expected = plain.pixels().as_chunks::<3>().0.iter();
    let expected: Vec<u8> = expected.flat_map(|[r, g, b]| [*b, *g, *r]).collect();
    assert_eq!(swapped.pixels(), expected);
    let fourth = decode(DecodeOptions::for_display().with_bands([4, 2, 1])).unwrap_err();
    assert!(matches!(
        fourth,
        ImageError::BandOutOfRange {
            band: 4,
            bands: 3,
            ..
        }
    ));
}

#[test]
fn samples_of_12_bits_in_16_are_rejected_until_named() {
    let display = DecodeOptions::for_display();
    for name in ["gray_12_of_16_bits", "rgb_12_of_16_bits"] {
        let error = decode(name, display).unwrap_err();
        assert!(matches!(error, ImageError::DimSamples { .. }), "{error}");
        let dark = decode(name, display.with_sample_bits(16)).unwrap();
        let shown = decode(name, display.with_sample_bits(12)).unwrap();
        assert!(dark.pixels().iter().all(|value| *value < 16));
        assert!(shown.pixels().iter().max() > Some(&230), "{name}");
        let ratio = shown.pixels().iter().zip(dark.pixels());
        assert!(ratio.into_iter().all(|(shown, dark)| shown >> 4 == *dark));
    }
    let bands = display.with_bands([4, 1, 2]);
    let scaled = decode("four_wide_bands", bands).unwrap();
    let value = |x: usize, y: usize| (x * 1700 + y * 40) as u16;
    assert_eq!(scaled.pixels()[3 * 36 + 1], (value(36, 0) >> 8) as u8);
    assert_eq!(scaled.pixels()[3 * 36], ((value(36, 0) / 4) >> 8) as u8);
    let invalid = decode("rgb", display.with_sample_bits(7)).unwrap_err();
    assert!(
        invalid.to_string().contains("expected 8 to 16, got 7"),
        "{invalid}"
    );
}

#[test]
fn damaged_files_are_errors() {
    for (name, file, _) in images() {
        for length in (0..file.len()).step_by(41) {
            let _ = decode_bytes(&file[..length], &DecodeOptions::for_display());
        }
        for position in (0..file.len()).step_by(13) {
            let mut damaged = file.clone();
            damaged[position] ^= 0x5A;
            if let Err(ImageError::Corrupt { reason, .. }) =
                decode_bytes(&damaged, &DecodeOptions::for_display())
            {
                assert_ne!(reason, "decoder panicked", "{name} at {position}");
            }
        }
    }
}

/// An uncompressed TIFF in one strip, 16 bits a sample. Sample `b` of every pixel is `257 * (100 + b)`.
fn many_bands(side: u32, bands: u16, photometric: u32, strip: usize) -> Vec<u8> {
    let long = |tag: u16, value: u32| {
        [
            &tag.to_le_bytes()[..],
            &[4, 0, 1, 0, 0, 0],
            &value.to_le_bytes(),
        ]
        .concat()
    };
    let mut directory = Vec::new();
    let bits_at = 8 + 2 + 11 * 12 + 4;
    let strip_at = bits_at + 4 * u32::from(bands);
    let shorts = |tag: u16, count: u16, at: u32| {
        [
            &tag.to_le_bytes()[..],
            &[3, 0],
            &u32::from(count).to_le_bytes(),
            &at.to_le_bytes(),
        ]
        .concat()
    };
    for entry in [
        long(256, side),
        long(257, side),
        shorts(258, bands, bits_at),
        long(259, 1),
        long(262, photometric),
        long(273, strip_at),
        long(277, bands.into()),
        long(278, side),
        long(279, strip as u32),
        long(284, 1),
        shorts(338, bands - 3, bits_at + 2 * u32::from(bands)),
    ] {
        directory.extend(entry);
    }
    let mut file = b"II*\0\x08\0\0\0\x0b\0".to_vec();
    file.extend(directory);
    file.extend([0; 4]);
    file.extend((0..bands).flat_map(|_| 16u16.to_le_bytes()));
    file.extend((0..bands).flat_map(|_| 0u16.to_le_bytes()));
    let pixel: Vec<u8> = (0..bands)
        .flat_map(|band| (257 * (100 + band)).to_le_bytes())
        .collect();
    file.extend(pixel.iter().cycle().take(strip));
    file
}

/// Satellites write a dozen bands of 16 bits, in gray or behind colors.
#[test]
fn images_of_many_bands_are_read_whatever_their_size() {
    const GRAY: u32 = 1;
    const RGB: u32 = 2;
    let options = DecodeOptions::for_display().with_bands([13, 1, 5]);
    for photometric in [GRAY, RGB] {
        for side in [20, 400] {
            let strip = (side * side) as usize * 13 * 2;
            let image = decode_bytes(&many_bands(side, 13, photometric, strip), &options).unwrap();
            assert_eq!(
                image.pixels()[..6],
                [112, 100, 104, 112, 100, 104],
                "{side}"
            );
        }
    }
    // More memory than the largest image of colors takes is not reserved for a small file.
    let options = options.with_max_pixels(400 * 400);
    let error = decode_bytes(&many_bands(400, 60, GRAY, 100), &options).unwrap_err();
    assert!(
        error
            .to_string()
            .ends_with("60 bands of 16 bits of 400x400 pixels, which take 19200000 bytes"),
        "{error}"
    );
}
