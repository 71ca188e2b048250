//! Random numbers that depend only on their key, so that every draw can be reproduced from its
//! position in the data.

/// A SplitMix64 generator (Steele, Lea and Flood, "Fast splittable pseudorandom number generators",
/// 2014).
#[derive(Debug, Clone)]
pub(super) struct Random(u64);

/// Purpose of a generator. Generators for two purposes must not share their numbers, even with the
/// same seed and epoch.
#[derive(Debug, Clone, Copy)]
pub(super) enum Use {
    Order = 1,
    Buffer = 2,
    Draw = 3,
    Augment = 4,
}

impl Random {
    /// Creates the generator of a purpose, keyed by the seed, the epoch and the position in the
    /// data.
    pub(super) fn keyed(purpose: Use, key: &[u64]) -> Self {
        Self(
            key.iter()
                .fold(mix(purpose as u64), |state, word| mix(state ^ mix(*word))),
        )
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0)
    }

    /// Returns a uniform integer below `end`, or 0 if `end` is 0.
    pub(super) fn below(&mut self, end: u64) -> u64 {
        if end == 0 {
            return 0;
        }
        // Lemire's method: the high half of a product, drawn again if the low half would bias it.
        let threshold = end.wrapping_neg() % end;
        loop {
            let product = u128::from(self.next()) * u128::from(end);
            if product as u64 >= threshold {
                return (product >> 64) as u64;
            }
        }
    }

    /// Returns a uniform number in [0, 1).
    pub(super) fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Shuffles the items (Fisher–Yates).
    pub(super) fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last as u64 + 1) as usize);
        }
    }
}

/// A 64-bit hash of words and text, identical on every machine and in every version.
#[derive(Debug, Clone)]
pub(super) struct Fingerprint(u64);

impl Fingerprint {
    pub(super) fn new() -> Self {
        Self(mix(0))
    }

    pub(super) fn word(&mut self, word: u64) {
        self.0 = mix(self.0 ^ mix(word));
    }

    pub(super) fn text(&mut self, text: &str) {
        self.word(text.len() as u64);
        for chunk in text.as_bytes().chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.word(u64::from_le_bytes(word));
        }
    }

    pub(super) fn finish(&self) -> u64 {
        self.0
    }
}

/// SplitMix64's finisher: every bit of the word reaches every bit of the result.
fn mix(word: u64) -> u64 {
    let word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (word ^ (word >> 31)).wrapping_add(0x9e37_79b9_7f4a_7c15)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_of_the_key_matters() {
        let first = |purpose, key: &[u64]| Random::keyed(purpose, key).next();
        let keys: Vec<u64> = vec![
            first(Use::Order, &[1, 2]),
            first(Use::Order, &[2, 1]),
            first(Use::Order, &[1, 2, 0]),
            first(Use::Order, &[0, 0]),
            first(Use::Buffer, &[1, 2]),
            first(Use::Augment, &[1, 2]),
        ];
        let distinct: std::collections::BTreeSet<u64> = keys.iter().copied().collect();
        assert_eq!(distinct.len(), keys.len());
        assert_eq!(first(Use::Order, &[1, 2]), keys[0]);
    }

    #[test]
    fn numbers_are_uniform() {
        let mut random = Random::keyed(Use::Draw, &[7]);
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
        Random::keyed(Use::Order, &[3]).shuffle(&mut items);
        assert_ne!(items, (0..100).collect::<Vec<_>>());
        items.sort_unstable();
        assert_eq!(items, (0..100).collect::<Vec<_>>());
    }
}
