use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

/// How many skipped samples are named; the rest are counted.
const NAMED: usize = 10;

/// The most characters kept of what a decoder says about a sample.
const DETAIL: usize = 300;

/// Why a sample is left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum SkipReason {
    /// A shard cannot be read, or not to its end: its remaining samples are lost.
    Shard,
    /// A file in a shard is larger than allowed.
    TooLarge,
    /// No image belongs to the caption.
    NoImage,
    /// No caption belongs to the image, or an empty one.
    NoCaption,
    /// The caption is not UTF-8, not JSON, or not a known class.
    BadCaption,
    /// The image cannot be read or decoded.
    BadImage,
    /// A row of a table has the wrong form.
    BadRow,
}

impl fmt::Display for SkipReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Shard => "lost with a damaged shard",
            Self::TooLarge => "too large",
            Self::NoImage => "without image",
            Self::NoCaption => "without caption",
            Self::BadCaption => "with an unreadable caption",
            Self::BadImage => "with an unreadable image",
            Self::BadRow => "in a malformed row",
        })
    }
}

/// One sample that is left out, or the rest of a shard.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SkippedSample {
    /// Where it is: `shard/key`, or `table:line`.
    pub key: String,
    /// Why, in a word.
    pub reason: SkipReason,
    /// Why, in a sentence.
    pub detail: String,
    /// How many samples are lost with it: 1, or the rest of a shard.
    pub samples: u64,
}

impl SkippedSample {
    pub(crate) fn new(
        key: String,
        reason: SkipReason,
        detail: impl Into<String>,
    ) -> Self {
        let mut detail = detail.into();
        if let Some((end, _)) = detail.char_indices().nth(DETAIL) {
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

/// What an epoch left out so far: counts by reason, and the first few by name.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Skipped {
    /// Samples lost, by reason.
    pub counts: BTreeMap<SkipReason, u64>,
    /// The first ten.
    pub first: Vec<SkippedSample>,
}

impl Skipped {
    /// Samples lost for any reason.
    pub fn total(&self) -> u64 {
        self.counts
            .values()
            .fold(0, |sum, count| sum.saturating_add(*count))
    }

    pub(super) fn add(&mut self, sample: SkippedSample) {
        let count = self.counts.entry(sample.reason).or_default();
        *count = count.saturating_add(sample.samples);
        if self.first.len() < NAMED {
            self.first.push(sample);
        }
    }
}

impl fmt::Display for Skipped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counts: Vec<String> = self
            .counts
            .iter()
            .map(|(reason, count)| format!("{count} {reason}"))
            .collect();
        f.write_str(&counts.join(", "))?;
        let first: Vec<String> = self
            .first
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
    fn counts_all_and_names_the_first() {
        let mut skipped = Skipped::default();
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
        assert_eq!((skipped.total(), skipped.first.len()), (25, 10));
        assert_eq!(skipped.first[0].detail.chars().count(), DETAIL + 1);
        assert!(
            skipped
                .to_string()
                .starts_with("5 lost with a damaged shard, 20 without caption (first: a.tar/0: é")
        );
        let json = serde_json::to_string(&skipped).unwrap();
        assert_eq!(serde_json::from_str::<Skipped>(&json).unwrap(), skipped);
    }
}
