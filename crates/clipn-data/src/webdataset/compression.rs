//! The bytes of a shard, uncompressed as they are read.
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

use flate2::bufread::MultiGzDecoder;
use ruzstd::decoding::errors::{FrameDecoderError, ReadFrameHeaderError};
use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};

/// Bytes read from the disk at a time.
const BUFFER: usize = 256 << 10;

const GZIP: [u8; 2] = [0x1f, 0x8b];
const ZSTD: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

/// Bytes that a byte of a packed shard may become, and that any shard may: gzip packs no more into one, zstd packs 32,768
/// times as much, and nothing that people have is packed like that.
const OF_BYTE: u64 = 1032;
const OF_SHARD: u64 = 64 << 20;

/// Opens a shard. What it is packed with is told by its first bytes, whatever its name.
pub(crate) fn open(path: &Path) -> io::Result<Box<dyn Read + Send>> {
    // A pipe or a device could wait for ever or never end.
    if !std::fs::metadata(path)?.is_file() {
        return Err(io::Error::other("it is not a file"));
    }
    unpack(File::open(path)?)
}

/// The bytes of a shard that comes from anywhere.
pub(crate) fn unpack(
    mut source: impl Read + Send + 'static,
) -> io::Result<Box<dyn Read + Send>> {
    let mut start = Vec::new();
    (&mut source).take(4).read_to_end(&mut start)?;
    let gzip = start.starts_with(&GZIP);
    let zstd = start == ZSTD || is_skippable(&start);
    let whole = BufReader::with_capacity(BUFFER, io::Cursor::new(start).chain(source));
    Ok(if gzip {
        Box::new(MultiGzDecoder::new(whole))
    } else if zstd {
        Box::new(Zstandard::new(whole))
    } else {
        Box::new(whole)
    })
}

/// A frame that holds no data; parallel compressors begin with one.
fn is_skippable(start: &[u8]) -> bool {
    start.len() == 4 && start[0] & 0xf0 == 0x50 && start[1..] == [0x2a, 0x4d, 0x18]
}

/// Zstandard frames one after the other, as compressors that work in parallel write them.
struct Zstandard<R: BufRead> {
    source: Counted<R>,
    decoder: FrameDecoder,
    inside: bool,
    /// Bytes that came out.
    unpacked: u64,
}

impl<R: BufRead> Zstandard<R> {
    fn new(source: R) -> Self {
        let source = Counted { source, count: 0 };
        Self {
            source,
            decoder: FrameDecoder::new(),
            inside: false,
            unpacked: 0,
        }
    }

    /// Fails where so much came out of so little as of no shard.
    fn count(&mut self, bytes: usize) -> io::Result<usize> {
        self.unpacked += bytes as u64;
        if self.unpacked
            > self
                .source
                .count
                .saturating_mul(OF_BYTE)
                .saturating_add(OF_SHARD)
        {
            let problem =
                format!("it is packed {OF_BYTE} times smaller than what it holds, as no shard is");
            return Err(io::Error::new(io::ErrorKind::InvalidData, problem));
        }
        Ok(bytes)
    }

    /// Enters the next frame that holds data; `false` at the end.
    fn enter(&mut self) -> io::Result<bool> {
        while !self.source.fill_buf()?.is_empty() {
            match self.decoder.init(&mut self.source) {
                Ok(()) => {
                    self.inside = true;
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

    /// Leaves a frame that is read to its end.
    fn leave(&mut self) -> io::Result<()> {
        self.inside = false;
        let stored = self.decoder.get_checksum_from_data();
        if stored.is_some() && stored != self.decoder.get_calculated_checksum() {
            let problem = "the checksum of the zstd frame does not match its data";
            return Err(io::Error::new(io::ErrorKind::InvalidData, problem));
        }
        Ok(())
    }
}

/// Counts the bytes that are read.
struct Counted<R> {
    source: R,
    count: u64,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let count = self.source.read(out)?;
        self.count += count as u64;
        Ok(count)
    }
}

impl<R: BufRead> BufRead for Counted<R> {
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
        while self.inside || self.enter()? {
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

    /// A frame of so many runs of 128 KiB of the same byte.
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
    fn a_bomb_is_read_no_further_than_a_shard_can_be_packed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.tar");
        let read = |frame: Vec<u8>| {
            std::fs::write(&path, frame).unwrap();
            io::copy(&mut open(&path).unwrap(), &mut io::sink())
        };
        assert_eq!(read(runs(100)).unwrap(), 100 * (128 << 10));
        let refused = read(runs(2000)).unwrap_err();
        assert!(refused.to_string().contains("times smaller"), "{refused}");
    }
}
