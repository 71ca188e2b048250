//! Means and covariances of features in one pass.

/// Rows whose products are summed at a time.
const BLOCK: usize = 64;

/// Sums of features, their classes and their products, in `f64`.
///
/// All sums are of differences from the mean of the first block, the shifted-data algorithm (Chan,
/// Golub and LeVeque, 1983): the mean of CLIP's features is longer than their deviations from it, and
/// plain sums of squares would cancel.
#[derive(Debug, Clone)]
pub(super) struct Moments {
    dim: usize,
    /// Mean of the first block, `[D]`; empty before it.
    shift: Vec<f64>,
    count: usize,
    /// Largest difference of a value from the shift.
    deviation: f64,
    sum: Vec<f64>,
    /// Sum of the outer products, `[D, D]`, its lower triangle; empty if not requested.
    products: Vec<f64>,
    class_counts: Vec<usize>,
    /// Sum of the features of each class, `[K, D]`.
    class_sums: Vec<f64>,
}

impl Moments {
    pub(super) fn new(dim: usize, classes: usize, with_products: bool) -> Self {
        let products = if with_products { dim * dim } else { 0 };
        Self {
            dim,
            shift: Vec::new(),
            count: 0,
            deviation: 0.0,
            sum: vec![0.0; dim],
            products: vec![0.0; products],
            class_counts: vec![0; classes],
            class_sums: vec![0.0; classes * dim],
        }
    }

    /// Adds rows `[N, D]` of finite values, and their classes `[N]`.
    pub(super) fn add(&mut self, rows: &[f64], classes: &[usize]) {
        let dim = self.dim;
        if self.shift.is_empty() {
            let count = (rows.len() / dim) as f64;
            self.shift = vec![0.0; dim];
            for row in rows.chunks_exact(dim) {
                add_to(&mut self.shift, row);
            }
            self.shift.iter_mut().for_each(|value| *value /= count);
        }
        for (row, &class) in rows.chunks_exact(dim).zip(classes) {
            self.count += 1;
            self.class_counts[class] += 1;
            let class_sum = &mut self.class_sums[class * dim..][..dim];
            let values = row.iter().zip(&self.shift).map(|(v, shift)| v - shift);
            for ((value, sum), class_sum) in values.zip(&mut self.sum).zip(class_sum) {
                *sum += value;
                *class_sum += value;
                self.deviation = self.deviation.max(value.abs());
            }
        }
        if !self.products.is_empty() {
            for block in rows.chunks(BLOCK * dim) {
                self.add_products(block);
            }
        }
    }

    fn add_products(&mut self, block: &[f64]) {
        let (dim, count) = (self.dim, block.len() / self.dim);
        // Columns of the block one after another, so that each product is one of contiguous values.
        let mut columns = vec![0.0; block.len()];
        for (index, row) in block.chunks_exact(dim).enumerate() {
            for (j, (value, shift)) in row.iter().zip(&self.shift).enumerate() {
                columns[j * count + index] = value - shift;
            }
        }
        for (i, column) in columns.chunks_exact(count).enumerate() {
            let line = &mut self.products[i * dim..][..=i];
            for (sum, other) in line.iter_mut().zip(columns.chunks_exact(count)) {
                *sum += dot(column, other);
            }
        }
    }

    pub(super) fn count(&self) -> usize {
        self.count
    }

    /// Mean of all features, `[D]`.
    pub(super) fn mean(&self) -> Vec<f64> {
        let values = self.shift.iter().zip(&self.sum);
        values
            .map(|(shift, sum)| shift + sum / self.count as f64)
            .collect()
    }

    /// Mean of the features of a class, `[D]`; `None` without any.
    pub(super) fn class_mean(&self, class: usize) -> Option<Vec<f64>> {
        let count = self.class_counts[class];
        let sums = &self.class_sums[class * self.dim..][..self.dim];
        let mean = self.shift.iter().zip(sums);
        (count > 0).then(|| {
            mean.map(|(shift, sum)| shift + sum / count as f64)
                .collect()
        })
    }

    /// Whether the features are not all equal, but for the rounding of their mean.
    pub(super) fn varies(&self) -> bool {
        let largest = self
            .shift
            .iter()
            .fold(0.0, |largest: f64, v| largest.max(v.abs()));
        self.deviation > 1e-12 * largest
    }

    /// Second moment around 0, zᵀz / n `[D, D]`.
    pub(super) fn second_moment(&self) -> Vec<f64> {
        let n = self.count as f64;
        self.symmetric(|i, j, product| {
            let (a, b) = (self.shift[i], self.shift[j]);
            product + a * self.sum[j] / n + self.sum[i] / n * b + a * b
        })
    }

    /// Covariance of all features, `[D, D]`.
    pub(super) fn covariance(&self) -> Vec<f64> {
        let n = self.count as f64;
        self.symmetric(|i, j, product| product - self.sum[i] / n * (self.sum[j] / n))
    }

