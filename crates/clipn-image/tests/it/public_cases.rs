//! Images as people have them, which are not in the repository (`cases/public` of the test data).
//! Pixels are those of Pillow 13.0 with libjpeg-turbo 3.2.

use clipn_image::{DecodeOptions, decode_file, is_image_start};
use sha2::{Digest, Sha256};

/// Start of the SHA-256 of the pixels, or a part of the error.
type Expected = Result<&'static str, &'static str>;

/// Start of the SHA-256 of the pixels of `jpeg/base.jpg`.
const BASE: &str = "59c8356bc3ecbd45";

/// Each file with the start of the SHA-256 of its pixels, or with a part of its error.
const CASES: [(&str, Expected); 26] = [
    ("folder/0a1b2c3d", Ok(BASE)),
    ("folder/IMG_0005.HEIC", Err("got a HEIC image")),
    ("folder/a.jpg", Ok("e869cb1733bae47f")),
    ("folder/b.jfif", Ok("f80e12c71b50566a")),
    ("folder/c.jpe", Ok("9b31bf6638f4c136")),
    ("folder/d.ppm", Ok("5d5c7049dfb7f839")),
    ("folder/f.avif", Err("got an AVIF image")),
    ("folder/readme.txt", Err("got a text file")),
    ("jpeg/01-junk-7f-before-eoi.jpg", Ok(BASE)),
    ("jpeg/04-no-eoi-zero-padded.jpg", Ok(BASE)),
    ("jpeg/07-junk-before-sof.jpg", Ok(BASE)),
    ("jpeg/10-extra-before-rst.jpg", Ok(BASE)),
    ("jpeg/12-missing-rst3.jpg", Ok("2bdba23643068337")),
    ("jpeg/20-arith.jpg", Ok(BASE)),
    ("jpeg/22-arith-prog.jpg", Ok(BASE)),
    ("jpeg/60-panorama-no-eoi-trailer.jpg", Ok(BASE)),
    ("jpeg/base.jpg", Ok(BASE)),
    ("other/float.tif", Err("unsupported TIFF image")),
    ("other/photo.avif", Err("got an AVIF image")),
    ("other/photo.heic", Err("got a HEIC image")),
    ("other/photo.ppm", Ok("5d5c7049dfb7f839")),
    ("other/zstd.tif", Err("Zstandard compression")),
    ("png/03-no-iend.png", Ok("002b4061de30a0b9")),
    // Pillow ignores the checksum.
    ("png/06-idat-badcrc.png", Err("CRC error")),
    ("png/20-cutout.png", Ok("c58e6a96775b7b75")),
    ("png/21-cutout-white.png", Ok("a1ffd48ac1dff568")),
];

#[test]
fn images_that_people_have_are_read_or_refused_by_name() {
    let Some(folder) = clipn_testing::test_data("cases/public") else {
        return;
    };
    let mut listed = 0;
    for (name, expected) in CASES {
        let decoded = decode_file(folder.join(name), &DecodeOptions::faithful());
        match (decoded, expected) {
            (Ok(image), Ok(hash)) => {
                let digest = Sha256::digest(image.pixels());
                let digits: String = digest[..8].iter().map(|b| format!("{b:02x}")).collect();
                assert_eq!(digits, hash, "{name}");
            }
            (Err(error), Err(part)) => {
                assert!(error.to_string().contains(part), "{name}: {error}");
            }
            (Ok(_), Err(part)) => panic!("{name}: decoded, expected \"{part}\""),
            (Err(error), Ok(_)) => panic!("{name}: {error}"),
        }
        let is_image = is_image_start(&std::fs::read(folder.join(name)).unwrap()[..]);
        assert_eq!(is_image, !name.ends_with(".txt"), "{name}");
    }
    for kind in ["folder", "jpeg", "other", "png"] {
        listed += std::fs::read_dir(folder.join(kind)).unwrap().count();
    }
    assert_eq!(listed, CASES.len(), "files without an expected value");
}

