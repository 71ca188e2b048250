#![no_main]

mod exercise;

/// The head of a legacy file: magic number, protocol number, facts about the machine.
const HEAD: &[u8] =
    b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03.\x80\x02}X\r\x00\x00\x00little_endian\x88s.";

libfuzzer_sys::fuzz_target!(|object: &[u8]| exercise::exercise([HEAD, object].concat()));
