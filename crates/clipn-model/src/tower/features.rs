use std::borrow::Cow;

use crate::error::{ModelError, check_length};
use crate::real::Real;

/// Features of a batch, `[N, D]`, not normalized unless [`FeatureMatrix::normalize`] was called.
///
/// ```
/// use clipn_model::FeatureMatrix;
///
/// let mut features = FeatureMatrix::new(vec![3.0, 4.0, 0.0, 2.0], 2);
/// features.normalize();
/// assert_eq!(features.rows().last(), Some(&[0.0, 1.0][..]));
/// assert_eq!(features.values(), [0.6, 0.8, 0.0, 1.0]);
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct FeatureMatrix<T> {
    values: Vec<T>,
    dim: usize,
}

impl<T: Real> FeatureMatrix<T> {
    /// Creates features from rows of `dim` values; an incomplete last row is dropped.
    pub fn new(mut values: Vec<T>, dim: usize) -> Self {
        let dim = dim.max(1);
        values.truncate(values.len() / dim * dim);
        Self { values, dim }
    }

    /// Returns the number of rows `N`.
    pub fn len(&self) -> usize {
        self.values.len() / self.dim
    }

    /// Returns whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// Returns the dimension `D`.
    pub fn dim(&self) -> usize {
        self.dim
    }

    /// Returns all values, `[N, D]`.
    pub fn values(&self) -> &[T] {
        &self.values
    }

    /// Iterates over the rows, each `[D]`.
    pub fn rows(&self) -> std::slice::ChunksExact<'_, T> {
        self.values.chunks_exact(self.dim)
    }

    /// Divides every row by its L2 norm; a zero row stays zero.
    pub fn normalize(&mut self) {
        for row in self.values.chunks_exact_mut(self.dim) {
            normalize_row(row);
        }
    }
}

/// Divides a vector by its L2 norm; a zero vector stays zero.
pub fn normalize_row<T: Real>(row: &mut [T]) {
    let square = row.iter().map(|&x| x * x).sum::<T>();
    // Squares of very small or large values leave the range of the type.
    if !square.is_normal() && has_direction(row) {
        let largest = row
            .iter()
            .fold(T::zero(), |largest, x| largest.max(x.abs()));
        row.iter_mut().for_each(|x| *x = *x / largest);
        return normalize_row(row);
    }
    let length = square.sqrt();
    if length > T::zero() {
        for x in row {
            *x = *x / length;
        }
    }
}

/// Whether a vector is finite and not zero, so that it has a direction. The features of damaged weights
/// have none, also after normalization.
///
/// ```
/// use clipn_model::has_direction;
///
/// assert!(has_direction(&[0.0, 0.5]));
/// assert!(!has_direction(&[0.0, 0.0]) && !has_direction(&[1.0, f32::NAN]));
/// ```
#[must_use]
pub fn has_direction<T: Real>(row: &[T]) -> bool {
    row.iter().all(|value| value.is_finite()) && row.iter().any(|&value| value != T::zero())
}

/// Backward pass of [`FeatureMatrix::normalize`]. It maps the gradient of the normalized features `[N,
/// D]` to that of the original features: `(d − n·(n·d)) / |f|` for each row f with n = f/|f|. A
/// zero row, which has no direction, gets a zero gradient.
///
/// # Errors
/// [`ModelError::InputLength`] if the length of `d_normalized` differs from that of the features.
pub fn normalize_backward<T: Real>(
    features: &FeatureMatrix<T>,
    d_normalized: &[T],
) -> Result<Vec<T>, ModelError> {
    check_length(
        "the gradient of the normalized features",
        d_normalized.len(),
        features.values.len(),
    )?;
    let mut out = Vec::with_capacity(d_normalized.len());
    for (row, d) in features.rows().zip(d_normalized.chunks_exact(features.dim)) {
        let mut scaled = Cow::Borrowed(row);
        let mut factor = T::one();
        let mut square = row.iter().map(|&f| f * f).sum::<T>();
        // As in `normalize_row`: the direction is that of a row whose squares are in range.
        if !square.is_normal() && has_direction(row) {
            factor = row.iter().fold(T::zero(), |max, f| max.max(f.abs()));
            scaled.to_mut().iter_mut().for_each(|f| *f = *f / factor);
            square = scaled.iter().map(|&f| f * f).sum::<T>();
        }
        if square > T::zero() {
            let along = scaled.iter().zip(d).map(|(&f, &d)| f * d).sum::<T>() / square;
            let length = square.sqrt();
            let pairs = scaled.iter().zip(d);
            out.extend(pairs.map(|(&f, &d)| (d - f * along) / length / factor));
        } else {
            out.resize(out.len() + features.dim, T::zero());
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rows whose squares leave the range of f32.
    #[test]
    fn normalization_backward_has_the_direction_of_the_forward_pass() {
        let d = [0.7, 0.1, -0.5];
        let plain = FeatureMatrix::new(vec![0.3f32, -1.2, 0.4], 3);
        let plain = normalize_backward(&plain, &d).unwrap();
        for factor in [1e-25f32, 1e25] {
            let row = vec![0.3 * factor, -1.2 * factor, 0.4 * factor];
            let found = normalize_backward(&FeatureMatrix::new(row, 3), &d).unwrap();
            for (found, plain) in found.iter().zip(&plain) {
                assert!((found * factor - plain).abs() < 1e-5, "{found} {plain}");
            }
        }
    }

    #[test]
    fn normalization_backward_equals_finite_differences() {
        let features = FeatureMatrix::new(vec![0.3, -1.2, 0.4, 0.0, 0.0, 0.0], 3);
        let d = [0.7, 0.1, -0.5, 1.0, 2.0, 3.0];
        let found = normalize_backward(&features, &d).unwrap();
        let objective = |values: &[f64]| {
            let mut row = values[..3].to_vec();
            normalize_row(&mut row);
            row.iter().zip(&d).map(|(n, d)| n * d).sum::<f64>()
        };
        for i in 0..3 {
            let at = |step: f64| {
                let mut moved = features.values().to_vec();
                moved[i] += step;
                objective(&moved)
            };
            assert!((found[i] - (at(1e-6) - at(-1e-6)) / 2e-6).abs() < 1e-9);
        }
        assert_eq!(found[3..], [0.0; 3]);
        assert!(normalize_backward(&features, &d[..5]).is_err());
    }
}