    /// Covariance of the features around the means of their classes, `[D, D]`.
    pub(super) fn covariance_within_classes(&self) -> Vec<f64> {
        let mut between = vec![0.0; self.dim * self.dim];
        let sums = self.class_sums.chunks_exact(self.dim);
        for (sum, &count) in sums.zip(&self.class_counts).filter(|(_, n)| **n > 0) {
            let weight = 1.0 / (count as f64 * self.count as f64);
            for (i, line) in between.chunks_exact_mut(self.dim).enumerate() {
                let factor = weight * sum[i];
                for (value, sum) in line[..=i].iter_mut().zip(sum) {
                    *value += factor * sum;
                }
            }
        }
        self.symmetric(|i, j, product| product - between[i * self.dim + j])
    }

    /// Rounding errors of a covariance, which is a difference of mean products: those of sums of N products,
    /// and of an eigenvalue of D values.
    pub(super) fn rounding(&self) -> f64 {
        let diagonal = self.products.iter().step_by(self.dim + 1);
        let largest = diagonal.fold(0.0, |largest: f64, product| largest.max(*product));
        let terms = (self.count as f64).sqrt().max(self.dim as f64);
        terms * f64::EPSILON * largest / self.count as f64
    }

    /// Makes a symmetric matrix of the mean products of the lower triangle.
    fn symmetric(&self, value: impl Fn(usize, usize, f64) -> f64) -> Vec<f64> {
        let dim = self.dim;
        let mut matrix = vec![0.0; dim * dim];
        for i in 0..dim {
            for j in 0..=i {
                let mean = self.products[i * dim + j] / self.count as f64;
                let value = value(i, j, mean);
                matrix[i * dim + j] = value;
                matrix[j * dim + i] = value;
            }
        }
        matrix
    }
}

/// Adds the values of a row to sums.
pub(super) fn add_to(sums: &mut [f64], row: &[f64]) {
    for (sum, value) in sums.iter_mut().zip(row) {
        *sum += value;
    }
}

/// Dot product in eight partial sums, which the compiler can vectorize.
pub(super) fn dot(a: &[f64], b: &[f64]) -> f64 {
    let mut lanes = [0.0; 8];
    let (a, b) = (a.chunks_exact(8), b.chunks_exact(8));
    let tail = a.remainder().iter().zip(b.remainder());
    let tail: f64 = tail.map(|(x, y)| x * y).sum();
    for (a, b) in a.zip(b) {
        for ((lane, x), y) in lanes.iter_mut().zip(a).zip(b) {
            *lane += x * y;
        }
    }
    lanes.into_iter().sum::<f64>() + tail
}

/// Length of a vector.
pub(super) fn norm(values: &[f64]) -> f64 {
    dot(values, values).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;
    use clipn_base::random::{RandomSource, Xoshiro256};

    const DIM: usize = 5;

    /// Rows around a mean that is a thousand times their deviation.
    fn rows(count: usize) -> (Vec<f64>, Vec<usize>) {
        let mut random = Xoshiro256::new(1);
        let rows = (0..count * DIM).map(|i| 1000.0 + (i % DIM) as f64 + random.normal());
        (rows.collect(), (0..count).map(|i| i % 3).collect())
    }

    fn covariance_in_two_passes(rows: &[f64], means: &[Vec<f64>], classes: &[usize]) -> Vec<f64> {
        let mut sums = [0.0; DIM * DIM];
        for (row, &class) in rows.chunks_exact(DIM).zip(classes) {
            for i in 0..DIM {
                for j in 0..DIM {
                    let mean = &means[class];
                    sums[i * DIM + j] += (row[i] - mean[i]) * (row[j] - mean[j]);
                }
            }
        }
        sums.iter().map(|sum| sum / classes.len() as f64).collect()
    }

    fn assert_near(actual: &[f64], expected: &[f64], tolerance: f64) {
        assert_eq!(actual.len(), expected.len());
        for (a, b) in actual.iter().zip(expected) {
            assert!((a - b).abs() <= tolerance, "expected {b}, got {a}");
        }
    }

    #[test]
    fn one_pass_agrees_with_two() {
        let (rows, classes) = rows(200);
        let mut moments = Moments::new(DIM, 3, true);
        moments.add(&rows, &classes);
        let zeros = vec![0; classes.len()];
        let covariance = covariance_in_two_passes(&rows, &[moments.mean()], &zeros);
        assert_near(&moments.covariance(), &covariance, 1e-11);
        let means: Vec<_> = (0..3).map(|c| moments.class_mean(c).unwrap()).collect();
        let within = covariance_in_two_passes(&rows, &means, &classes);
        assert_near(&moments.covariance_within_classes(), &within, 1e-11);
        let second = covariance_in_two_passes(&rows, &[[0.0; DIM].to_vec()], &zeros);
        assert_near(&moments.second_moment(), &second, 1e-8);
    }

    #[test]
    fn blocks_of_any_size_give_the_same_moments() {
        let (rows, classes) = rows(150);
        let mut whole = Moments::new(DIM, 3, true);
        whole.add(&rows, &classes);
        for size in [1, 7, 64, 100] {
            let mut parts = Moments::new(DIM, 3, true);
            for (rows, classes) in rows.chunks(size * DIM).zip(classes.chunks(size)) {
                parts.add(rows, classes);
            }
            assert_eq!(parts.class_counts, whole.class_counts);
            assert_near(&parts.mean(), &whole.mean(), 1e-11);
            assert_near(&parts.covariance(), &whole.covariance(), 1e-11);
        }
        assert_eq!(Moments::new(DIM, 2, false).class_mean(0), None);
    }
}
