//! Images as people have them, which are not in the repository (`cases/public` of the test data).
//! Pixels are those of Pillow 13.0 with libjpeg-turbo 3.2.

use clipn_image::{DecodeOptions, decode_file, is_image_start};
use sha2::{Digest, Sha256};

/// Start of the SHA-256 of the pixels of `jpeg/base.jpg`.
const BASE: &str = "59c8356bc3ecbd45";

/// Each file with the start of the SHA-256 of its pixels, or with a part of its error.
const CASES: [(&str, Result<&str, &str>); 26] = [
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
    (
        "other/zstd.tif",
        Err("compression method ZSTD is unsupported"),
    ),
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

#[test]
fn an_arithmetic_coded_photo_has_libjpegs_pixels() {
    let Some(path) = clipn_testing::test_data("cases/images/arithmetic.jpg") else {
        return;
    };
    let image = decode_file(path, &DecodeOptions::faithful()).unwrap();
    let digest = Sha256::digest(image.pixels());
    let digits: String = digest[..8].iter().map(|b| format!("{b:02x}")).collect();
    assert_eq!(digits, "9d19e472ae3b674b");
}
