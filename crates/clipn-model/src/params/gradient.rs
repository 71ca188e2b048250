//! Gradients of a tower's parameters. The gradient of an image tower has the structure of its
//! parameters, [`VisionParams`]. The gradient of a text tower stores the token embedding sparsely,
//! because a batch touches only a few rows.

use std::collections::BTreeMap;

use clipn_checkpoint::Buffer;

use crate::config::TextSide;
use crate::error::{ModelError, check_length};
use crate::params::{NamedTensor, TextParams, VisionParams};
use crate::real::Real;

/// A sparse gradient `[rows, width]`: the rows of the token ids that occurred in a batch. All other
/// rows are zero.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct SparseGradient<T> {
    width: usize,
    /// Position of each row in `values`, by token id.
    positions: BTreeMap<u32, usize>,
    values: Vec<T>,
}

impl<T: Real> SparseGradient<T> {
    /// Creates an empty gradient with rows of `width` values.
    pub fn new(width: usize) -> Self {
        Self {
            width,
            positions: BTreeMap::new(),
            values: Vec::new(),
        }
    }

    /// Returns the number of values per row.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Returns the number of rows touched.
    pub fn len(&self) -> usize {
        self.positions.len()
    }

    /// Returns whether no row was touched.
    pub fn is_empty(&self) -> bool {
        self.positions.is_empty()
    }

    /// Returns the gradient of a row, `[width]`, or `None` if it is zero because the id did not
    /// occur.
    pub fn get(&self, id: u32) -> Option<&[T]> {
        self.positions
            .get(&id)
            .map(|position| &self.values[position * self.width..][..self.width])
    }

    /// Iterates over the rows touched, `[width]` each, by ascending id.
    pub fn iter(&self) -> impl Iterator<Item = (u32, &[T])> {
        self.positions
            .iter()
            .map(|(&id, position)| (id, &self.values[position * self.width..][..self.width]))
    }

    /// Adds `row` to the gradient of `id`.
    pub fn add(&mut self, id: u32, row: &[T]) {
        let position = *self.positions.entry(id).or_insert_with(|| {
            let position = self.values.len() / self.width.max(1);
            self.values
                .resize(self.values.len() + self.width, T::zero());
            position
        });
        for (sum, &value) in self.values[position * self.width..][..self.width]
            .iter_mut()
            .zip(row)
        {
            *sum = *sum + value;
        }
    }

    /// Returns the values of the rows touched, in the order in which they were first touched.
    pub fn values(&self) -> &[T] {
        &self.values
    }

    /// Returns the values for writing, for example to scale them, in the order of
    /// [`SparseGradient::values`].
    pub fn values_mut(&mut self) -> &mut [T] {
        &mut self.values
    }

    /// Removes all rows.
    pub fn clear(&mut self) {
        self.positions.clear();
        self.values.clear();
    }

    /// Returns the dense gradient `[rows, width]`; ids of `rows` or more are ignored.
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

/// Gradient of a text tower's parameters.
#[derive(Debug, Clone)]
pub struct TextGradient<T: Real> {
    /// Gradient of the token embedding.
    pub token_embedding: SparseGradient<T>,
    /// Gradients of all other parameters; its `token_embedding` is empty.
    pub others: TextParams<T>,
}

impl<T: Real> TextGradient<T> {
    /// Creates a zero gradient with the shapes of `params`.
    pub fn zeros_like(params: &TextParams<T>) -> Self {
        let shapes = TextParams {
            token_embedding: Vec::new().into(),
            ..params.clone()
        };
        Self {
            token_embedding: SparseGradient::new(params.width()),
            others: shapes.zeros_like(),
        }
    }

    /// Resets the gradient to zero and keeps the memory.
    pub fn clear(&mut self) {
        self.token_embedding.clear();
        for buffer in self.others.buffers_mut() {
            buffer.make_mut().fill(T::zero());
        }
    }

