use clipn_engine::PackedRows;
use clipn_model::Real;

use crate::classifier::ClassifierError;
use crate::negatives::Negatives;

/// Negatives of a classifier, and their rows packed for products with image features.
#[derive(Clone)]
pub(super) struct AttachedNegatives<T: Real> {
    negatives: Negatives<T>,
    packed: PackedRows<T>,
}

impl<T: Real> AttachedNegatives<T> {
    pub(super) fn new(negatives: Negatives<T>) -> Result<Self, ClassifierError> {
        let packed = negatives.pack()?;
        Ok(Self { negatives, packed })
    }

    pub(super) fn negatives(&self) -> &Negatives<T> {
        &self.negatives
    }

    /// Computes scale·f·Nᵀ for features f `[N, D]`, `[N, M]`.
    pub(super) fn logits(&self, features: &[T], scale: f64) -> Result<Vec<T>, ClassifierError> {
        Ok(self.packed.product(features, scale)?)
    }
}

impl<T: Real> PartialEq for AttachedNegatives<T> {
    fn eq(&self, other: &Self) -> bool {
        self.negatives == other.negatives
    }
}

impl<T: Real> std::fmt::Debug for AttachedNegatives<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.negatives.fmt(f)
    }
}
