//! All image formats, with detection of the format.
#![no_main]

#[path = "support/memory.rs"]
mod memory;
#[path = "support/panics.rs"]
mod panics;

use clipn_image::{DecodeOptions, decode_bytes};

/// Maximum number of pixels.
const MAX_PIXELS: u64 = 1 << 20;

/// Maximum memory per pixel, in bytes.
const MEMORY_PER_PIXEL: usize = 24;

/// Maximum memory for tables and windows of the decoder, in bytes.
const DECODER_MEMORY: usize = 16 << 20;

/// Maximum memory per byte of a TIFF, which may be a value of a tag; in addition to the two bytes
/// per byte of every format.
const MEMORY_PER_TIFF_BYTE: usize = 64;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    panics::of_own_code_only();
    let per_byte = if bytes.starts_with(b"II") || bytes.starts_with(b"MM") {
        2 + MEMORY_PER_TIFF_BYTE
    } else {
        2
    };
    let limit = MAX_PIXELS as usize * MEMORY_PER_PIXEL + per_byte * bytes.len() + DECODER_MEMORY;
    for options in [DecodeOptions::faithful(), DecodeOptions::for_display()] {
        let options = DecodeOptions {
            max_pixels: MAX_PIXELS,
            ..options
        };
        if let Ok(image) = memory::within_memory_limit(limit, || decode_bytes(bytes, &options)) {
            let (width, height) = (u64::from(image.width()), u64::from(image.height()));
            assert!((1..=MAX_PIXELS).contains(&(width * height)));
            assert_eq!(image.pixels().len() as u64, width * height * 3);
        }
    }
});
