//! Tolerance for a computation in f32, from the condition of the computation.
//!
//! How far a result in f32 may be from the exact one depends on the case: a feature that is a small
//! difference of large terms loses digits in any f32 implementation. A fixed tolerance fails for
//! such a case, and the error of another run in f32 is no measure of it, because that run may have
//! been lucky.
//!
//! In the sense of backward error analysis, every rounding acts like a relative change of an operand
//! by at most 2⁻²⁴, so the condition of the computation gives a tolerance: [`Condition::estimate`]
//! computes the outputs in f64, with every parameter and every input changed by a relative ±2⁻²⁴ at
//! random, and takes the root mean square (RMS) of the changes over [`PERTURBATIONS`] such runs. An
//! f32 computation rounds each term of a sum, too, so its error is a small multiple of that. The
//! tolerance is [`FACTOR`] times the RMS, plus [`FLOOR`] times the largest output for what the
//! perturbations do not reach: the rounding of the outputs themselves, and approximations such as
//! that of the GELU.
//!
//! ```
//! use clipn_testing::condition::Condition;
//!
//! // The sum of terms that nearly cancel: an error of one unit in the last place of a term is fine,
//! // however large it is relative to the result.
//! let terms = [1.0, -1.0, 1e-6];
//! let condition = Condition::estimate(&[1e-6], |perturbation| {
//!     vec![perturbation.perturbed(&terms).iter().sum()]
//! });
//! assert!(condition.check(&[1e-6 + 1.2e-7]).is_ok());
//! assert!(condition.check(&[1e-4]).is_err());
//! ```

use crate::random::Random;

/// Unit roundoff of f32, 2⁻²⁴: the largest relative error of one rounding.
pub const UNIT_ROUNDOFF: f64 = 1.0 / (1 << 24) as f64;

/// Number of perturbed runs. The RMS of a single output is then known to about 20 %.
pub const PERTURBATIONS: usize = 16;

/// Tolerance in units of the RMS change of the outputs.
///
/// The largest of thousands of outputs is about four times their RMS, and a sum of n terms, each
/// rounded, has an error of up to √n times what the perturbation of its terms causes.
pub const FACTOR: f64 = 64.0;

/// Part of the tolerance that does not depend on the condition, relative to the largest output.
pub const FLOOR: f64 = 32.0 * UNIT_ROUNDOFF;

/// Random relative changes of ±2⁻²⁴.
#[derive(Debug)]
pub struct Perturbation(Random);