    /// Checks that the gradient has the shapes of the parameters, as a backward pass does before it
    /// adds to it.
    ///
    /// # Errors
    /// [`ModelError::InputLength`] for the first array of another length.
    pub fn check_shapes(&self, params: &TextParams<T>) -> Result<(), ModelError> {
        check_length(
            "a row of the token embedding's gradient",
            self.token_embedding.width,
            params.width(),
        )?;
        check_shapes(&self.others.buffers()[1..], &params.buffers()[1..])
    }

    /// Returns every gradient by open_clip's name, in the order of [`TextParams::named_tensors`]. The token
    /// embedding's is dense, with `vocab_size` rows. For tests and tools; an optimizer uses
    /// [`TextParams::zip_gradient`].
    pub fn to_dense(&self, vocab_size: usize, side: TextSide) -> Vec<NamedTensor<Vec<T>>> {
        let mut full = self.others.clone();
        full.token_embedding = self.token_embedding.to_dense(vocab_size).into();
        let owned = |t: NamedTensor<&[T]>| NamedTensor {
            name: t.name,
            shape: t.shape,
            values: t.values.to_vec(),
        };
        full.named_tensors(side).into_iter().map(owned).collect()
    }
}

/// Checks that every tensor of a gradient has the length of its parameter.
fn check_shapes<T: Real>(gradient: &[&Buffer<T>], params: &[&Buffer<T>]) -> Result<(), ModelError> {
    check_length("the list of gradients", gradient.len(), params.len())?;
    gradient
        .iter()
        .zip(params)
        .try_for_each(|(g, p)| check_length("a parameter's gradient", g.len(), p.len()))
}

/// Gradient of one parameter.
#[derive(Debug, Clone, Copy)]
pub enum TensorGradient<'a, T> {
    /// One value for each of the parameter's.
    Dense(&'a [T]),
    /// The rows that were touched; the gradient of the others is zero.
    Sparse(&'a SparseGradient<T>),
}

impl<T: Real> TextParams<T> {
    /// Pairs every parameter, by open_clip's name and for writing, with its gradient, for an
    /// optimizer step.
    pub fn zip_gradient<'a>(
        &'a mut self,
        gradient: &'a TextGradient<T>,
        side: TextSide,
    ) -> Vec<(NamedTensor<&'a mut [T]>, TensorGradient<'a, T>)> {
        let tokens = TensorGradient::Sparse(&gradient.token_embedding);
        let others = gradient
            .others
            .buffers()
            .into_iter()
            .skip(1)
            .map(|b| TensorGradient::Dense(&b[..]));
        self.named_tensors_mut(side)
            .into_iter()
            .zip(std::iter::once(tokens).chain(others))
            .collect()
    }
}

impl<T: Real> VisionParams<T> {
    /// Pairs every parameter, by open_clip's name and for writing, with its gradient, for an
    /// optimizer step.
    pub fn zip_gradient<'a>(
        &'a mut self,
        gradient: &'a VisionParams<T>,
    ) -> Vec<(NamedTensor<&'a mut [T]>, TensorGradient<'a, T>)> {
        let gradients = gradient
            .buffers()
            .into_iter()
            .map(|b| TensorGradient::Dense(&b[..]));
        self.named_tensors_mut()
            .into_iter()
            .zip(gradients)
            .collect()
    }

    /// Checks that a gradient has the shapes of these parameters, as a backward pass does before it
    /// adds to it.
    ///
    /// # Errors
    /// [`ModelError::InputLength`] for the first array of another length.
    pub fn check_gradient(&self, gradient: &Self) -> Result<(), ModelError> {
        check_shapes(&gradient.buffers(), &self.buffers())
    }

    /// Resets all values to zero and keeps the memory, for gradients.
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
    fn sums_touched_rows_and_leaves_the_rest_zero() {
        let mut gradient = SparseGradient::<f64>::new(2);
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
