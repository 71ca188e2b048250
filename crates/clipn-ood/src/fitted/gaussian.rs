//! Gaussians of features, and the pseudo-inverse of their covariances.

use super::FitError;
use super::eigen::{Eigen, symmetric_eigen};
use super::moments::dot;
use super::scorer::{FitTensor, StoredTensors};

/// Matrix A with AᵀA = Σ⁺, the pseudo-inverse of a covariance: squared Mahalanobis distances are squared
/// lengths of differences of A·v.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Whitening {
    dim: usize,
    /// Rows λ^(−1/2)·e of the eigenvectors, `[D, D]`; zeros for eigenvalues that are 0.
    rows: Vec<f64>,
    /// Number of eigenvalues above 0.
    rank: usize,
}

impl Whitening {
    /// Inverts a covariance `[D, D]`. Eigenvalues of at most D·ε times the largest count as 0, as in
    /// SciPy's `pinvh`, and so do those of at most `rounding`, the rounding errors of the covariance.
    pub(super) fn new(
        covariance: Vec<f64>,
        dim: usize,
        rounding: f64,
        score: &'static str,
    ) -> Result<Self, FitError> {
        let no_spread = FitError::NoSpread { score };
        let Eigen {
            values,
            mut vectors,
        } = symmetric_eigen(covariance, dim).ok_or(no_spread.clone())?;
        let largest = values.first().copied().unwrap_or_default();
        let cutoff = (dim as f64 * f64::EPSILON * largest).max(rounding);
        let rank = values.iter().filter(|value| **value > cutoff).count();
        if largest <= 0.0 || rank == 0 {
            return Err(no_spread);
        }
        for (row, value) in vectors.chunks_exact_mut(dim).zip(values) {
            let factor = if value > cutoff {
                value.sqrt().recip()
            } else {
                0.0
            };
            row.iter_mut().for_each(|v| *v *= factor);
        }
        Ok(Self {
            dim,
            rows: vectors,
            rank,
        })
    }

    pub(super) fn rank(&self) -> usize {
        self.rank
    }

    /// Computes A·v, `[D]`.
    pub(super) fn apply(&self, vector: &[f64]) -> Vec<f64> {
        self.rows
            .chunks_exact(self.dim)
            .map(|row| dot(row, vector))
            .collect()
    }
}

/// Gaussians of the classes with one covariance.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct ClassGaussians {
    whitening: Whitening,
    /// A·μ_c, `[K, D]`; zeros for classes without images.
    means: Vec<f64>,
    /// Whether a class has images, `[K]`.
    present: Vec<bool>,
}

impl ClassGaussians {
    const WHITENING: &'static str = "mds.whitening";
    const MEANS: &'static str = "mds.class_means";

    /// Combines the covariance within classes and their means; at least one class has one.
    pub(super) fn new(whitening: Whitening, means: &[Option<Vec<f64>>]) -> Self {
        let dim = whitening.dim;
        let whitened = means.iter().flat_map(|mean| match mean {
            Some(mean) => whitening.apply(mean),
            None => vec![0.0; dim],
        });
        Self {
            means: whitened.collect(),
            present: means.iter().map(Option::is_some).collect(),
            whitening,
        }
    }

    /// The smallest squared Mahalanobis distance to a class.
    pub(super) fn distance(&self, feature: &[f64]) -> f64 {
        let whitened = self.whitening.apply(feature);
        let means = self.means.chunks_exact(self.whitening.dim);
        let present = means.zip(&self.present).filter(|(_, present)| **present);
        present
            .map(|(mean, _)| squared_distance(&whitened, mean))
            .fold(f64::INFINITY, f64::min)
    }

    pub(super) fn tensors(&self) -> Vec<FitTensor> {
        let dim = self.whitening.dim;
        let present = self
            .present
            .iter()
            .map(|present| f64::from(u8::from(*present)));
        vec![
            FitTensor::new(Self::WHITENING, [dim, dim], self.whitening.rows.clone()),
            FitTensor::new(Self::MEANS, [self.present.len(), dim], self.means.clone())
                .with_class_axes(1),
            FitTensor::new("mds.present", [self.present.len()], present.collect())
                .with_class_axes(1),
        ]
    }

    pub(super) fn read(
        stored: &StoredTensors,
        classes: usize,
        dim: usize,
    ) -> Result<Self, FitError> {
        let present = stored.values("mds.present", &[classes])?;
        Ok(Self {
            whitening: read_whitening(stored, Self::WHITENING, dim)?,
            means: stored.values(Self::MEANS, &[classes, dim])?,
            present: present.iter().map(|present| *present != 0.0).collect(),
        })
    }
}

/// One Gaussian of all features.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Gaussian {
    whitening: Whitening,
    /// A·μ, `[D]`.
    mean: Vec<f64>,
}

impl Gaussian {
    const WHITENING: &'static str = "rmds.whitening";
    const MEAN: &'static str = "rmds.mean";

    pub(super) fn new(whitening: Whitening, mean: &[f64]) -> Self {
        Self {
            mean: whitening.apply(mean),
            whitening,
        }
    }

    /// The squared Mahalanobis distance.
    pub(super) fn distance(&self, feature: &[f64]) -> f64 {
        squared_distance(&self.whitening.apply(feature), &self.mean)
    }

    pub(super) fn tensors(&self) -> Vec<FitTensor> {
        let dim = self.whitening.dim;
        vec![
            FitTensor::new(Self::WHITENING, [dim, dim], self.whitening.rows.clone()),
            FitTensor::new(Self::MEAN, [dim], self.mean.clone()),
        ]
    }

    pub(super) fn read(stored: &StoredTensors, dim: usize) -> Result<Self, FitError> {
        Ok(Self {
            whitening: read_whitening(stored, Self::WHITENING, dim)?,
            mean: stored.values(Self::MEAN, &[dim])?,
        })
    }
}

fn read_whitening(
    stored: &StoredTensors,
    name: &'static str,
    dim: usize,
) -> Result<Whitening, FitError> {
    let rows = stored.values(name, &[dim, dim])?;
    let is_used = |row: &&[f64]| row.iter().any(|value| *value != 0.0);
    let rank = rows.chunks_exact(dim).filter(is_used).count();
    Ok(Whitening { dim, rows, rank })
}

fn squared_distance(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| (a - b) * (a - b)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pseudo_inverse_ignores_directions_without_spread() {
        // Variances 4 and 0.25, and none along the third axis.
        let covariance = vec![4.0, 0.0, 0.0, 0.0, 0.25, 0.0, 0.0, 0.0, 0.0];
        let whitening = Whitening::new(covariance, 3, 1e-15, "mds").unwrap();
        assert_eq!(whitening.rank(), 2);
        let gaussian = Gaussian::new(whitening, &[1.0, 1.0, 1.0]);
        assert!((gaussian.distance(&[3.0, 2.0, 9.0]) - 5.0).abs() < 1e-12);
        for variance in [0.0, 1e-17] {
            let covariance = vec![variance, 0.0, 0.0, variance];
            let error = Whitening::new(covariance, 2, 1e-15, "mds").unwrap_err();
            assert_eq!(error, FitError::NoSpread { score: "mds" });
        }
    }
}
