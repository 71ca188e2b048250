//! Streaming decompression of archives.
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

use flate2::bufread::MultiGzDecoder;
use ruzstd::decoding::errors::{FrameDecoderError, ReadFrameHeaderError};
use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};

/// Size of the read buffer in bytes.
const BUFFER: usize = 256 << 10;

const GZIP: [u8; 2] = [0x1f, 0x8b];
pub(super) const ZSTD: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

/// Maximum compression ratio after the first [`MIN_BYTE_LIMIT`] bytes. It is the maximum of gzip;
/// zstd can reach 32,768 times as much, which no real shard does.
const MAX_RATIO: u64 = 1032;

/// Decompressed bytes that any shard may have, whatever its compression ratio.
const MIN_BYTE_LIMIT: u64 = 64 << 20;

/// Bytes of a tar archive, without its compression.
pub(super) struct Decompressed {
    pub(super) source: Box<dyn Read + Send>,
    /// Whether the archive is not compressed.
    pub(super) is_plain: bool,
}

/// Opens an archive. The compression is detected from the first bytes, not from the name.
pub(super) fn open_archive(path: &Path) -> io::Result<Decompressed> {
    // A pipe or a device could block forever or never end.
    if !std::fs::metadata(path)?.is_file() {
        return Err(io::Error::other("not a regular file"));
    }
    decompress(File::open(path)?)
}

/// Decompresses an archive from any reader.
pub(super) fn decompress(mut source: impl Read + Send + 'static) -> io::Result<Decompressed> {
    let mut start = Vec::new();
    (&mut source).take(4).read_to_end(&mut start)?;
    let gzip = start.starts_with(&GZIP);
    let zstd = start == ZSTD || is_skippable(&start);
    let whole = BufReader::with_capacity(BUFFER, io::Cursor::new(start).chain(source));
    let source: Box<dyn Read + Send> = if gzip {
        Box::new(MultiGzDecoder::new(whole))
    } else if zstd {
        Box::new(Zstandard::new(whole))
    } else {
        Box::new(whole)
    };
    Ok(Decompressed {
        source,
        is_plain: !gzip && !zstd,
    })
}

/// Returns whether a skippable frame starts here, one without data. Parallel compressors write one
/// first.
fn is_skippable(start: &[u8]) -> bool {
    start.len() == 4 && start[0] & 0xf0 == 0x50 && start[1..] == [0x2a, 0x4d, 0x18]
}

/// Decoder of concatenated Zstandard frames, as written by parallel compressors.
struct Zstandard<R: BufRead> {
    source: CountingReader<R>,
    decoder: FrameDecoder,
    in_frame: bool,
    /// Number of decompressed bytes.
    decompressed: u64,
}

impl<R: BufRead> Zstandard<R> {
    fn new(source: R) -> Self {
        let source = CountingReader { source, count: 0 };
        Self {
            source,
            decoder: FrameDecoder::new(),
            in_frame: false,
            decompressed: 0,
        }
    }

    /// Counts decompressed bytes; fails if the compression ratio exceeds the limit (decompression
    /// bomb).
    fn count(&mut self, bytes: usize) -> io::Result<usize> {
        self.decompressed += bytes as u64;
        if self.decompressed
            > self
                .source
                .count
                .saturating_mul(MAX_RATIO)
                .saturating_add(MIN_BYTE_LIMIT)
        {
            let problem = format!("compression ratio exceeds the limit of {MAX_RATIO}");
            return Err(io::Error::new(io::ErrorKind::InvalidData, problem));
        }
        Ok(bytes)
    }

    /// Starts the next frame with data; returns `false` at the end.
    fn enter(&mut self) -> io::Result<bool> {
        while !self.source.fill_buf()?.is_empty() {
            match self.decoder.init(&mut self.source) {
                Ok(()) => {
                    self.in_frame = true;
                    return Ok(true);
                }
                Err(FrameDecoderError::ReadFrameHeaderError(ReadFrameHeaderError::SkipFrame {
                    length,
                    ..
                })) => {
                    io::copy(
                        &mut (&mut self.source).take(u64::from(length)),
                        &mut io::sink(),
                    )?;
                }
                Err(error) => return Err(io::Error::other(error)),
            }
        }
        Ok(false)
    }

    /// Ends a frame and verifies its checksum.
    fn leave(&mut self) -> io::Result<()> {
        self.in_frame = false;
        let stored = self.decoder.get_checksum_from_data();
        if stored.is_some() && stored != self.decoder.get_calculated_checksum() {
            let problem = "checksum mismatch in a zstd frame";
            return Err(io::Error::new(io::ErrorKind::InvalidData, problem));
        }
        Ok(())
    }
}

/// Reader that counts the bytes read.
pub(super) struct CountingReader<R> {
    pub(super) source: R,
    pub(super) count: u64,
}

impl<R: Read> Read for CountingReader<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let count = self.source.read(out)?;
        self.count += count as u64;
        Ok(count)
    }
}

impl<R: BufRead> BufRead for CountingReader<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.source.fill_buf()
    }

    fn consume(&mut self, count: usize) {
        self.count += count as u64;
        self.source.consume(count);
    }
}

impl<R: BufRead> Read for Zstandard<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if out.is_empty() {
            return Ok(0);
        }
        while self.in_frame || self.enter()? {
            while self.decoder.can_collect() == 0 && !self.decoder.is_finished() {
                self.decoder
                    .decode_blocks(&mut self.source, BlockDecodingStrategy::UptoBlocks(1))
                    .map_err(io::Error::other)?;
            }
            let count = self.decoder.read(out)?;
            if count > 0 {
                return self.count(count);
            }
            self.leave()?;
        }
        Ok(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns a frame of `count` runs of 128 KiB of the same byte.
    fn runs(count: usize) -> Vec<u8> {
        const LENGTH: u32 = 128 << 10;
        const RUN: u32 = 1;
        let block = |is_last: bool| (LENGTH << 3 | RUN << 1 | u32::from(is_last)).to_le_bytes();
        let mut frame = [&ZSTD[..], &[0, 7 << 3]].concat();
        for index in 0..count {
            frame.extend(&block(index + 1 == count)[..3]);
            frame.push(b'a');
        }
        frame
    }

    #[test]
    fn rejects_a_decompression_bomb() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.tar");
        let read = |frame: Vec<u8>| {
            std::fs::write(&path, frame).unwrap();
            io::copy(&mut open_archive(&path).unwrap().source, &mut io::sink())
        };
        assert_eq!(read(runs(100)).unwrap(), 100 * (128 << 10));
        let error = read(runs(2000)).unwrap_err();
        assert!(error.to_string().contains("ratio"), "{error}");
    }
}
