use std::collections::BTreeMap;
use std::fmt;

use super::FitError;

/// An image as fitted scores see it.
#[derive(Debug, Clone, Copy)]
pub(super) struct FittedImage<'a> {
    /// Feature, `[D]`.
    pub(super) feature: &'a [f64],
    /// "Yes" logits, `[K]`.
    pub(super) logits: &'a [f64],
    /// Log-sum-exp of the logits.
    pub(super) energy: f64,
    /// Class with the highest logit.
    pub(super) class: usize,
    /// Cosines with the rows of the bank, `[B]`, within the rounding of `f32`; empty without a bank.
    pub(super) cosines: &'a [f32],
}

/// A score of an image from its feature and its logits, with state that was fitted to images.
pub(super) trait FeatureScorer: fmt::Debug + Send + Sync {
    /// Computes the score; higher means more in-distribution.
    fn value(&self, image: &FittedImage<'_>) -> f64;

    /// Returns the fitted state but for the bank. Scorers that share a part return it under the same
    /// name.
    fn tensors(&self) -> Vec<FitTensor> {
        Vec::new()
    }
}

/// A part of the fitted state, as files store it.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct FitTensor {
    /// Name, such as `mds.whitening`.
    pub name: String,
    /// Shape.
    pub shape: Vec<usize>,
    /// Values, row by row.
    pub values: Vec<f64>,
    /// Number of leading axes with a position per class; 0 if the order of the classes does not matter.
    pub(super) class_axes: usize,
}

impl FitTensor {
    /// Creates a tensor; the values must be as many as the shape has.
    pub fn new(name: impl Into<String>, shape: impl Into<Vec<usize>>, values: Vec<f64>) -> Self {
        Self {
            name: name.into(),
            shape: shape.into(),
            values,
            class_axes: 0,
        }
    }

    /// Sets the number of leading axes with a position per class.
    pub(super) fn with_class_axes(self, class_axes: usize) -> Self {
        Self { class_axes, ..self }
    }

    /// Returns the tensor with the classes in another order: position i has that of `order[i]`.
    pub(super) fn reordered(mut self, order: &[usize]) -> Self {
        for axis in 0..self.class_axes {
            let inner: usize = self.shape[axis + 1..].iter().product();
            let outer = self.values.chunks_exact((order.len() * inner).max(1));
            let positions = |block: &'_ [f64]| -> Vec<f64> {
                let position = |&class: &usize| block[class * inner..][..inner].iter();
                order.iter().flat_map(position).copied().collect()
            };
            self.values = outer.flat_map(positions).collect();
        }
        self
    }
}

/// Tensors of a file by name.
pub(super) struct StoredTensors(BTreeMap<String, FitTensor>);

impl StoredTensors {
    pub(super) fn new(tensors: Vec<FitTensor>) -> Self {
        let named = tensors.into_iter().map(|t| (t.name.clone(), t));
        Self(named.collect())
    }

    /// Returns the values of a tensor, which are finite or minus infinity.
    pub(super) fn values(&self, name: &'static str, shape: &[usize]) -> Result<Vec<f64>, FitError> {
        let expected = shape.iter().product();
        let tensor = self.0.get(name).filter(|tensor| tensor.shape == shape);
        let got = self.0.get(name).map_or(0, |tensor| tensor.values.len());
        let Some(tensor) = tensor.filter(|tensor| tensor.values.len() == expected) else {
            return Err(FitError::Length {
                what: name,
                expected,
                got,
            });
        };
        if tensor
            .values
            .iter()
            .any(|v| v.is_nan() || *v == f64::INFINITY)
        {
            return Err(FitError::InvalidValues {
                name: name.to_owned(),
            });
        }
        Ok(tensor.values.clone())
    }
}
