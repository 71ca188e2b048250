use num_traits::Float;

use super::softmax::{ln_sigmoid, logsumexp};
use super::{LogitsRow, Score};

/// Gated Energy: `ln(sum_j q_j exp(yes_j))`, with `q_j` the probability of "yes" against "no" for class
/// `j`.
///
/// It is [`Energy`](super::Energy) in which each class counts as much as its "no" allows, and equals
/// Energy plus ln([`Atd`](super::Atd)). Where "no" has nothing to say, `q_j` is near 1 and the score is
/// Energy, which ranks near classes best; where "no" rejects an image, it takes the image's energy
/// away. This score is clipn's own; docs/results.md has its measurements.
#[derive(Debug, Clone, Copy)]
pub struct GatedEnergy;

impl Score for GatedEnergy {
    fn name(&self) -> &'static str {
        "gated-energy"
    }

    fn display_name(&self) -> &'static str {
        "Gated Energy"
    }

    fn uses_no(&self) -> bool {
        true
    }

    fn faithful(&self, row: LogitsRow<'_, f32>) -> f32 {
        row.finite_pair().map_or(f32::NAN, gated_energy)
    }

    fn stable(&self, row: LogitsRow<'_, f64>) -> f64 {
        row.finite_pair().map_or(f64::NAN, gated_energy)
    }

    fn from_stable(&self, value: f64) -> f64 {
        value
    }

    fn to_stable(&self, value: f64) -> f64 {
        value
    }
}

fn gated_energy<T: Float>((yes, no): (&[T], &[T])) -> T {
    logsumexp(yes.iter().zip(no).map(|(&y, &n)| y + ln_sigmoid(y - n)))
}