impl Perturbation {
    /// Changes every value.
    pub fn apply(&mut self, values: &mut [f64]) {
        for value in values {
            *value *= if self.0.next() & 1 == 0 {
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
}

/// Exact outputs of a computation, and how much they change when its operands are rounded.
#[derive(Debug, Clone)]
pub struct Condition {
    expected: Vec<f64>,
    rms: f64,
    largest: f64,
}

impl Condition {
    /// Estimates the condition of a computation with these exact outputs.
    ///
    /// `compute` repeats the computation in f64 with every parameter and input perturbed.
    pub fn estimate(
        expected: &[f64],
        mut compute: impl FnMut(&mut Perturbation) -> Vec<f64>,
    ) -> Self {
        let [condition] = Self::estimate_each(&[expected], |perturbation| {
            [compute(perturbation)].into()
        })
        .try_into()
        .unwrap();
        condition
    }

    /// Same as [`Condition::estimate`], for several tensors of outputs of one computation, such as
    /// its gradients: each has its own RMS.
    pub fn estimate_each(
        expected: &[&[f64]],
        mut compute: impl FnMut(&mut Perturbation) -> Vec<Vec<f64>>,
    ) -> Vec<Self> {
        let mut squares = vec![0.0; expected.len()];
        for seed in 0..PERTURBATIONS {
            let outputs = compute(&mut Perturbation(Random::new(seed as u64)));
            assert_eq!(outputs.len(), expected.len(), "numbers of tensors differ");
            for ((square, outputs), expected) in squares.iter_mut().zip(outputs).zip(expected) {
                assert_eq!(outputs.len(), expected.len(), "lengths differ");
                for (output, expected) in outputs.iter().zip(*expected) {
                    *square += (output - expected).powi(2);
                }
            }
        }
        let conditions = expected.iter().zip(squares).map(|(expected, square)| {
            let count = (PERTURBATIONS * expected.len()).max(1);
            Self {
                expected: expected.to_vec(),
                rms: (square / count as f64).sqrt(),
                largest: largest_magnitude(expected),
            }
        });
        conditions.collect()
    }

    /// Uses at least `magnitude` as the largest output for the floor of the tolerance.
    #[must_use]
    pub fn with_magnitude_of_at_least(mut self, magnitude: f64) -> Self {
        self.largest = self.largest.max(magnitude);
        self
    }

    /// Largest absolute error of an output that rounding in f32 explains.
    pub fn tolerance(&self) -> f64 {
        FACTOR * self.rms + FLOOR * self.largest
    }

    /// Checks that every value is within the tolerance of the exact one.
    ///
    /// # Errors
    ///
    /// A message with the largest error and the parts of the tolerance.
    pub fn check(&self, found: &[f32]) -> Result<(), String> {
        assert_eq!(found.len(), self.expected.len(), "lengths differ");
        let errors = found.iter().zip(&self.expected);
        let error = errors
            .map(|(&found, expected)| (f64::from(found) - expected).abs())
            .fold(0.0, |a: f64, e| if e.is_nan() { f64::NAN } else { a.max(e) });
        if error <= self.tolerance() {
            return Ok(());
        }
        Err(format!(
            "error {error:e}, tolerance {:e}: RMS change {:e}, largest output {:e}",
            self.tolerance(),
            self.rms,
            self.largest
        ))
    }
}

/// Largest magnitude of some values; 0 for none.
pub fn largest_magnitude(values: &[f64]) -> f64 {
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
        let count = 1 + (random.next() % 300) as usize;
        (random.values(count, 1.0), random.values(count, 1.0))
    }

    fn condition(a: &[f64], b: &[f64]) -> Condition {
        Condition::estimate(&[exact_dot(a, b)], |perturbation| {
            vec![exact_dot(
                &perturbation.perturbed(a),
                &perturbation.perturbed(b),
            )]
        })
    }

    #[test]
    fn accepts_rounding_however_ill_conditioned_the_case() {
        for seed in 0..2000 {
            let (a, mut b) = vectors(seed);
            // Move the result close to zero by its first term.
            let rest = exact_dot(&a, &b) - a[0] * b[0];
            b[0] = f64::from((-rest / a[0]) as f32);
            assert_eq!(condition(&a, &b).check(&[dot(&a, &b)]), Ok(()), "{seed}");
        }
    }

    #[test]
    fn rejects_a_sum_without_one_of_its_terms() {
        let mut rejected = 0;
        for seed in 0..2000 {
            let (a, b) = vectors(seed);
            let broken = dot(&a[1..], &b[1..]);
            rejected += usize::from(condition(&a, &b).check(&[broken]).is_err());
        }
        assert!(rejected > 1980, "{rejected} of 2000");
    }

    #[test]
    fn each_tensor_has_its_own_tolerance() {
        let expected: [&[f64]; 2] = [&[1e6, 2e6], &[1.0]];
        let conditions = Condition::estimate_each(&expected, |perturbation| {
            expected.map(|t| perturbation.perturbed(t)).to_vec()
        });
        assert!(conditions[0].tolerance() > 1.0 && conditions[1].tolerance() < 1e-5);
        let raised = conditions[1].clone().with_magnitude_of_at_least(1e3);
        assert!(raised.tolerance() > 1e-3);
    }

    #[test]
    fn rejects_nan() {
        assert!(condition(&[1.0], &[1.0]).check(&[f32::NAN]).is_err());
        let empty = Condition::estimate(&[], |_| Vec::new());
        assert_eq!(empty.check(&[]), Ok(()));
    }
}
