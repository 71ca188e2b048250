/// Pseudo-random number generator (SplitMix64: Steele, Lea and Flood, 2014), deterministic on every
/// platform.
#[derive(Debug, Clone)]
pub(super) struct Random(u64);

impl Random {
    /// Creates the generator of one image, independent of those of other seeds, sets and indices.
    pub(super) fn of_picture(seed: u64, set: u64, index: u64) -> Self {
        let mut random = Self(seed);
        for part in [set, index] {
            random.0 = random.next().wrapping_add(part);
        }
        random
    }

    /// Returns the next 64 random bits.
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Returns a uniform number in [0, 1).
    pub(super) fn unit(&mut self) -> f32 {
        (self.next() >> 40) as f32 / (1_u32 << 24) as f32
    }

    /// Returns a uniform number in [low, high).
    pub(super) fn range(&mut self, low: f32, high: f32) -> f32 {
        low + (high - low) * self.unit()
    }

    /// Returns `true` with the given probability.
    pub(super) fn chance(&mut self, probability: f32) -> bool {
        self.unit() < probability
    }

    /// Returns a uniform integer below `count`, which must not be 0.
    pub(super) fn below(&mut self, count: usize) -> usize {
        ((u128::from(self.next()) * count as u128) >> 64) as usize
    }

    /// Returns one of the values.
    pub(super) fn choose<T: Copy, const N: usize>(&mut self, values: &[T; N]) -> T {
        values[self.below(N)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_stay_in_their_ranges_and_cover_them() {
        let mut random = Random::of_picture(1, 2, 3);
        let mut seen = [0; 5];
        for _ in 0..5000 {
            assert!((0.0..1.0).contains(&random.unit()));
            seen[random.below(5)] += 1;
        }
        assert!(
            seen.iter().all(|&count| (800..1200).contains(&count)),
            "{seen:?}"
        );
    }

    #[test]
    fn images_have_independent_streams() {
        let first = |seed, set, index| Random::of_picture(seed, set, index).next();
        let streams = [
            first(0, 0, 0),
            first(0, 0, 1),
            first(0, 1, 0),
            first(1, 0, 0),
            first(1, 0, 1),
        ];
        for (i, a) in streams.iter().enumerate() {
            assert!(streams[i + 1..].iter().all(|b| a != b));
        }
    }
}
