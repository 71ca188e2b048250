//! The norm that gradients are clipped by.

use rayon::prelude::*;

use super::{Gradient, OptimizerError};
use crate::model::Real;

/// Values summed by one thread at a time.
const CHUNK: usize = 1 << 16;
/// Values summed side by side.
const LANES: usize = 16;

/// The Euclidean norm over all gradients together, summed in f64 and in one order whatever the number of threads.
///
/// # Errors
/// A gradient that is NaN or infinite, by its name.
pub fn global_norm<'a, T: Real>(
    gradients: impl IntoIterator<Item = (&'a str, Gradient<'a, T>)>,
) -> Result<f64, OptimizerError> {
    let mut total = 0.0;
    for (name, gradient) in gradients {
        let sums: Vec<f64> = gradient.values().par_chunks(CHUNK).map(squares).collect();
        let sum: f64 = sums.iter().sum();
        if !sum.is_finite() {
            return Err(OptimizerError::NotFinite { name: name.to_owned() });
        }
        total += sum;
    }
    Ok(total.sqrt())
}

fn squares<T: Real>(values: &[T]) -> f64 {
    let real = |value: T| value.to_f64().unwrap_or(f64::NAN);
    crate::training::vectorised(
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
