//! Reader of a segment's samples, in order, including skipped ones.
use std::io;

use clipn_base::count::count;

use crate::archive::catch_panic;
use crate::training::sample::{DrawnItem, RawImage, RawSample, SampleId, Segment};
use crate::training::skipped::{SkipReason, SkippedSample};
use crate::training::webdataset::fields::{SampleFields, SampleFiles};
use crate::training::webdataset::samples::SampleReader;
use crate::training::webdataset::shards::Shard;

/// Reader of the samples of a [`Segment`].
pub(crate) struct SegmentReader {
    source: Option<SampleReader>,
    name: String,
    segment: Segment,
    /// Number of samples read so far, from the start of the shard.
    position: u64,
    /// Number of samples that the segment should yield, if known.
    expected: Option<u64>,
    /// The same, or else an estimate: what is lost with the damage of a shard.
    estimated: Option<u64>,
}

impl SegmentReader {
    /// Creates a reader; `mean` is the mean number of samples in the shards of the set.
    pub(crate) fn new(shard: &Shard, segment: Segment, mean: Option<u64>) -> Self {
        let from_start = |end: Option<u64>| end.map(|end| end.saturating_sub(segment.start));
        let expected = from_start(segment.end.or(shard.exact_samples()));
        let estimated = from_start(segment.end.or(shard.expected(mean)));
        Self {
            source: None,
            name: shard.name(),
            segment,
            position: 0,
            expected,
            estimated,
        }
    }

    /// Returns the next sample; `None` at the end of the segment or after damage.
    pub(crate) fn next(&mut self, shard: &Shard, fields: &SampleFields) -> Option<DrawnItem> {
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
                None => match catch_panic(|| Some(SampleReader::open(&shard.path))) {
                    Some(Ok(source)) => {
                        self.source = Some(source);
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
                Some(Err(error)) => return self.report_missing(Some(&error)),
                None => return self.report_missing(None),
            }
        }
    }

    fn sample(&self, group: SampleFiles, fields: &SampleFields) -> DrawnItem {
        let key = format!("{}/{}", self.name, group.key);
        match fields.take(group, &key) {
            Ok((image, caption)) => DrawnItem::Sample(Box::new(RawSample {
                key,
                image: RawImage::Bytes(image),
                caption,
                id: SampleId {
                    shard: self.segment.shard as u64,
                    index: self.position - 1,
                    visit: self.segment.visit,
                    is_repeated: self.segment.is_repeated,
                },
            })),
            Err(skipped) => DrawnItem::Skip(Box::new(skipped.repeated(self.segment.is_repeated))),
        }
    }

    /// Reports, once an epoch, the samples that are missing from the segment.
    fn report_missing(&mut self, error: Option<&io::Error>) -> Option<DrawnItem> {
        self.segment.end = Some(0);
        self.source = None;
        let read = self.position.saturating_sub(self.segment.start);
        let expected = match error {
            Some(_) => self.estimated,
            None => self.expected,
        };
        // What the first pass lost is not lost again.
        if self.segment.is_repeated {
            return None;
        }
        let missing = expected.map_or(0, |expected| expected.saturating_sub(read));
        if error.is_none() && missing == 0 {
            return None;
        }
        let detail = match error {
            Some(error) => format!("damaged after {}: {error}", count(self.position, "sample")),
            None => {
                let claimed = self
                    .segment
                    .start
                    .saturating_add(self.expected.unwrap_or(0));
                format!(
                    "expected {}, got {}",
                    count(claimed, "sample"),
                    self.position
                )
            }
        };
        let mut skipped = SkippedSample::new(self.name.clone(), SkipReason::Shard, detail);
        skipped.samples = missing.max(1);
        Some(DrawnItem::Skip(Box::new(skipped)))
    }
}
