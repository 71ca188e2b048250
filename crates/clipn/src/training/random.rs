//! Random numbers that a resumed run repeats exactly.

use serde::{Deserialize, Serialize};

/// A xoshiro256++ generator (Blackman and Vigna) whose state is saved with a checkpoint.
///
/// [`keyed`](Self::keyed) derives an independent stream for each (seed, epoch, sample, …). The
/// numbers drawn for a sample then depend neither on the order of threads nor on where a run was
/// interrupted. Not for cryptography.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrainingRng {
    state: [u64; 4],
}

/// Advances SplitMix64 by one step. It also derives the keys of streams.
fn split_mix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

impl TrainingRng {
    /// Creates the stream of a seed.
    pub fn new(seed: u64) -> Self {
        Self::keyed(seed, &[])
    }

    /// Creates the stream of a seed and a path below it, such as `[epoch, sample]`. Paths of
    /// different lengths give different streams.
    pub fn keyed(seed: u64, path: &[u64]) -> Self {
        let mut key = seed;
        for part in path {
            key = split_mix(&mut key) ^ part.wrapping_mul(0xd134_2543_de82_ef95);
        }
        key ^= path.len() as u64;
        Self {
            state: std::array::from_fn(|_| split_mix(&mut key)),
        }
    }

    /// Returns 64 random bits.
    pub fn next_u64(&mut self) -> u64 {
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

    /// Returns a uniform integer in [0, bound) by Lemire's method; 0 if `bound` is 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        let threshold = bound.wrapping_neg().checked_rem(bound).unwrap_or(0);
        loop {
            let wide = u128::from(self.next_u64()) * u128::from(bound);
            if wide as u64 >= threshold {
                return (wide >> 64) as u64;
            }
        }
    }

    /// Returns a uniform number in [0, 1), a multiple of 2⁻⁵³.
    pub fn unit(&mut self) -> f64 {
        (self.next_u64() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Returns a number of the standard normal distribution (Box–Muller transform).
    pub fn normal(&mut self) -> f64 {
        let radius = (-2.0 * (1.0 - self.unit()).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.unit()).cos()
    }

    /// Shuffles items uniformly (Fisher–Yates).
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last as u64 + 1) as usize);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matches_the_reference_sequence() {
        // First outputs of the authors' C program for this state.
        let mut rng = TrainingRng {
            state: [1, 2, 3, 4],
        };
        assert_eq!(
            [0; 3].map(|_| rng.next_u64()),
            [41_943_041, 58_720_359, 3_588_806_011_781_223]
        );
    }

    #[test]
    fn a_restored_generator_continues_its_sequence() {
        let mut rng = TrainingRng::new(7);
        rng.next_u64();
        let saved = serde_json::to_string(&rng).unwrap();
        let mut restored: TrainingRng = serde_json::from_str(&saved).unwrap();
        assert_eq!(
            [0; 9].map(|_| rng.next_u64()),
            [0; 9].map(|_| restored.next_u64())
        );
    }

    #[test]
    fn streams_of_different_paths_differ() {
        let paths: [&[u64]; 7] = [&[], &[0], &[1], &[0, 0], &[0, 1], &[1, 0], &[0, 0, 0]];
        let mut firsts: Vec<u64> = (0..3)
            .flat_map(|seed| paths.map(|path| TrainingRng::keyed(seed, path).next_u64()))
            .collect();
        firsts.sort_unstable();
        firsts.dedup();
        assert_eq!(firsts.len(), 21);
    }

    #[test]
    fn draws_follow_their_distributions() {
        let mut rng = TrainingRng::new(1);
        let mut counts = [0u32; 17];
        for _ in 0..17_000 {
            counts[rng.below(17) as usize] += 1;
        }
        assert!(
            counts.iter().all(|count| (850..1150).contains(count)),
            "{counts:?}"
        );
        let mean = (0..10_000).map(|_| rng.unit()).sum::<f64>() / 1e4;
        assert!((mean - 0.5).abs() < 0.02, "{mean}");
        let normals: Vec<f64> = (0..10_000).map(|_| rng.normal()).collect();
        let square = normals.iter().map(|v| v * v).sum::<f64>() / 1e4;
        assert!(
            (square - 1.0).abs() < 0.06 && normals.iter().all(|v| v.is_finite()),
            "{square}"
        );
        assert_eq!(rng.below(0), 0);
    }

    #[test]
    fn a_shuffle_keeps_every_item() {
        let mut items: Vec<usize> = (0..100).collect();
        TrainingRng::new(3).shuffle(&mut items);
        assert_ne!(items, (0..100).collect::<Vec<_>>());
        items.sort_unstable();
        assert_eq!(items, (0..100).collect::<Vec<_>>());
    }
}
