//! Small shards and images generated for tests.
#![allow(clippy::unwrap_used)]

use std::io::Write;
use std::path::Path;

/// Encodes a BMP of 8×8 pixels whose uniform color encodes `number`.
pub fn bmp(number: u32) -> Vec<u8> {
    let (width, height) = (8u32, 8u32);
    let mut bytes = b"BM".to_vec();
    let data = width * height * 3;
    for word in [54 + data, 0, 54, 40, width, height] {
        bytes.extend(word.to_le_bytes());
    }
    bytes.extend([1, 0, 24, 0]);
    for word in [0, data, 0, 0, 0, 0] {
        bytes.extend(word.to_le_bytes());
    }
    let [blue, green, red, _] = number.to_le_bytes();
    for _ in 0..width * height {
        bytes.extend([blue, green, red]);
    }
    bytes
}

/// Decodes the number of a [`bmp`] from its tensor, normalized with CLIP's mean and standard
/// deviation.
pub fn number(pixels: &[f32]) -> u32 {
    let plane = pixels.len() / 3;
    let mean = [0.481_454_66, 0.457_827_5, 0.408_210_73];
    let std = [0.268_629_55, 0.261_302_6, 0.275_777_1];
    let byte = |c: usize| ((pixels[c * plane] * std[c] + mean[c]) * 255.0).round() as u32;
    byte(0) << 16 | byte(1) << 8 | byte(2)
}

/// Creates a tar archive of the files.
pub fn tar(files: &[(String, Vec<u8>)]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, contents) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(contents.len() as u64);
        header.set_mode(0o644);
        builder
            .append_data(&mut header, name, contents.as_slice())
            .unwrap();
    }
    builder.into_inner().unwrap()
}

/// Files of valid samples: for each number a BMP image named `.png` (the format is detected from
/// the content) and a caption.
pub fn samples(numbers: impl IntoIterator<Item = u32>) -> Vec<(String, Vec<u8>)> {
    numbers
        .into_iter()
        .flat_map(|n| {
            [
                (format!("{n:06}.png"), bmp(n)),
                (format!("{n:06}.txt"), format!("picture {n}").into_bytes()),
            ]
        })
        .collect()
}

pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

pub fn zstd(bytes: &[u8]) -> Vec<u8> {
    ruzstd::encoding::compress_to_vec(bytes, ruzstd::encoding::CompressionLevel::Fastest)
}

/// Writes shards `s-0.tar`, `s-1.tar`, … with the given numbers of samples, numbered consecutively,
/// and their `sizes.json`.
pub fn write_shards(directory: &Path, sizes: &[u32]) {
    let mut first = 0;
    let mut shard_sizes = serde_json::Map::new();
    for (shard, &size) in sizes.iter().enumerate() {
        let name = format!("s-{shard}.tar");
        std::fs::write(directory.join(&name), tar(&samples(first..first + size))).unwrap();
        shard_sizes.insert(name, size.into());
        first += size;
    }
    std::fs::write(
        directory.join("sizes.json"),
        serde_json::to_vec(&shard_sizes).unwrap(),
    )
    .unwrap();
}
