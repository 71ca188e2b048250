//! Reader of a segment's samples, in order, including skipped ones.
use std::any::Any;
use std::io::{self, Read};
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::compression;
use super::fields::SampleFields;
use super::group::{Group, Groups};
use super::shards::Shard;
use crate::loading::{Drawn, RawImage, RawSample, SampleId, Segment, SkipReason, SkippedSample};

type Source = Groups<Box<dyn Read + Send>>;

/// Reader of the samples of a [`Segment`].
pub(crate) struct SegmentReader {
    source: Option<Source>,
    name: String,
    segment: Segment,
    /// Number of samples read so far, from the start of the shard.
    position: u64,
    /// Number of samples that the segment should yield, if known.
    expected: Option<u64>,
}

impl SegmentReader {
    pub(crate) fn new(shard: &Shard, segment: Segment) -> Self {
        let end = segment.end.or(shard.samples);
        let expected = end.map(|end| end.saturating_sub(segment.start));
        Self {
            source: None,
            name: shard.name(),
            segment,
            position: 0,
            expected,
        }
    }

    /// Returns the next sample; `None` at the end of the segment or after damage.
    pub(crate) fn next(&mut self, shard: &Shard, fields: &SampleFields) -> Option<Drawn> {
        loop {
            if self.segment.end.is_some_and(|end| self.position >= end) {
                return None;
            }
            let wanted = self.position >= self.segment.start;
            // The end of a sample is detected at the first file of the next, which must then be
            // read too.
            let read = self.position.saturating_add(1) >= self.segment.start;
            let next = match &mut self.source {
                Some(source) => catch_panic(|| source.next(read.then_some(fields))),
                None => match catch_panic(|| Some(compression::open(&shard.path))) {
                    Some(Ok(source)) => {
                        self.source = Some(Groups::new(source));
                        continue;
                    }
                    Some(Err(error)) => Some(Err(error)),
                    None => None,
                },
            };
            match next {
                Some(Ok(group)) => {
                    self.position += 1;
                    if wanted {
                        return Some(self.sample(group, fields));
                    }
                }
                Some(Err(error)) => return self.lost(Some(&error)),
                None => return self.lost(None),
            }
        }
    }

    fn sample(&self, group: Group, fields: &SampleFields) -> Drawn {
        let key = format!("{}/{}", self.name, group.key);
        match fields.take(group, &key) {
            Ok((image, caption)) => Drawn::Sample(Box::new(RawSample {
                key,
                image: RawImage::Bytes(image),
                caption,
                id: SampleId {
                    part: self.segment.shard as u64,
                    index: self.position - 1,
                    visit: self.segment.visit,
                },
            })),
            Err(skipped) => Drawn::Skip(Box::new(skipped)),
        }
    }

    /// Reports, once, the samples that are missing from the segment.
    fn lost(&mut self, error: Option<&io::Error>) -> Option<Drawn> {
        self.segment.end = Some(0);
        self.source = None;
        let read = self.position.saturating_sub(self.segment.start);
        let missing = self
            .expected
            .map_or(0, |expected| expected.saturating_sub(read));
        if error.is_none() && missing == 0 {
            return None;
        }
        let detail = match error {
            Some(error) => format!("damaged after {} samples: {error}", self.position),
            None => {
                let claimed = self
                    .segment
                    .start
                    .saturating_add(self.expected.unwrap_or(0));
                format!("expected {claimed} samples, got {}", self.position)
            }
        };
        let mut skipped = SkippedSample::new(self.name.clone(), SkipReason::Shard, detail);
        skipped.samples = missing.max(1);
        Some(Drawn::Skip(Box::new(skipped)))
    }
}

/// Counts the samples of a shard, as far as it can be read.
pub(super) fn count(shard: &Shard) -> u64 {
    let Ok(source) = compression::open(&shard.path) else {
        return 0;
    };
    let mut groups = Groups::new(source);
    let mut count = 0;
    while let Some(Ok(_)) = catch_panic(|| groups.next(None)) {
        count += 1;
    }
    count
}

/// Calls `read` and turns a panic into an error. Decompressors are third-party code that reads
/// untrusted bytes: a bug triggered by one shard must not end a run.
pub(crate) fn catch_panic<T>(
    read: impl FnOnce() -> Option<io::Result<T>>,
) -> Option<io::Result<T>> {
    catch_unwind(AssertUnwindSafe(read)).unwrap_or_else(|panic: Box<dyn Any + Send>| {
        drop(panic);
        Some(Err(io::Error::other("internal error of the decompressor")))
    })
}
