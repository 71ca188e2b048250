//! Global norm of gradients, for clipping.

use rayon::prelude::*;

use clipn_base::simd::vectorized;
use clipn_model::Real;

use super::{OptimizerError, ParameterGradient};

/// Minimum number of values that a thread sums.
const CHUNK: usize = 1 << 14;
/// Number of values summed in parallel lanes.
const LANES: usize = 16;

/// Returns the Euclidean norm of the gradients of all parameters together, in f64. Each gradient
/// comes with its parameter's name and shape.
///
/// Rows are summed first, then added in order. The result has the same bits on any number of
/// threads and for dense and row gradients.
///
/// # Errors
/// [`OptimizerError::NotFinite`] if a gradient is NaN or infinite.
pub fn global_norm<'a, T: Real>(
    gradients: impl IntoIterator<Item = (&'a str, &'a [usize], ParameterGradient<'a, T>)>,
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
            .map(sum_of_squares)
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

fn sum_of_squares<T: Real>(values: &[T]) -> f64 {
    let real = |value: T| value.to_f64().unwrap_or(f64::NAN);
    vectorized(
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
