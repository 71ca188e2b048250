//! The norm that gradients are clipped by.

use rayon::prelude::*;

use super::{Gradient, OptimizerError};
use clipn_model::Real;

/// Values that a thread sums at least.
const CHUNK: usize = 1 << 14;
/// Values summed side by side.
const LANES: usize = 16;

/// The Euclidean norm over the gradients of all parameters together, each given with its name and shape, in f64.
/// Rows are summed first and then added in order: the same bits on any number of threads and for both forms of a
/// gradient.
///
/// # Errors
/// A gradient that is NaN or infinite, by its name.
pub fn global_norm<'a, T: Real>(
    gradients: impl IntoIterator<Item = (&'a str, &'a [usize], Gradient<'a, T>)>,
) -> Result<f64, OptimizerError> {
    let mut total = 0.0;
    for (name, shape, gradient) in gradients {
        let values = gradient.values();
        let width = if shape.len() < 2 {
            values.len()
        } else {
            shape[1..].iter().product()
        }
        .max(1);
        let rows: Vec<f64> = values
            .par_chunks(width)
            .with_min_len(CHUNK.div_ceil(width))
            .map(squares)
            .collect();
        let sum: f64 = rows.iter().sum();
        if !sum.is_finite() {
            return Err(OptimizerError::NotFinite {
                name: name.to_owned(),
            });
        }
        total += sum;
    }
    Ok(total.sqrt())
}

fn squares<T: Real>(values: &[T]) -> f64 {
    let real = |value: T| value.to_f64().unwrap_or(f64::NAN);
    crate::vectorised(
        #[inline(always)]
        || {
            let mut lanes = [0.0; LANES];
            let (whole, rest) = values.as_chunks::<LANES>();
            for values in whole {
                for (lane, &value) in lanes.iter_mut().zip(values) {
                    *lane += real(value) * real(value);
                }
            }
            let rest: f64 = rest.iter().map(|&value| real(value) * real(value)).sum();
            lanes.iter().sum::<f64>() + rest
        },
    )
}
