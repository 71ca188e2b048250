//! Pickled object of a legacy PyTorch file, without the header.
#![no_main]

#[path = "support/checkpoint.rs"]
mod checkpoint;

/// Header of a legacy file: magic number, protocol version, system information.
const HEADER: &[u8] =
    b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03.\x80\x02}X\r\x00\x00\x00little_endian\x88s.";

libfuzzer_sys::fuzz_target!(|object: &[u8]| checkpoint::read_all_tensors(
    [HEADER, object].concat()
));
