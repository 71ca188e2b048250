//! Random numbers that depend only on their key, so that any draw can be repeated from its position in
//! the data.

use std::path::Path;

use clipn_base::random::{GOLDEN_GAMMA, RandomSource, SplitMix64};

/// A stream for one purpose, keyed by seed, epoch and position.
#[derive(Debug, Clone)]
pub(crate) struct KeyedRandom(SplitMix64);

/// The purpose of a stream: streams of different purposes with the same key share no numbers.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Purpose {
    Order = 1,
    Buffer = 2,
    Draw = 3,
    Augment = 4,
    Outlier = 5,
}

impl KeyedRandom {
    /// Returns the stream of a purpose, keyed by the seed, the epoch and further indices.
    pub(crate) fn keyed(purpose: Purpose, key: &[u64]) -> Self {
        Self(SplitMix64::new(
            key.iter()
                .fold(mix(purpose as u64), |state, word| mix(state ^ mix(*word))),
        ))
    }
}

impl RandomSource for KeyedRandom {
    /// The order of samples in every published run depends on this offset: it stays.
    fn next_u64(&mut self) -> u64 {
        self.0.next_u64().wrapping_add(GOLDEN_GAMMA)
    }
}

/// A hash of 64 bits over words and names, the same on every machine and in every version.
#[derive(Debug, Clone)]
pub(crate) struct StableHash(u64);

impl StableHash {
    pub(crate) fn new() -> Self {
        Self(mix(0))
    }

    pub(crate) fn word(&mut self, word: u64) {
        self.0 = mix(self.0 ^ mix(word));
    }

    pub(crate) fn text(&mut self, text: &str) {
        self.word(text.len() as u64);
        for chunk in text.as_bytes().chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.word(u64::from_le_bytes(word));
        }
    }

    /// Adds the name and the size of a file, 0 if it cannot be read.
    pub(crate) fn file(&mut self, path: &Path) {
        self.text(&path.file_name().unwrap_or_default().to_string_lossy());
        self.word(std::fs::metadata(path).map_or(0, |metadata| metadata.len()));
    }

    pub(crate) fn finish(&self) -> u64 {
        self.0
    }
}

/// SplitMix64's output function with an offset, so that 0 is not a fixed point.
fn mix(word: u64) -> u64 {
    clipn_base::random::mix(word).wrapping_add(GOLDEN_GAMMA)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_of_the_key_counts() {
        let first = |purpose, key: &[u64]| KeyedRandom::keyed(purpose, key).next_u64();
        let keys: Vec<u64> = vec![
            first(Purpose::Order, &[1, 2]),
            first(Purpose::Order, &[2, 1]),
            first(Purpose::Order, &[1, 2, 0]),
            first(Purpose::Order, &[0, 0]),
            first(Purpose::Buffer, &[1, 2]),
            first(Purpose::Augment, &[1, 2]),
        ];
        let distinct: std::collections::BTreeSet<u64> = keys.iter().copied().collect();
        assert_eq!(distinct.len(), keys.len());
        assert_eq!(first(Purpose::Order, &[1, 2]), keys[0]);
    }

    #[test]
    fn numbers_are_spread_evenly() {
        let mut random = KeyedRandom::keyed(Purpose::Draw, &[7]);
        let mut counts = [0u32; 7];
        for _ in 0..70_000 {
            counts[random.below(7) as usize] += 1;
        }
        assert!(
            counts.iter().all(|&count| (9_600..10_400).contains(&count)),
            "{counts:?}"
        );
        let mean = (0..10_000).map(|_| random.unit()).sum::<f64>() / 10_000.0;
        assert!((mean - 0.5).abs() < 0.02, "{mean}");
        assert_eq!(random.below(0), 0);
        assert_eq!(random.below(1), 0);
    }

    #[test]
    fn shuffling_permutes() {
        let mut items: Vec<u32> = (0..100).collect();
        KeyedRandom::keyed(Purpose::Order, &[3]).shuffle(&mut items);
        assert_ne!(items, (0..100).collect::<Vec<_>>());
        items.sort_unstable();
        assert_eq!(items, (0..100).collect::<Vec<_>>());
    }
}
