//! Gradients of a tower's parameters. An image tower's have the parameters' own structure, [`VisionParams`]; a text
//! tower's keep the token table apart, of which a batch touches a few rows.

use std::collections::BTreeMap;

use super::names::Side;
use super::params::NamedTensor;
use super::tower::check_length;
use super::{ModelError, Real, TextParams, VisionParams};
use clipn_checkpoint::Buffer;

/// The rows of a gradient `[rows, width]` that are not zero: those of the token ids that texts held.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct RowGradient<T> {
    width: usize,
    /// The place of each row in `values`.
    places: BTreeMap<u32, usize>,
    values: Vec<T>,
}

impl<T: Real> RowGradient<T> {
    /// No rows yet, of `width` values each.
    pub fn new(width: usize) -> Self {
        Self {
            width,
            places: BTreeMap::new(),
            values: Vec::new(),
        }
    }

    /// Values a row.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Number of rows touched.
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// Whether no row was touched.
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// The gradient of a row, `[width]`; `None` where it is zero because no text held the id.
    pub fn get(&self, id: u32) -> Option<&[T]> {
        self.places
            .get(&id)
            .map(|place| &self.values[place * self.width..][..self.width])
    }

    /// The rows touched, `[width]` each, by ascending id.
    pub fn iter(&self) -> impl Iterator<Item = (u32, &[T])> {
        self.places
            .iter()
            .map(|(&id, place)| (id, &self.values[place * self.width..][..self.width]))
    }

    /// Adds to a row.
    pub fn add(&mut self, id: u32, row: &[T]) {
        let place = *self.places.entry(id).or_insert_with(|| {
            let place = self.values.len() / self.width.max(1);
            self.values
                .resize(self.values.len() + self.width, T::zero());
            place
        });
        for (sum, &value) in self.values[place * self.width..][..self.width]
            .iter_mut()
            .zip(row)
        {
            *sum = *sum + value;
        }
    }

    /// All values, those of the rows touched, in the order in which they were first touched.
    pub fn values(&self) -> &[T] {
        &self.values
    }

    /// All values for writing, as for scaling; [`RowGradient::values`] tells their order.
    pub fn values_mut(&mut self) -> &mut [T] {
        &mut self.values
    }

    /// Forgets all rows.
    pub fn clear(&mut self) {
        self.places.clear();
        self.values.clear();
    }

    /// The whole gradient, `[rows, width]`, zeros included; ids beyond `rows` are left out.
    pub fn to_dense(&self, rows: usize) -> Vec<T> {
        let mut dense = vec![T::zero(); rows * self.width];
        for (id, row) in self.iter() {
            if let Some(target) = dense.chunks_exact_mut(self.width.max(1)).nth(id as usize) {
                target.copy_from_slice(row);
            }
        }
        dense
    }
}

/// The gradient of a text tower's parameters.
#[derive(Debug, Clone)]
pub struct TextGradient<T: Real> {
    /// The rows of the token table that were touched.
    pub tokens: RowGradient<T>,
    /// Everything else; its `token_embedding` is empty.
    pub dense: TextParams<T>,
}

impl<T: Real> TextGradient<T> {
    /// Zeros in the shapes of the parameters.
    pub fn zeros_like(params: &TextParams<T>) -> Self {
        let shapes = TextParams {
            token_embedding: Vec::new().into(),
            ..params.clone()
        };
        Self {
            tokens: RowGradient::new(params.width()),
            dense: shapes.zeros_like(),
        }
    }

    /// Sets everything to zero, keeping the memory.
    pub fn clear(&mut self) {
        self.tokens.clear();
        for buffer in self.dense.buffers_mut() {
            buffer.make_mut().fill(T::zero());
        }
    }

    /// Refuses a gradient that was made for other parameters.
    pub fn check(&self, params: &TextParams<T>) -> Result<(), ModelError> {
        check_length(
            "a row of the token table's gradient",
            self.tokens.width,
            params.width(),
        )?;
        check_shapes(&self.dense.buffers()[1..], &params.buffers()[1..])
    }

