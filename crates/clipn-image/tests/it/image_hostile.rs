//! Decoding of arbitrary bytes returns an image or an error: it does not panic and does not exceed
//! the pixel limit.

use std::sync::LazyLock;

use clipn_image::{DecodeOptions, ImageError, decode_bytes, decode_file};
use proptest::prelude::*;

/// Small files of every format.
static FILES: LazyLock<Vec<(String, Vec<u8>)>> = LazyLock::new(|| {
    let mut files: Vec<_> = std::fs::read_dir(clipn_testing::fixture("image"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| {
            path.extension().is_some_and(|e| {
                [
                    "bmp", "gif", "jpg", "pbm", "pgm", "png", "ppm", "qoi", "tif", "webp",
                ]
                .iter()
                .any(|known| e == *known)
            })
        })
        .map(|path| {
            (
                path.file_name().unwrap().to_string_lossy().into_owned(),
                std::fs::read(path).unwrap(),
            )
        })
        .collect();
    files.sort();
    files
});

/// Options with a small pixel limit, so that a changed size is rejected instead of decoded for
/// seconds.
fn options(users: bool) -> DecodeOptions {
    let options = if users {
        DecodeOptions::for_display()
    } else {
        DecodeOptions::faithful()
    };
    DecodeOptions {
        max_pixels: 1 << 16,
        ..options
    }
}

fn check_decoding(name: &str, bytes: &[u8], users: bool) {
    match decode_bytes(bytes, &options(users)) {
        Ok(image) => {
            assert!(
                u64::from(image.width()) * u64::from(image.height()) <= 1 << 16,
                "{name}"
            );
        }
        Err(error) => assert!(
            !error.to_string().contains("decoder panicked"),
            "{name}: {error}"
        ),
    }
}

#[test]
fn files_may_be_truncated_anywhere() {
    assert!(FILES.len() >= 135);
    for (name, bytes) in FILES.iter() {
        for length in 0..bytes.len() {
            check_decoding(name, &bytes[..length], true);
        }
    }
}

#[test]
fn every_byte_may_have_an_extreme_value() {
    for (name, bytes) in FILES.iter() {
        for position in 0..bytes.len().min(700) {
            for value in [
                0,
                0xFF,
                bytes[position] ^ 0x80,
                bytes[position].wrapping_add(1),
            ] {
                let mut changed = bytes.clone();
                changed[position] = value;
                check_decoding(name, &changed, true);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn bytes_may_change_anywhere(
        file in any::<prop::sample::Index>(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..12),
        users in any::<bool>(),
    ) {
        let (name, bytes) = &FILES[file.index(FILES.len())];
        let mut bytes = bytes.clone();
        for (position, value) in changes {
            let position = position.index(bytes.len());
            bytes[position] = value;
        }
        check_decoding(name, &bytes, users);
    }

    #[test]
    fn headers_may_be_followed_by_arbitrary_bytes(
        file in any::<prop::sample::Index>(),
        kept in 2usize..64,
        rest in prop::collection::vec(any::<u8>(), 0..512),
    ) {
        let (name, bytes) = &FILES[file.index(FILES.len())];
        let mut bytes = bytes[..kept.min(bytes.len())].to_vec();
        bytes.extend(rest);
        check_decoding(name, &bytes, true);
    }
}

#[test]
fn a_huge_file_is_refused_from_its_first_bytes() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("huge.jpg");
    let file = std::fs::File::create(&path).unwrap();
    file.set_len(3 << 30).unwrap();
    let decode = || decode_file(&path, &DecodeOptions::default()).unwrap_err();
    assert!(matches!(decode(), ImageError::UnknownFormat { .. }));
    let (_, jpeg) = FILES
        .iter()
        .find(|(name, _)| name.ends_with(".jpg"))
        .unwrap();
    std::fs::write(&path, jpeg).unwrap();
    let file = std::fs::File::options().write(true).open(&path).unwrap();
    file.set_len(3 << 30).unwrap();
    assert!(matches!(decode(), ImageError::FileTooLarge { .. }));
}

/// Bytes of a gray JPEG: the frame header `marker`, `tables` before the scan, and `data` of the scan.
fn gray_jpeg(marker: u8, side: u16, tables: &[u8], data: &[u8]) -> Vec<u8> {
    let side = side.to_be_bytes();
    let mut file = vec![0xFF, 0xD8, 0xFF, 0xDB, 0, 67, 0];
    file.extend([1; 64]);
    file.extend([0xFF, marker, 0, 11, 8, side[0], side[1], side[0], side[1]]);
    file.extend([1, 1, 0x11, 0]);
    file.extend(tables);
    file.extend([0xFF, 0xDA, 0, 8, 1, 1, 0, 0, 63, 0]);
    file.extend(data);
    file
}

/// Huffman tables with one code each, and a restart after every block.
fn tables_with_restarts() -> Vec<u8> {
    let mut tables = Vec::new();
    for destination in [0, 0x10] {
        tables.extend([0xFF, 0xC4, 0, 20, destination, 1]);
        tables.extend([0; 16]);
    }
    tables.extend([0xFF, 0xDD, 0, 4, 0, 1]);
    tables
}

/// Takes a minute if each restart searches all markers again.
#[test]
fn restarts_search_each_byte_once() {
    const SIDE: u16 = 2048;
    let data = [0xFF, 0x01].repeat(1 << 18);
    let baseline = |data: &[u8]| gray_jpeg(0xC0, SIDE, &tables_with_restarts(), data);
    let options = DecodeOptions::faithful();
    let error = decode_bytes(&baseline(&data), &options).unwrap_err();
    assert!(matches!(error, ImageError::Truncated { .. }), "{error}");
    let ended = [&data[..], &[0xFF, 0xD9]].concat();
    let image = decode_bytes(&baseline(&ended), &options).unwrap();
    assert_eq!(image.width(), u32::from(SIDE));
}

/// Takes a minute if the fill bytes before the marker are counted for each byte that the decoder reads.
#[test]
fn arithmetic_decoding_counts_fill_bytes_once() {
    let data = [&vec![0xFF; 1 << 26][..], &[0xD9]].concat();
    let image = decode_bytes(
        &gray_jpeg(0xC9, 2048, &[], &data),
        &DecodeOptions::faithful(),
    );
    assert_eq!(image.unwrap().width(), 2048);
}
