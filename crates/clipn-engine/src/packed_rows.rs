//! Products of feature rows with many constant rows, such as the text features of a word list.

use std::fmt;

use clipn_model::{ModelError, Real};

use crate::kernels::{Epilogue, Matrix, MatrixMut, PackedB, gemm};

/// Constant rows W `[M, D]`, packed once for the products f·Wᵀ.
///
/// In `f32`, the products run in the GEMM of the towers; in `f64`, in a plain loop. The result for a
/// row of features has the same bits whatever other rows are in the call.
///
/// ```
/// use clipn_engine::PackedRows;
///
/// let rows = PackedRows::new(&[1.0, 0.0, 0.6, 0.8], 2)?;
/// let mut logits = vec![0.0; 2];
/// rows.products(&[0.0, 1.0], 100.0, &mut logits)?;
/// assert_eq!(logits, [0.0f32, 80.0]);
/// # Ok::<(), clipn_model::ModelError>(())
/// ```
#[derive(Clone)]
pub struct PackedRows<T: Real = f32> {
    values: Values<T>,
    rows: usize,
    dim: usize,
}

#[derive(Clone)]
enum Values<T> {
    /// The transpose, packed for the GEMM.
    Packed(PackedB),
    /// The rows, for types without a GEMM.
    Plain(Vec<T>),
}

impl<T: Real> PackedRows<T> {
    /// Packs rows of `dim` values each, `[M, D]`.
    ///
    /// # Errors
    /// [`ModelError::InputLength`] if the values are not whole rows.
    pub fn new(rows: &[T], dim: usize) -> Result<Self, ModelError> {
        let count = whole_rows("the rows to pack", rows.len(), dim)?;
        let values = match T::as_f32s(rows) {
            Some(rows) => {
                let matrix = Matrix::new(rows, count, dim, dim);
                Values::Packed(PackedB::pack(matrix.transposed()))
            }
            None => Values::Plain(rows.to_vec()),
        };
        Ok(Self {
            values,
            rows: count,
            dim,
        })
    }

    /// Returns the number of rows M.
    pub fn len(&self) -> usize {
        self.rows
    }

    /// Returns whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.rows == 0
    }

    /// Returns the dimension D.
    pub fn dim(&self) -> usize {
        self.dim
    }

    /// Computes `out` = scale·f·Wᵀ, `[N, M]`, for features f `[N, D]`, on the calling thread.
    ///
    /// # Errors
    /// [`ModelError::InputLength`] if the features are not whole rows, or if `out` does not have N·M
    /// values.
    pub fn products(&self, features: &[T], scale: f64, out: &mut [T]) -> Result<(), ModelError> {
        let count = whole_rows("the features", features.len(), self.dim)?;
        if out.len() != count * self.rows {
            return Err(ModelError::InputLength {
                what: "the products",
                expected: count * self.rows,
                found: out.len(),
            });
        }
        match &self.values {
            Values::Packed(packed) => {
                if let (Some(features), Some(out)) = (T::as_f32s(features), T::as_f32s_mut(out)) {
                    gemm(
                        MatrixMut::new(out, count, self.rows, self.rows),
                        Matrix::new(features, count, self.dim, self.dim),
                        packed,
                        Epilogue {
                            alpha: scale as f32,
                            ..Epilogue::default()
                        },
                        1,
                    );
                }
            }
            Values::Plain(rows) => {
                let scale = T::from_f64(scale);
                let features = features.chunks_exact(self.dim);
                for (row, out) in features.zip(out.chunks_exact_mut(self.rows.max(1))) {
                    for (out, weights) in out.iter_mut().zip(rows.chunks_exact(self.dim)) {
                        let products = row.iter().zip(weights).map(|(&a, &b)| a * b);
                        *out = scale * products.sum::<T>();
                    }
                }
            }
        }
        Ok(())
    }

    /// Returns scale·f·Wᵀ, `[N, M]`, as [`products`](Self::products) computes it.
    ///
    /// # Errors
    /// [`ModelError::InputLength`] if the features are not whole rows.
    pub fn product(&self, features: &[T], scale: f64) -> Result<Vec<T>, ModelError> {
        let count = whole_rows("the features", features.len(), self.dim)?;
        let mut out = vec![T::zero(); count * self.rows];
        self.products(features, scale, &mut out)?;
        Ok(out)
    }
}