/// Odd but valid images of real encoders (`cases/images`): the start of the SHA-256 of the pixels, or a part
/// of the error, as Pillow reads them and as they are shown to users.
const ODD: [(&str, Expected, Expected); 22] = [
    (
        "arithmetic.jpg",
        Ok("9d19e472ae3b674b"),
        Ok("9d19e472ae3b674b"),
    ),
    (
        "five-bands.tif",
        Err("expected a grayscale or color image, got 5 bands without colors"),
        Err("expected a grayscale or color image, got 5 bands without colors"),
    ),
    (
        "g3-1d.tif",
        Err("unsupported TIFF image: CCITT group 3 compression"),
        Err("unsupported TIFF image: CCITT group 3 compression"),
    ),
    (
        "g4-fill-order-2.tif",
        Ok("a8b974df1a95b77b"),
        Ok("a8b974df1a95b77b"),
    ),
    (
        "grey-12-of-16-bits.tif",
        Ok("321e62a8d6cfcf5b"),
        Err("nearly black image: the highest 16-bit sample is 4095 of 65535"),
    ),
    (
        "int32.tif",
        Err("unsupported TIFF image: signed 32-bit samples"),
        Err("unsupported TIFF image: signed 32-bit samples"),
    ),
    (
        "jpeg-ls.jls",
        Err("unsupported JPEG image: JPEG-LS"),
        Err("unsupported JPEG image: JPEG-LS"),
    ),
    ("lab.tif", Ok("b83374a678a389e4"), Ok("b83374a678a389e4")),
    (
        "lossless-8bit.jpg",
        Err("unsupported JPEG image: lossless coding"),
        Err("unsupported JPEG image: lossless coding"),
    ),
    (
        "lzma.tif",
        Err("unsupported TIFF image: LZMA compression"),
        Err("unsupported TIFF image: LZMA compression"),
    ),
    (
        "orientation-as-long.jpg",
        Ok("772497e2f7cc2d47"),
        Ok("c1e05fb864b9764d"),
    ),
    (
        "orientation-in-xmp.jpg",
        Ok("772497e2f7cc2d47"),
        Ok("c1e05fb864b9764d"),
    ),
    (
        "orientation-in-xmp.tif",
        Ok("10af8bf1f9beecf0"),
        Ok("10af8bf1f9beecf0"),
    ),
    (
        "photo.avif",
        Err("expected a JPEG, PNG, WebP, BMP, GIF, TIFF, PNM or QOI image, got an AVIF image"),
        Err("expected a JPEG, PNG, WebP, BMP, GIF, TIFF, PNM or QOI image, got an AVIF image"),
    ),
    ("photo.jfif", Ok("772497e2f7cc2d47"), Ok("772497e2f7cc2d47")),
    ("photo.pgm", Ok("62f9a2784fb59adf"), Ok("62f9a2784fb59adf")),
    ("photo.ppm", Ok("52068f9fb6b1e4d9"), Ok("52068f9fb6b1e4d9")),
    (
        "planar-16.tif",
        Ok("a2afd67bffa8b54a"),
        Ok("a2afd67bffa8b54a"),
    ),
    (
        "signed-16.tif",
        Err("unsupported TIFF image: signed 16-bit samples"),
        Err("unsupported TIFF image: signed 16-bit samples"),
    ),
    (
        "tiled-jpeg.tif",
        Ok("1c2187555c79d059"),
        Ok("1c2187555c79d059"),
    ),
    (
        "white-is-zero-16.tif",
        Ok("35c2aab95d3baae7"),
        Ok("5417f3a8131172db"),
    ),
    (
        "ycbcr-420.tif",
        Ok("1b382e3ffe10629f"),
        Ok("1b382e3ffe10629f"),
    ),
];

#[test]
fn odd_images_are_read_as_pillow_does_or_refused_by_name() {
    let Some(folder) = clipn_testing::test_data("cases/images") else {
        return;
    };
    for (name, plain, shown) in ODD {
        for (options, expected) in [
            (DecodeOptions::faithful(), plain),
            (DecodeOptions::for_display(), shown),
        ] {
            match (decode_file(folder.join(name), &options), expected) {
                (Ok(image), Ok(hash)) => {
                    let digest = Sha256::digest(image.pixels());
                    let digits: String = digest[..8].iter().map(|b| format!("{b:02x}")).collect();
                    assert_eq!(digits, hash, "{name}, {options:?}");
                }
                (Err(error), Err(part)) => {
                    assert!(error.to_string().contains(part), "{name}: {error}");
                }
                (Ok(_), Err(part)) => panic!("{name}: decoded, expected \"{part}\""),
                (Err(error), Ok(_)) => panic!("{name}: {error}"),
            }
        }
    }
}
