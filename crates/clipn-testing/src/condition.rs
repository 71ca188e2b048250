//! Tolerance for a computation in f32, from the condition of the computation.
//!
//! How far a result in f32 may be from the exact one depends on the case: a feature that is a small
//! difference of large terms loses digits in any f32 implementation. A fixed tolerance fails for
//! such a case. The error of another run in f32 is no measure of it either, because that run may
//! have been lucky.
//!
//! In the sense of backward error analysis, a rounding acts like a relative change of an operand by
//! at most 2⁻²⁴. So the condition of the computation gives the tolerance: compute the outputs in
//! f64 with every parameter and every input changed by a relative ±2⁻²⁴ at random, and take the root
//! mean square (RMS) of the changes over [`PERTURBATIONS`] such runs. An f32 computation rounds
//! intermediate values, too, so its error is a small multiple of that: the tolerance is [`FACTOR`]
//! times the RMS, plus [`FLOOR`] times the largest output for what the perturbations do not reach,
//! such as the rounding of the outputs themselves and the approximation of the GELU.
//!
//! ```
//! use clipn_testing::condition::{Comparison, check};
//!
//! // A sum whose terms nearly cancel: its relative error in f32 may be large.
//! let terms = [1.0, -1.0, 1e-6];
//! let check_sum = |found: f32| {
//!     let sum = Comparison { name: "sum", found: &[found], expected: &[1e-6] };
//!     check(&[sum], |perturbation| vec![vec![perturbation.perturbed(&terms).iter().sum()]])
//! };
//! assert!(check_sum(1e-6 + 1.2e-7).is_ok());
//! assert!(check_sum(1e-4).is_err());
//! ```

use clipn_model::{ModelConfig, ResNetParams, TextParams, VisionParams};

use crate::random::Random;

/// Unit roundoff of f32, 2⁻²⁴: the largest relative error of one rounding.
pub const UNIT_ROUNDOFF: f64 = 1.0 / (1 << 24) as f64;

/// Number of perturbed runs. The RMS of a single output is then known to about 20 %.
pub const PERTURBATIONS: usize = 16;

/// Tolerance in units of the RMS change of the outputs.
///
/// Two effects: the outputs of a tensor differ in their condition, so that the largest of thousands
/// is up to ten times their RMS; and a sum of n rounded terms has an error of up to √n times what
/// the perturbation of the terms causes. In 15,000 random towers and gradients at three SIMD levels,
/// no error was above a quarter of the tolerance.
pub const FACTOR: f64 = 128.0;

/// Part of the tolerance that does not depend on the condition, relative to the largest output.
pub const FLOOR: f64 = 32.0 * UNIT_ROUNDOFF;

/// Outputs whose magnitude is below this fraction of the largest output of all tensors are compared
/// relative to that fraction: they may be rounding noise, like the gradient of the key biases,
/// which is zero in exact arithmetic.
pub const NOISE: f64 = 1e-2;

/// Random relative changes of ±2⁻²⁴.
#[derive(Debug)]
pub struct Perturbation(Random);

impl Perturbation {
    /// Changes every value.
    pub fn apply(&mut self, values: &mut [f64]) {
        for value in values {
            *value *= if self.0.next_u64() & 1 == 0 {
                1.0 + UNIT_ROUNDOFF
            } else {
                1.0 - UNIT_ROUNDOFF
            };
        }
    }

    /// Returns a changed copy.
    pub fn perturbed(&mut self, values: &[f64]) -> Vec<f64> {
        let mut changed = values.to_vec();
        self.apply(&mut changed);
        changed
    }

    /// Returns changed parameters of a ViT.
    pub fn vision(&mut self, params: &VisionParams<f64>) -> VisionParams<f64> {
        let mut changed = params.clone();
        for buffer in changed.buffers_mut() {
            self.apply(buffer.make_mut());
        }
        changed
    }

    /// Returns changed parameters of a text tower.
    pub fn text(&mut self, params: &TextParams<f64>) -> TextParams<f64> {
        let mut changed = params.clone();
        for buffer in changed.buffers_mut() {
            self.apply(buffer.make_mut());
        }
        changed
    }

    /// Returns changed parameters of a ResNet, statistics of the batch norms included.
    pub fn resnet(
        &mut self,
        params: &ResNetParams<f64>,
        config: &ModelConfig,
    ) -> ResNetParams<f64> {
        // Both list the parameters in the same order.
        let mut tensors = params.named_tensors(config).into_iter();
        let next = |_: &str, _: &[usize]| self.perturbed(tensors.next().unwrap().values).into();
        ResNetParams::from_fn(config, next).unwrap()
    }
}

/// A tensor of outputs in f32 and its exact values.
#[derive(Debug, Clone, Copy)]
pub struct Comparison<'a> {
    /// Name in error messages.
    pub name: &'a str,
    /// Values in f32.
    pub found: &'a [f32],
    /// The same values from a computation in f64.
    pub expected: &'a [f64],
}

impl Comparison<'_> {
    /// Maximum absolute error; NaN if there is one.
    fn error(&self) -> f64 {
        assert_eq!(
            self.found.len(),
            self.expected.len(),
            "lengths of {} differ",
            self.name
        );
        let pairs = self.found.iter().zip(self.expected);
        pairs
            .map(|(&found, expected)| (f64::from(found) - expected).abs())
            .fold(
                0.0,
                |max: f64, e| if e > max || e.is_nan() { e } else { max },
            )
    }

    /// Squared changes of the outputs, without those that are zero before and after, such as the
    /// gradient of a token that no text contains.
    fn squared_changes(&self, changed: &[f64]) -> Vec<f64> {
        assert_eq!(
            changed.len(),
            self.expected.len(),
            "lengths of {} differ",
            self.name
        );
        let pairs = changed.iter().zip(self.expected);
        pairs
            .filter(|&(&changed, &expected)| changed != 0.0 || expected != 0.0)
            .map(|(changed, expected)| (changed - expected).powi(2))
            .collect()
    }
}

