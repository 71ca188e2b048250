//! Features of images that are kept, for neighbors and percentiles.

use clipn_base::random::{RandomSource, Xoshiro256};

use super::moments::{dot, norm};

/// OpenOOD adds this to every entry of a normalized feature.
const NORMALIZER_OFFSET: f64 = 1e-10;

/// Purpose of the random stream of the sample.
const SAMPLE_STREAM: u64 = 0x62616e6b;
/// Purpose of the random stream of the final order.
const ORDER_STREAM: u64 = 0x6f726465;

/// Sample of the images in one pass: all of them up to a maximum, each equally likely (Vitter's
/// algorithm R).
#[derive(Debug, Clone)]
pub(super) struct Reservoir {
    dim: usize,
    capacity: usize,
    seen: usize,
    random: Xoshiro256,
    seed: u64,
    /// Features, `[B, D]`.
    rows: Vec<f32>,
    /// Log-sum-exp and maximum of the logits of each image.
    energies: Vec<f64>,
    max_logits: Vec<f64>,
}

impl Reservoir {
    pub(super) fn new(dim: usize, capacity: usize, seed: u64) -> Self {
        Self {
            dim,
            capacity,
            seen: 0,
            random: Xoshiro256::keyed(seed, &[SAMPLE_STREAM]),
            seed,
            rows: Vec::new(),
            energies: Vec::new(),
            max_logits: Vec::new(),
        }
    }

    pub(super) fn add(&mut self, row: &[f32], energy: f64, max_logit: f64) {
        self.seen += 1;
        if self.energies.len() < self.capacity {
            self.rows.extend_from_slice(row);
            self.energies.push(energy);
            self.max_logits.push(max_logit);
            return;
        }
        let position = self.random.below(self.seen as u64) as usize;
        if position < self.capacity {
            self.rows[position * self.dim..][..self.dim].copy_from_slice(row);
            self.energies[position] = energy;
            self.max_logits[position] = max_logit;
        }
    }

    /// Returns the sample in a random order, so that the first rows are a sample too, and the mean of
    /// the maximum logits.
    pub(super) fn finish(self) -> (FeatureBank, f64) {
        let count = self.energies.len();
        let mut order: Vec<usize> = (0..count).collect();
        Xoshiro256::keyed(self.seed, &[ORDER_STREAM]).shuffle(&mut order);
        let row = |&index: &usize| self.rows[index * self.dim..][..self.dim].iter().copied();
        let rows = order.iter().flat_map(row).collect();
        let energies = order.iter().map(|&index| self.energies[index]).collect();
        let mean = self.max_logits.iter().sum::<f64>() / count.max(1) as f64;
        (FeatureBank::new(rows, energies, self.dim), mean)
    }
}

/// Features of B images, in random order, and their energies.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct FeatureBank {
    dim: usize,
    /// `[B, D]`, as they were given.
    rows: Vec<f32>,
    /// 1 / ‖row‖, `[B]`.
    inverse_norms: Vec<f64>,
    /// Log-sum-exp of the logits, `[B]`.
    energies: Vec<f64>,
}

impl FeatureBank {
    pub(super) fn new(rows: Vec<f32>, energies: Vec<f64>, dim: usize) -> Self {
        let inverse_norm = |row: &[f32]| 1.0 / norm(&widen(row));
        let inverse_norms = rows.chunks_exact(dim).map(inverse_norm).collect();
        Self {
            dim,
            rows,
            inverse_norms,
            energies,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.energies.len()
    }

    pub(super) fn rows(&self) -> &[f32] {
        &self.rows
    }

    pub(super) fn energies(&self) -> &[f64] {
        &self.energies
    }

    /// Rows of length 1, `[B, D]`.
    pub(super) fn normalized(&self) -> Vec<f32> {
        let rows = self.rows.chunks_exact(self.dim).zip(&self.inverse_norms);
        rows.flat_map(|(row, inverse)| {
            row.iter()
                .map(move |value| (f64::from(*value) * inverse) as f32)
        })
        .collect()
    }

    /// OpenOOD's normalized row: divided by its length, plus 1e-10.
    pub(super) fn normalized_row(&self, index: usize) -> impl Iterator<Item = f64> {
        let inverse = self.inverse_norms[index];
        let row = &self.rows[index * self.dim..][..self.dim];
        row.iter()
            .map(move |value| f64::from(*value) * inverse + NORMALIZER_OFFSET)
    }

    /// Cosines between a feature of length 1 and all rows, `[B]`.
    pub(super) fn cosines(&self, unit: &[f64]) -> Vec<f32> {
        let rows = self.rows.chunks_exact(self.dim).zip(&self.inverse_norms);
        rows.map(|(row, inverse)| (dot(unit, &widen(row)) * inverse) as f32)
            .collect()
    }
}

/// OpenOOD's normalized feature: divided by its length, plus 1e-10.
pub(super) fn openood_normalized(feature: &[f64]) -> Vec<f64> {
    let length = norm(feature);
    let normalized = feature.iter().map(|v| v / length + NORMALIZER_OFFSET);
    normalized.collect()
}

pub(super) fn widen<T: Copy + Into<f64>>(row: &[T]) -> Vec<f64> {
    row.iter().map(|value| (*value).into()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(count: usize, capacity: usize, seed: u64) -> Vec<f32> {
        let mut reservoir = Reservoir::new(1, capacity, seed);
        for index in 0..count {
            reservoir.add(&[index as f32], 0.0, 1.0);
        }
        reservoir.finish().0.rows
    }

    #[test]
    fn a_bank_that_is_large_enough_has_every_image_once() {
        let mut rows = sample(40, 40, 0);
        assert_ne!(rows, (0..40).map(|i| i as f32).collect::<Vec<_>>());
        rows.sort_by(f32::total_cmp);
        assert_eq!(rows, (0..40).map(|i| i as f32).collect::<Vec<_>>());
    }

    #[test]
    fn every_image_is_as_likely_to_be_kept() {
        let mut counts = [0; 20];
        for seed in 0..2000 {
            let rows = sample(20, 5, seed);
            assert_eq!(rows.len(), 5);
            rows.iter().for_each(|row| counts[*row as usize] += 1);
        }
        // 2,000 × 5 / 20 = 500 with a standard deviation of 19.
        assert!(
            counts.iter().all(|count| (410..590).contains(count)),
            "{counts:?}"
        );
        assert_eq!(sample(20, 5, 3), sample(20, 5, 3));
    }
}
