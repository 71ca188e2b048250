//! Pickled object of a TorchScript archive.
#![no_main]

#[path = "support/checkpoint.rs"]
mod checkpoint;

use std::io::{Cursor, Write};

use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

/// Returns a TorchScript archive with the pickle as its object and a storage of eight bytes.
fn archive(pickle: &[u8]) -> Option<Vec<u8>> {
    let stored = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, bytes) in [
        ("m/data.pkl", pickle),
        ("m/constants.pkl", b"\x80\x02)."),
        ("m/data/0", &[0; 8]),
    ] {
        zip.start_file(name, stored).ok()?;
        zip.write_all(bytes).ok()?;
    }
    Some(zip.finish().ok()?.into_inner())
}

libfuzzer_sys::fuzz_target!(|pickle: &[u8]| {
    if let Some(archive) = archive(pickle) {
        checkpoint::read_all_tensors(archive);
    }
});