/// Returns the number of rows of `dim` values.
fn whole_rows(what: &'static str, values: usize, dim: usize) -> Result<usize, ModelError> {
    match values.checked_div(dim) {
        Some(rows) if rows * dim == values => Ok(rows),
        rows => Err(ModelError::InputLength {
            what,
            expected: rows.unwrap_or(0) * dim,
            found: values,
        }),
    }
}

impl<T: Real> fmt::Debug for PackedRows<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PackedRows")
            .field("rows", &self.rows)
            .field("dim", &self.dim)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use clipn_testing::condition::UNIT_ROUNDOFF;
    use clipn_testing::random::Random;
    use proptest::prelude::*;

    use super::*;

    fn products<T: Real>(rows: &[T], features: &[T], dim: usize, scale: f64) -> Vec<T> {
        let packed = PackedRows::new(rows, dim).unwrap();
        let mut out = vec![T::zero(); features.len() / dim * packed.len()];
        packed.products(features, scale, &mut out).unwrap();
        out
    }

    proptest! {
        #[test]
        fn kernels_agree_with_a_plain_product(n in 0usize..9, m in 0usize..150, dim in 1usize..80, seed: u64) {
            let mut random = Random::new(seed);
            let (rows, features): (Vec<f32>, Vec<f32>) = (random.values(m * dim, 1.0), random.values(n * dim, 1.0));
            let wide = |values: &[f32]| values.iter().map(|&v| f64::from(v)).collect::<Vec<_>>();
            let found = products(&rows, &features, dim, 2.5);
            let expected = products(&wide(&rows), &wide(&features), dim, 2.5);
            prop_assert_eq!(found.len(), n * m);
            for (found, expected) in found.iter().zip(&expected) {
                // Magnitudes are at most 1, so the terms of a sum are at most 2.5 in all.
                let bound = (dim + 3) as f64 * UNIT_ROUNDOFF * 2.5 * dim as f64;
                prop_assert!((f64::from(*found) - expected).abs() <= bound, "{found} {expected}");
            }
        }

        #[test]
        fn kernels_give_a_row_the_same_bits_in_every_batch(n in 1usize..40, m in 1usize..150, seed: u64) {
            let dim = 65;
            let mut random = Random::new(seed);
            let (rows, features): (Vec<f32>, Vec<f32>) = (random.values(m * dim, 1.0), random.values(n * dim, 1.0));
            let together = products(&rows, &features, dim, 100.0);
            for (row, together) in features.chunks_exact(dim).zip(together.chunks_exact(m)) {
                let alone = products(&rows, row, dim, 100.0);
                prop_assert!(alone.iter().zip(together).all(|(a, b)| a.to_bits() == b.to_bits()));
            }
        }
    }

    #[test]
    fn rejects_incomplete_rows() {
        let message = |result: Result<(), ModelError>| result.unwrap_err().to_string();
        assert_eq!(
            message(PackedRows::new(&[0.0f32; 5], 2).map(drop)),
            "expected 4 values for the rows to pack, got 5"
        );
        assert!(PackedRows::new(&[0.0f64; 5], 0).is_err());
        let rows = PackedRows::new(&[0.0f32; 6], 2).unwrap();
        assert_eq!(
            message(rows.products(&[0.0; 3], 1.0, &mut [0.0; 3])),
            "expected 2 values for the features, got 3"
        );
        assert_eq!(
            message(rows.products(&[0.0; 2], 1.0, &mut [0.0; 2])),
            "expected 3 values for the products, got 2"
        );
    }
}
