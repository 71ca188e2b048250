//! The JPEG decoder.
#![no_main]

#[path = "support/memory.rs"]
mod memory;

use clipn_image::{DecodeOptions, decode_bytes};

/// Maximum number of pixels.
const MAX_PIXELS: u64 = 1 << 20;

/// Maximum memory per pixel, in bytes: coefficients of four components, and the image.
const MEMORY_PER_PIXEL: usize = 16;

/// Maximum memory for tables, in bytes, in addition to twice the file.
const DECODER_MEMORY: usize = 1 << 20;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let bytes = [&[0xff, 0xd8, 0xff], bytes.get(3..).unwrap_or_default()].concat();
    let options = DecodeOptions {
        max_pixels: MAX_PIXELS,
        ..DecodeOptions::for_display()
    };
    let limit = MAX_PIXELS as usize * MEMORY_PER_PIXEL + 2 * bytes.len() + DECODER_MEMORY;
    if let Ok(image) = memory::within_memory_limit(limit, || decode_bytes(&bytes, &options)) {
        let pixels = image.width() as usize * image.height() as usize;
        assert_eq!(image.pixels().len(), pixels * 3);
    }
});
