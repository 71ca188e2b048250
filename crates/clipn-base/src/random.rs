//! Random numbers that are the same on every machine and in every version, so that a run can be
//! resumed and a draw repeated; only normal ones may differ in their last bits between platforms. Not for cryptography.
//!
//! ```
//! use clipn_base::random::{RandomSource, Xoshiro256};
//!
//! let mut items = [1, 2, 3, 4];
//! Xoshiro256::keyed(7, &[0]).shuffle(&mut items);
//! items.sort_unstable();
//! assert_eq!(items, [1, 2, 3, 4]);
//! ```

use serde::{Deserialize, Serialize};

/// Increment of SplitMix64: 2⁶⁴ divided by the golden ratio, made odd.
pub const GOLDEN_GAMMA: u64 = 0x9e37_79b9_7f4a_7c15;

/// Mixes a word by the output function of SplitMix64: every bit of the input reaches every bit of
/// the result.
#[must_use]
pub fn mix(word: u64) -> u64 {
    let word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}

/// Source of uniform 64-bit words, and the draws that are made from them.
pub trait RandomSource {
    /// Returns 64 random bits.
    fn next_u64(&mut self) -> u64;

    /// Returns an integer in `[0, bound)`, each equally likely, by Lemire's method. The result is 0 if
    /// `bound` is 0.
    fn below(&mut self, bound: u64) -> u64 {
        let rejected = bound.wrapping_neg().checked_rem(bound).unwrap_or(0);
        loop {
            let wide = u128::from(self.next_u64()) * u128::from(bound);
            if wide as u64 >= rejected {
                return (wide >> 64) as u64;
            }
        }
    }

    /// Returns a number in [0, 1), a multiple of 2⁻⁵³.
    fn unit(&mut self) -> f64 {
        (self.next_u64() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Draws from the standard normal distribution, by the method of Box and Muller.
    fn normal(&mut self) -> f64 {
        let radius = (-2.0 * (1.0 - self.unit()).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.unit()).cos()
    }

    /// Permutes the items, each order equally likely, by the method of Fisher and Yates.
    fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last as u64 + 1) as usize);
        }
    }
}

/// SplitMix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SplitMix64(u64);

impl SplitMix64 {
    /// Starts the stream at a state.
    #[must_use]
    pub fn new(state: u64) -> Self {
        Self(state)
    }
}

impl RandomSource for SplitMix64 {
    fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(GOLDEN_GAMMA);
        mix(self.0)
    }
}

/// xoshiro256++ (Blackman and Vigna, "Scrambled linear pseudorandom number generators", 2021). Its
/// state is serialized with training checkpoints.
///
/// [`keyed`](Self::keyed) makes a separate stream for each (seed, epoch, sample, …), so a draw for
/// a sample depends neither on thread order nor on where a run was interrupted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Xoshiro256 {
    state: [u64; 4],
}

impl Xoshiro256 {
    /// Returns the stream of a seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self::keyed(seed, &[])
    }

    /// Returns the stream of a seed and a path below it, such as `[epoch, sample]`. Paths of
    /// different lengths give different streams.
    #[must_use]
    pub fn keyed(seed: u64, path: &[u64]) -> Self {
        let mut key = seed;
        for part in path {
            key = SplitMix64(key).next_u64() ^ part.wrapping_mul(0xd134_2543_de82_ef95);
        }
        let mut words = SplitMix64(key ^ path.len() as u64);
        Self {
            state: std::array::from_fn(|_| words.next_u64()),
        }
    }
}

impl RandomSource for Xoshiro256 {
    fn next_u64(&mut self) -> u64 {
        let [a, b, c, d] = &mut self.state;
        let result = a.wrapping_add(*d).rotate_left(23).wrapping_add(*a);
        let shifted = *b << 17;
        *c ^= *a;
        *d ^= *b;
        *b ^= *c;
        *a ^= *d;
        *c ^= shifted;
        *d = d.rotate_left(45);
        result
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn xoshiro_follows_the_reference_sequence() {
        // First outputs of the authors' C program for this state.
        let mut random = Xoshiro256 {
            state: [1, 2, 3, 4],
        };
        assert_eq!(
            [0; 3].map(|_| random.next_u64()),
            [41_943_041, 58_720_359, 3_588_806_011_781_223]
        );
    }

    #[test]
    fn split_mix_follows_the_reference_sequence() {
        // First outputs of Vigna's splitmix64.c for the state 1234567.
        let mut random = SplitMix64::new(1_234_567);
        assert_eq!(
            [0; 2].map(|_| random.next_u64()),
            [6_457_827_717_110_365_317, 3_203_168_211_198_807_973]
        );
    }

    #[test]
    fn a_restored_generator_continues_its_stream() {
        let mut random = Xoshiro256::new(7);
        random.next_u64();
        let saved = serde_json::to_string(&random).unwrap();
        let mut restored: Xoshiro256 = serde_json::from_str(&saved).unwrap();
        assert_eq!(
            [0; 9].map(|_| random.next_u64()),
            [0; 9].map(|_| restored.next_u64())
        );
    }

    #[test]
    fn streams_of_different_paths_differ() {
        let paths: [&[u64]; 7] = [&[], &[0], &[1], &[0, 0], &[0, 1], &[1, 0], &[0, 0, 0]];
        let mut firsts: Vec<u64> = (0..3)
            .flat_map(|seed| paths.map(|path| Xoshiro256::keyed(seed, path).next_u64()))
            .collect();
        firsts.sort_unstable();
        firsts.dedup();
        assert_eq!(firsts.len(), 21);
    }

    #[test]
    fn draws_are_uniform() {
        let mut random = Xoshiro256::new(1);
        let mut counts = [0u32; 17];
        for _ in 0..17_000 {
            counts[random.below(17) as usize] += 1;
        }
        assert!(
            counts.iter().all(|count| (850..1150).contains(count)),
            "{counts:?}"
        );
        let mean = (0..10_000).map(|_| random.unit()).sum::<f64>() / 1e4;
        assert!((mean - 0.5).abs() < 0.02, "{mean}");
        assert_eq!(random.below(0), 0);
        assert_eq!(random.below(1), 0);
    }

    #[test]
    fn normal_draws_have_unit_variance() {
        let mut random = Xoshiro256::new(1);
        let normals: Vec<f64> = (0..10_000).map(|_| random.normal()).collect();
        let square = normals.iter().map(|v| v * v).sum::<f64>() / 1e4;
        assert!(
            (square - 1.0).abs() < 0.06 && normals.iter().all(|v| v.is_finite()),
            "{square}"
        );
    }

    #[test]
    fn a_shuffle_keeps_every_item() {
        let mut items: Vec<usize> = (0..100).collect();
        Xoshiro256::new(3).shuffle(&mut items);
        assert_ne!(items, (0..100).collect::<Vec<_>>());
        items.sort_unstable();
        assert_eq!(items, (0..100).collect::<Vec<_>>());
    }
}