/// Checks that all outputs of a computation are within the tolerance.
///
/// `compute` repeats the computation in f64 with every parameter and input perturbed, and returns
/// the outputs of each tensor. It is not called if the errors are below the floor.
///
/// # Errors
///
/// A message with the first tensor that is not within its tolerance, its error, and the parts of
/// the tolerance.
pub fn check(
    tensors: &[Comparison<'_>],
    mut compute: impl FnMut(&mut Perturbation) -> Vec<Vec<f64>>,
) -> Result<(), String> {
    let largest_of_all = tensors
        .iter()
        .map(|t| largest_magnitude(t.expected))
        .fold(0.0, f64::max);
    let floor =
        |t: &Comparison<'_>| FLOOR * largest_magnitude(t.expected).max(NOISE * largest_of_all);
    if tensors.iter().all(|t| t.error() <= floor(t)) {
        return Ok(());
    }
    let mut squares = vec![Vec::new(); tensors.len()];
    for seed in 0..PERTURBATIONS {
        let outputs = compute(&mut Perturbation(Random::new(seed as u64)));
        assert_eq!(outputs.len(), tensors.len(), "numbers of tensors differ");
        for ((squares, outputs), tensor) in squares.iter_mut().zip(outputs).zip(tensors) {
            squares.extend(tensor.squared_changes(&outputs));
        }
    }
    for (tensor, squares) in tensors.iter().zip(squares) {
        let rms = (squares.iter().sum::<f64>() / squares.len().max(1) as f64).sqrt();
        let (error, tolerance) = (tensor.error(), FACTOR * rms + floor(tensor));
        // NaN is not.
        let is_within = error <= tolerance;
        if !is_within {
            return Err(format!(
                "{}: error {error:e}, tolerance {tolerance:e} (RMS change {rms:e}, floor {:e})",
                tensor.name,
                floor(tensor)
            ));
        }
    }
    Ok(())
}

fn largest_magnitude(values: &[f64]) -> f64 {
    values.iter().fold(0.0, |a, v| a.max(v.abs()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A dot product in f32, summed from the left.
    fn dot(a: &[f64], b: &[f64]) -> f32 {
        let terms = a.iter().zip(b).map(|(&a, &b)| a as f32 * b as f32);
        terms.fold(0.0, |sum, term| sum + term)
    }

    fn exact_dot(a: &[f64], b: &[f64]) -> f64 {
        a.iter().zip(b).map(|(a, b)| a * b).sum()
    }

    fn vectors(seed: u64) -> (Vec<f64>, Vec<f64>) {
        let mut random = Random::new(seed);
        let count = 1 + (random.next_u64() % 300) as usize;
        (random.values(count, 1.0), random.values(count, 1.0))
    }

    fn check_dot(found: f32, a: &[f64], b: &[f64]) -> Result<(), String> {
        let comparison = Comparison {
            name: "dot",
            found: &[found],
            expected: &[exact_dot(a, b)],
        };
        check(&[comparison], |perturbation| {
            let (a, b) = (perturbation.perturbed(a), perturbation.perturbed(b));
            vec![vec![exact_dot(&a, &b)]]
        })
    }

    #[test]
    fn accepts_rounding_however_ill_conditioned_the_case() {
        for seed in 0..2000 {
            let (a, mut b) = vectors(seed);
            // Move the result close to zero by its first term.
            let rest = exact_dot(&a, &b) - a[0] * b[0];
            b[0] = f64::from((-rest / a[0]) as f32);
            assert_eq!(check_dot(dot(&a, &b), &a, &b), Ok(()), "{seed}");
        }
    }

    #[test]
    fn rejects_a_sum_without_one_of_its_terms() {
        let mut rejected = 0;
        for seed in 0..2000 {
            let (a, b) = vectors(seed);
            let broken = dot(&a[1..], &b[1..]);
            rejected += usize::from(check_dot(broken, &a, &b).is_err());
        }
        assert!(rejected > 1980, "{rejected} of 2000");
    }

    /// The gradient of a parameter may be small beside that of another one, but not rounding noise.
    #[test]
    fn each_tensor_has_its_own_tolerance() {
        let check_small = |expected: f64, error: f64| {
            let large = Comparison {
                name: "large",
                found: &[1e3],
                expected: &[1e3],
            };
            let found = [(expected + error) as f32];
            let small = Comparison {
                name: "small",
                found: &found,
                expected: &[expected],
            };
            check(&[large, small], |perturbation| {
                vec![
                    perturbation.perturbed(&[1e3]),
                    perturbation.perturbed(&[expected]),
                ]
            })
        };
        assert_eq!(check_small(100.0, 1e-4), Ok(()));
        assert!(
            check_small(100.0, 1e-2)
                .unwrap_err()
                .starts_with("small: error 1")
        );
        assert_eq!(check_small(0.0, 1e-5), Ok(()));
        assert!(check_small(0.0, 1e-4).is_err());
    }

    #[test]
    fn rejects_nan() {
        assert!(check_dot(f32::NAN, &[1.0], &[1.0]).is_err());
        let two = Comparison {
            name: "two",
            found: &[f32::NAN, 1.0],
            expected: &[1.0, 1.0],
        };
        assert!(check(&[two], |_| vec![vec![1.0, 1.0]]).is_err());
    }
}
