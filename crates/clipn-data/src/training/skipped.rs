use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

/// Maximum number of skipped samples kept by name; the rest are counted.
const MAX_NAMED: usize = 10;

/// Maximum number of characters kept of an error message.
const MAX_DETAIL_CHARS: usize = 300;

/// Reason for skipping a sample.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum SkipReason {
    /// A shard cannot be read to its end; its remaining samples are lost.
    Shard,
    /// A file in a shard exceeds the size limit.
    TooLarge,
    /// A file of the sample is a link that leads to no file in the shard, a pipe, a device or a piece
    /// of a multi-volume file.
    NotAFile,
    /// Several samples whose keys have a dot are one by WebDataset's rule: the key ends at the first
    /// dot.
    DottedKeys,
    /// The sample has no image.
    NoImage,
    /// The sample has no caption or an empty one.
    NoCaption,
    /// The caption is not valid UTF-8, valid JSON or a known class.
    BadCaption,
    /// The image cannot be read or decoded.
    BadImage,
    /// A row of a table is malformed.
    BadRow,
}

impl fmt::Display for SkipReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Shard => "in a damaged shard",
            Self::TooLarge => "too large",
            Self::NotAFile => "with a link or pipe in place of a file",
            Self::DottedKeys => "merged from samples with dots in their keys",
            Self::NoImage => "without an image",
            Self::NoCaption => "without a caption",
            Self::BadCaption => "with an unreadable caption",
            Self::BadImage => "with an unreadable image",
            Self::BadRow => "in a malformed row",
        })
    }
}

/// A skipped sample, or the lost rest of a shard.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SkippedSample {
    /// Origin: `shard/key` or `table:line`.
    pub key: String,
    /// Category of the reason.
    pub reason: SkipReason,
    /// Detailed reason.
    pub detail: String,
    /// Number of samples lost: 1, the rest of a shard, or 0 if they were lost in an earlier pass over
    /// the data.
    pub samples: u64,
}

impl SkippedSample {
    /// Returns the sample with no loss if it is read again.
    pub(crate) fn repeated(mut self, is_repeated: bool) -> Self {
        if is_repeated {
            self.samples = 0;
        }
        self
    }

    pub(crate) fn new(key: String, reason: SkipReason, detail: impl Into<String>) -> Self {
        let mut detail = detail.into();
        if let Some((end, _)) = detail.char_indices().nth(MAX_DETAIL_CHARS) {
            detail.truncate(end);
            detail.push('…');
        }
        Self {
            key,
            reason,
            detail,
            samples: 1,
        }
    }
}

/// Skipped samples of an epoch, each counted once: counts by reason, and the first few by name.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SkippedSamples {
    /// Number of samples lost, by reason.
    pub counts: BTreeMap<SkipReason, u64>,
    /// First ten skipped samples.
    #[serde(rename = "first")]
    pub examples: Vec<SkippedSample>,
}

impl SkippedSamples {
    /// Returns the number of samples lost for any reason.
    pub fn total(&self) -> u64 {
        self.counts
            .values()
            .fold(0, |sum, count| sum.saturating_add(*count))
    }

    /// Adds the skipped samples of another process.
    pub fn merge(&mut self, other: Self) {
        for (reason, samples) in other.counts {
            let count = self.counts.entry(reason).or_default();
            *count = count.saturating_add(samples);
        }
        let left = MAX_NAMED.saturating_sub(self.examples.len());
        self.examples.extend(other.examples.into_iter().take(left));
    }

    /// Adds a sample, unless it was lost before.
    pub(crate) fn add(&mut self, sample: SkippedSample) {
        if sample.samples == 0 {
            return;
        }
        let count = self.counts.entry(sample.reason).or_default();
        *count = count.saturating_add(sample.samples);
        if self.examples.len() < MAX_NAMED {
            self.examples.push(sample);
        }
    }
}

impl fmt::Display for SkippedSamples {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counts: Vec<String> = self
            .counts
            .iter()
            .map(|(reason, count)| format!("{count} {reason}"))
            .collect();
        f.write_str(&counts.join(", "))?;
        let first: Vec<String> = self
            .examples
            .iter()
            .take(3)
            .map(|s| format!("{}: {}", s.key, s.detail))
            .collect();
        if first.is_empty() {
            f.write_str("nothing")
        } else {
            write!(f, " (first: {})", first.join("; "))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_all_and_lists_the_first() {
        let mut skipped = SkippedSamples::default();
        assert_eq!(skipped.to_string(), "nothing");
        for index in 0..20 {
            skipped.add(SkippedSample::new(
                format!("a.tar/{index}"),
                SkipReason::NoCaption,
                "é".repeat(400),
            ));
        }
        skipped.add(SkippedSample {
            samples: 5,
            ..SkippedSample::new("b.tar".into(), SkipReason::Shard, "x")
        });
        assert_eq!((skipped.total(), skipped.examples.len()), (25, 10));
        assert_eq!(
            skipped.examples[0].detail.chars().count(),
            MAX_DETAIL_CHARS + 1
        );
        assert!(
            skipped
                .to_string()
                .starts_with("5 in a damaged shard, 20 without a caption (first: a.tar/0: é")
        );
        let json = serde_json::to_string(&skipped).unwrap();
        assert_eq!(
            serde_json::from_str::<SkippedSamples>(&json).unwrap(),
            skipped
        );
    }
}
