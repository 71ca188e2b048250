#![no_main]

#[path = "support/memory.rs"]
mod memory;

use clipn::image::{DecodeOptions, decode_bytes};

const MOST_PIXELS: u64 = 1 << 20;

/// Bytes that decoding takes: of a pixel (coefficients of four components, and the picture), twice those of a file, and
/// of tables.
const OF_PIXEL: usize = 16;
const OF_DECODER: usize = 1 << 20;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let bytes = [&[0xff, 0xd8, 0xff], bytes.get(3..).unwrap_or_default()].concat();
    let options = DecodeOptions {
        max_pixels: MOST_PIXELS,
        ..DecodeOptions::for_users()
    };
    let limit = MOST_PIXELS as usize * OF_PIXEL + 2 * bytes.len() + OF_DECODER;
    if let Ok(image) = memory::within(limit, || decode_bytes(&bytes, &options)) {
        let pixels = image.width() as usize * image.height() as usize;
        assert_eq!(image.pixels().len(), pixels * 3);
    }
});
