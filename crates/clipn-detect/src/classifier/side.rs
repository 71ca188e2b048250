use clipn_engine::PackedRows;
use clipn_model::Real;

use crate::classifier::ClassifierError;

/// One side of a classifier: rows `[K, D]`, "yes" or "no", also packed for products with image features.
#[derive(Clone)]
pub(super) struct ClassifierSide<T: Real> {
    rows: Vec<T>,
    packed: PackedRows<T>,
}

impl<T: Real> ClassifierSide<T> {
    pub(super) fn new(rows: Vec<T>, dim: usize) -> Result<Self, ClassifierError> {
        let packed = PackedRows::new(&rows, dim)?;
        Ok(Self { rows, packed })
    }

    pub(super) fn rows(&self) -> &[T] {
        &self.rows
    }

    /// Computes scale·f·Wᵀ for features f `[N, D]`, `[N, K]`.
    pub(super) fn logits(&self, features: &[T], scale: f64) -> Result<Vec<T>, ClassifierError> {
        Ok(self.packed.product(features, scale)?)
    }
}

impl<T: Real> PartialEq for ClassifierSide<T> {
    fn eq(&self, other: &Self) -> bool {
        self.rows == other.rows
    }
}

impl<T: Real> std::fmt::Debug for ClassifierSide<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.rows.fmt(f)
    }
}
