use clipn::random::{RandomSource, SplitMix64};

/// Draws of the demo world, deterministic on every platform.
#[derive(Debug, Clone)]
pub(super) struct Random(SplitMix64);

impl Random {
    /// Creates the generator of one image, independent of those of other seeds, sets and indices.
    pub(super) fn for_image(seed: u64, set: u64, index: u64) -> Self {
        let state = [set, index].into_iter().fold(seed, |state, part| {
            SplitMix64::new(state).next_u64().wrapping_add(part)
        });
        Self(SplitMix64::new(state))
    }

    /// Returns the next 64 random bits.
    pub(super) fn next(&mut self) -> u64 {
        self.0.next_u64()
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
        let mut random = Random::for_image(1, 2, 3);
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
        let first = |seed, set, index| Random::for_image(seed, set, index).next();
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
