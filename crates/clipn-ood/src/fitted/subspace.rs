//! The space outside the principal subspace of the features.

use super::FitError;
use super::eigen::symmetric_eigen;
use super::moments::{dot, norm};
use super::scorer::{FitTensor, StoredTensors};

/// Eigenvectors of zᵀz / n beyond the first ones. The origin is 0, since CLIP has no bias.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Residuals {
    dim: usize,
    /// `[D - principal, D]`.
    rows: Vec<f64>,
}

impl Residuals {
    const NAME: &'static str = "residual.basis";

    /// Computes them from the second moment `[D, D]` of this number of images. Fails if the features are all
    /// in the principal subspace, but for the rounding of an eigenvalue: the rest of the basis would be arbitrary.
    pub(super) fn new(
        second_moment: Vec<f64>,
        dim: usize,
        principal: usize,
        images: usize,
        score: &'static str,
    ) -> Result<Self, FitError> {
        let eigen = symmetric_eigen(second_moment, dim).ok_or(FitError::NoSpread { score })?;
        let rounding = dim as f64 * f64::EPSILON;
        let is_noise = |value: f64| value <= rounding * eigen.values[0];
        if images <= principal || eigen.values.get(principal).copied().is_none_or(is_noise) {
            return Err(FitError::NoResidual { score, images });
        }
        let rows = eigen.vectors[principal * dim..].to_vec();
        Ok(Self { dim, rows })
    }

    /// ‖Nᵀ v‖: the length of the part of the feature outside the principal subspace.
    pub(super) fn length(&self, feature: &[f64]) -> f64 {
        let rows = self.rows.chunks_exact(self.dim);
        let parts: Vec<f64> = rows.map(|row| dot(row, feature)).collect();
        norm(&parts)
    }

    pub(super) fn tensor(&self) -> FitTensor {
        let rows = self.rows.len() / self.dim;
        FitTensor::new(Self::NAME, [rows, self.dim], self.rows.clone())
    }

    pub(super) fn read(
        stored: &StoredTensors,
        dim: usize,
        principal: usize,
    ) -> Result<Self, FitError> {
        let rows = stored.values(Self::NAME, &[dim.saturating_sub(principal), dim])?;
        Ok(Self { dim, rows })
    }
}