    /// Every gradient by open_clip's name, dense, in the order of [`TextParams::named`]: the token table's, of
    /// `vocab_size` rows, is filled up with zeros. For tests and tools; a step pairs with
    /// [`TextParams::with_gradient`].
    pub fn to_dense(&self, vocab_size: usize, side: Side) -> Vec<NamedTensor<Vec<T>>> {
        let mut full = self.dense.clone();
        full.token_embedding = self.tokens.to_dense(vocab_size).into();
        let owned = |t: NamedTensor<&[T]>| NamedTensor {
            name: t.name,
            shape: t.shape,
            values: t.values.to_vec(),
        };
        full.named(side).into_iter().map(owned).collect()
    }
}

/// Every tensor of a gradient is as long as its parameter.
fn check_shapes<T: Real>(gradient: &[&Buffer<T>], params: &[&Buffer<T>]) -> Result<(), ModelError> {
    check_length("the list of gradients", gradient.len(), params.len())?;
    gradient
        .iter()
        .zip(params)
        .try_for_each(|(g, p)| check_length("a parameter's gradient", g.len(), p.len()))
}

/// The gradient of one parameter.
#[derive(Debug, Clone, Copy)]
pub enum TensorGradient<'a, T> {
    /// As many values as the parameter has.
    Dense(&'a [T]),
    /// The rows of the parameter that were touched; the gradient of the others is zero.
    Rows(&'a RowGradient<T>),
}

impl<T: Real> TextParams<T> {
    /// Every parameter for writing, by open_clip's name, beside its gradient: what an optimizer steps through.
    pub fn with_gradient<'a>(
        &'a mut self,
        gradient: &'a TextGradient<T>,
        side: Side,
    ) -> Vec<(NamedTensor<&'a mut [T]>, TensorGradient<'a, T>)> {
        let tokens = TensorGradient::Rows(&gradient.tokens);
        let others = gradient
            .dense
            .buffers()
            .into_iter()
            .skip(1)
            .map(|b| TensorGradient::Dense(&b[..]));
        self.named_mut(side)
            .into_iter()
            .zip(std::iter::once(tokens).chain(others))
            .collect()
    }
}

impl<T: Real> VisionParams<T> {
    /// Every parameter for writing, by open_clip's name, beside its gradient: what an optimizer steps through.
    pub fn with_gradient<'a>(
        &'a mut self,
        gradient: &'a VisionParams<T>,
    ) -> Vec<(NamedTensor<&'a mut [T]>, TensorGradient<'a, T>)> {
        let gradients = gradient
            .buffers()
            .into_iter()
            .map(|b| TensorGradient::Dense(&b[..]));
        self.named_mut().into_iter().zip(gradients).collect()
    }

    /// Refuses a gradient that was made for other parameters.
    pub fn check_gradient(&self, gradient: &Self) -> Result<(), ModelError> {
        check_shapes(&gradient.buffers(), &self.buffers())
    }

    /// Sets everything to zero, keeping the memory: for gradients.
    pub fn clear(&mut self) {
        for buffer in self.buffers_mut() {
            buffer.make_mut().fill(T::zero());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_summed_and_the_rest_is_zero() {
        let mut gradient = RowGradient::<f64>::new(2);
        gradient.add(7, &[1.0, 2.0]);
        gradient.add(3, &[5.0, 6.0]);
        gradient.add(7, &[10.0, 20.0]);
        let rows: Vec<_> = gradient
            .iter()
            .map(|(id, row)| (id, row.to_vec()))
            .collect();
        assert_eq!(rows, [(3, vec![5.0, 6.0]), (7, vec![11.0, 22.0])]);
        assert_eq!((gradient.len(), gradient.get(4)), (2, None));
        let dense = gradient.to_dense(9);
        assert_eq!(
            (dense.len(), &dense[6..8], &dense[14..16]),
            (18, &[5.0, 6.0][..], &[11.0, 22.0][..])
        );
        assert_eq!(dense.iter().sum::<f64>(), 44.0);
        gradient.clear();
        assert!(gradient.is_empty() && gradient.values().is_empty());
    }
}
