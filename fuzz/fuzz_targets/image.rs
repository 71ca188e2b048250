#![no_main]

#[path = "support/memory.rs"]
mod memory;
#[path = "support/panics.rs"]
mod panics;

use clipn::image::{DecodeOptions, decode_bytes};

const MOST_PIXELS: u64 = 1 << 20;

/// Bytes that decoding takes: of a pixel, twice those of a file, and of tables and windows; of a byte of a TIFF, which
/// may be a value of a tag.
const OF_PIXEL: usize = 24;
const OF_DECODER: usize = 16 << 20;
const OF_TAG: usize = 64;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    panics::of_own_code_only();
    let of_byte = if bytes.starts_with(b"II") || bytes.starts_with(b"MM") {
        2 + OF_TAG
    } else {
        2
    };
    let limit = MOST_PIXELS as usize * OF_PIXEL + of_byte * bytes.len() + OF_DECODER;
    for options in [DecodeOptions::faithful(), DecodeOptions::for_users()] {
        let options = DecodeOptions {
            max_pixels: MOST_PIXELS,
            ..options
        };
        if let Ok(image) = memory::within(limit, || decode_bytes(bytes, &options)) {
            let (width, height) = (u64::from(image.width()), u64::from(image.height()));
            assert!((1..=MOST_PIXELS).contains(&(width * height)));
            assert_eq!(image.pixels().len() as u64, width * height * 3);
        }
    }
});
