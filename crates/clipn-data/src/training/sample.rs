//! Samples before they are decoded, as readers of shards and tables yield them.

use std::path::PathBuf;

use crate::training::skipped::SkippedSample;

/// Identity of a sample, which determines its augmentation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SampleId {
    /// Index of the shard; 0 for a table.
    pub(crate) shard: u64,
    /// Index of the sample in the shard, or of the row.
    pub(crate) index: u64,
    /// Number of earlier visits in this epoch.
    pub(crate) visit: u64,
    /// Whether the sample was read in an earlier pass over the data.
    pub(crate) is_repeated: bool,
}

/// An undecoded image.
#[derive(Debug)]
pub(crate) enum RawImage {
    Bytes(Vec<u8>),
    File(PathBuf),
}

/// A sample with an undecoded image.
#[derive(Debug)]
pub(crate) struct RawSample {
    pub(crate) key: String,
    pub(crate) image: RawImage,
    pub(crate) caption: String,
    pub(crate) id: SampleId,
}

impl RawSample {
    /// Returns the approximate memory use in bytes.
    pub(crate) fn bytes(&self) -> u64 {
        let image = match &self.image {
            RawImage::Bytes(bytes) => bytes.len(),
            RawImage::File(path) => path.as_os_str().len(),
        };
        (image + self.caption.len() + self.key.len() + size_of::<Self>()) as u64
    }
}

/// Element of the sequence.
#[derive(Debug)]
pub(crate) enum DrawnItem {
    Sample(Box<RawSample>),
    Skip(Box<SkippedSample>),
    /// A draw that another process prepares.
    Elsewhere,
    /// End of a pass over the part of this process.
    PassEnd,
}

/// Range of samples in a shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Segment {
    /// Index of the shard.
    pub(crate) shard: usize,
    /// Index of the first sample.
    pub(crate) start: u64,
    /// Index after the last sample; `None` reads to the end of the shard.
    pub(crate) end: Option<u64>,
    /// Number of earlier visits of the shard in this epoch.
    pub(crate) visit: u64,
    /// Whether the segment was read in an earlier pass over the data.
    pub(crate) is_repeated: bool,
}
