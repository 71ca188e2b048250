use super::row::argmax;
use super::softmax::softmax;
use super::{LogitsRow, Score};

/// Margin: `p_1 - p_2`, the difference of the two highest softmax probabilities of the cosine
/// similarities at temperature 1.
///
/// The code of LogitGap (<https://arxiv.org/abs/2510.20134>) compares with it in this form.
#[derive(Debug, Clone, Copy)]
pub struct Margin;

impl Score for Margin {
    fn name(&self) -> &'static str {
        "margin"
    }

    fn display_name(&self) -> &'static str {
        "Margin"
    }

    fn uses_no(&self) -> bool {
        false
    }

    fn min_classes(&self) -> usize {
        2
    }

    fn is_probability(&self) -> bool {
        true
    }

    fn faithful(&self, row: LogitsRow<'_, f32>) -> f32 {
        let Some(yes) = row.finite_yes().filter(|yes| yes.len() >= 2) else {
            return f32::NAN;
        };
        let cosines: Vec<f32> = yes.iter().map(|v| v / row.scale as f32).collect();
        let p = softmax(&cosines);
        let winner = argmax(&p);
        let second = (0..p.len()).filter(|k| *k != winner).map(|k| p[k]);
        p[winner] - second.fold(0.0, f32::max)
    }

    /// Computes `p_1 (1 - exp(cos_2 - cos_1))` in `f64`, which is precise for close cosines. The
    /// score is 0 for a tie, so it has no logarithm, and at temperature 1 it does not saturate.
    fn stable(&self, row: LogitsRow<'_, f64>) -> f64 {
        let Some(yes) = row.finite_yes().filter(|yes| yes.len() >= 2) else {
            return f64::NAN;
        };
        let winner = argmax(yes);
        let (mut sum, mut second) = (1.0, f64::NEG_INFINITY);
        for (_, v) in yes.iter().enumerate().filter(|(k, _)| *k != winner) {
            let difference = (v - yes[winner]) / row.scale;
            sum += difference.exp();
            second = second.max(difference);
        }
        -second.exp_m1() / sum
    }

    fn from_stable(&self, value: f64) -> f64 {
        value
    }

    fn to_stable(&self, value: f64) -> f64 {
        value
    }
}
