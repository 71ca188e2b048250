//! Scores of too few distinct values.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::counts::Step;

/// Number of equally likely values below which scores count as coarse.
pub const MIN_LEVELS: usize = 1000;

/// Number of scores below which ties say nothing about their resolution.
const MIN_SCORES: usize = 100;

/// Maximum number of decimals that scores are checked for.
const MAX_DECIMALS: u8 = 4;

/// Scores with fewer distinct values than [`MIN_LEVELS`] equally likely ones would show among as
/// many: fewer than 1,000 among 10,000 scores or more, 632 among 1,000, 96 among 100. Ties then
/// decide a part of the metrics; see [`RankedScores::fpr_range`](super::RankedScores::fpr_range).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct CoarseScores {
    /// Number of distinct scores.
    pub distinct: usize,
    /// Number of scores.
    pub total: usize,
    /// What the scores have in common.
    pub cause: CoarseCause,
}

/// What coarse scores have in common.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum CoarseCause {
    /// Every score has at most this number of decimals, from 0 to 4.
    Decimals(u8),
    /// Every score is a bfloat16 number: 8 significant bits.
    Bf16,
    /// Every score is a float16 number: 11 significant bits.
    F16,
    /// Most ties are of scores at one end of the range.
    Saturated {
        /// Lowest or highest score.
        value: f64,
        /// Number of scores that equal it.
        count: usize,
    },
    /// None of these.
    Other,
}

impl fmt::Display for CoarseCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Decimals(0) => f.write_str("all scores are whole numbers"),
            Self::Decimals(1) => f.write_str("no score has more than 1 decimal"),
            Self::Decimals(digits) => write!(f, "no score has more than {digits} decimals"),
            Self::Bf16 => f.write_str("all scores are bfloat16 numbers, of 8 bits"),
            Self::F16 => f.write_str("all scores are float16 numbers, of 11 bits"),
            Self::Saturated { value, count } => {
                write!(
                    f,
                    "{} saturated at {value}",
                    clipn_base::count::count(*count, "score")
                )
            }
            Self::Other => f.write_str("many scores are equal"),
        }
    }
}

/// Returns what makes ranked scores coarse; `None` if they are not, or are fewer than 100.
pub(super) fn coarse(steps: &[Step], total: usize) -> Option<CoarseScores> {
    let levels = MIN_LEVELS as f64;
    let least = -levels * (-(total as f64) / levels).exp_m1();
    (total >= MIN_SCORES && (steps.len() as f64) < least).then(|| CoarseScores {
        distinct: steps.len(),
        total,
        cause: cause(steps, total),
    })
}

fn cause(steps: &[Step], total: usize) -> CoarseCause {
    let all = |test: &dyn Fn(f64) -> bool| steps.iter().all(|step| test(step.threshold));
    let decimals = (0..=MAX_DECIMALS).find(|&digits| all(&|value| has_decimals(value, digits)));
    if let Some(digits) = decimals {
        return CoarseCause::Decimals(digits);
    }
    if all(&is_bf16) {
        return CoarseCause::Bf16;
    }
    if all(&is_f16) {
        return CoarseCause::F16;
    }
    let count = |index: usize| {
        let at_least = |step: &Step| step.id + step.ood;
        at_least(&steps[index])
            - index
                .checked_sub(1)
                .map_or(0, |before| at_least(&steps[before]))
    };
    let end = [0, steps.len() - 1].into_iter().max_by_key(|&i| count(i));
    match end {
        Some(end) if 2 * (count(end) - 1) >= total - steps.len() => CoarseCause::Saturated {
            value: steps[end].threshold,
            count: count(end),
        },
        _ => CoarseCause::Other,
    }
}

/// Whether a value is the double nearest to a number with so few decimals, as a parser reads it,
/// or the `f32` nearest to it.
fn has_decimals(value: f64, digits: u8) -> bool {
    let scale = 10_f64.powi(i32::from(digits));
    let nearest = (value * scale).round() / scale;
    nearest == value || f64::from(nearest as f32) == value
}

/// Whether an `f64` is a float16 number.
fn is_f16(value: f64) -> bool {
    let size = value.abs();
    if size < 2_f64.powi(-14) {
        // Subnormal numbers are multiples of 2^-24.
        return (size * 2_f64.powi(24)).fract() == 0.0;
    }
    size <= 65504.0 && has_significand_bits(value, 10)
}

/// Whether an `f64` is a bfloat16 number; subnormal ones, below 1e-38, do not count.
fn is_bf16(value: f64) -> bool {
    value == 0.0 || (value.abs() >= f64::from(f32::MIN_POSITIVE) && has_significand_bits(value, 7))
}

/// Whether at most `bits` bits follow the leading one.
fn has_significand_bits(value: f64, bits: u32) -> bool {
    value.to_bits().trailing_zeros() >= f64::MANTISSA_DIGITS - 1 - bits
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::RankedScores;

    fn coarse_of(scores: &[f64]) -> Option<CoarseScores> {
        let (id, ood) = scores.split_at(scores.len() / 2);
        RankedScores::new(id, ood).unwrap().coarse()
    }

    /// Rounds to 11 significant bits.
    fn f16(value: f64) -> f64 {
        let unit = 2_f64.powi(value.abs().log2().floor() as i32 - 10);
        (value / unit).round() * unit
    }

    fn smooth(n: usize) -> impl Iterator<Item = f64> {
        (0..n).map(move |i| 0.2 + 0.1 * (i as f64 * 0.618_034).fract())
    }

    #[test]
    fn few_values_are_reported_with_their_cause() {
        let half: Vec<f64> = smooth(10_000).map(f16).collect();
        let found = coarse_of(&half).unwrap();
        assert_eq!((found.total, found.cause), (10_000, CoarseCause::F16));
        assert!((400..1000).contains(&found.distinct), "{found:?}");
        let bf16: Vec<f64> = half.iter().map(|v| f16(v * 8.0).floor() / 8.0).collect();
        assert!(bf16.iter().all(|&v| is_bf16(v)));
        let thirds: Vec<f64> = smooth(10_000)
            .map(|v| (v * 1000.0).round() / 1000.0)
            .collect();
        assert_eq!(coarse_of(&thirds).unwrap().cause, CoarseCause::Decimals(3));
        let saturated: Vec<f64> = smooth(10_000)
            .map(|v| if v > 0.205 { 1.0 } else { v })
            .collect();
        let expected = saturated.iter().filter(|&&v| v == 1.0).count();
        assert_eq!(
            coarse_of(&saturated).unwrap().cause,
            CoarseCause::Saturated {
                value: 1.0,
                count: expected
            }
        );
        let other: Vec<f64> = smooth(10_000)
            .map(|v| (v * 900.0).round() / 900.0)
            .collect();
        assert_eq!(coarse_of(&other).unwrap().cause, CoarseCause::Other);
    }

    #[test]
    fn fine_scores_and_few_scores_are_not_coarse() {
        assert_eq!(coarse_of(&smooth(10_000).collect::<Vec<_>>()), None);
        assert_eq!(coarse_of(&smooth(100).collect::<Vec<_>>()), None);
        assert_eq!(coarse_of(&[0.5; 99]), None);
        assert!(coarse_of(&[0.5; 100]).is_some());
    }

    #[test]
    fn the_limit_is_what_a_thousand_levels_show() {
        let with_distinct = |total: usize, distinct: usize| {
            let scores: Vec<f64> = (0..total).map(|i| (i % distinct) as f64 / 7.0).collect();
            coarse_of(&scores).is_some()
        };
        assert!(with_distinct(1_000_000, 999) && !with_distinct(1_000_000, 1000));
        assert!(with_distinct(10_000, 999) && !with_distinct(10_000, 1000));
        assert!(with_distinct(1000, 632) && !with_distinct(1000, 633));
        assert!(with_distinct(100, 95) && !with_distinct(100, 96));
    }

    #[test]
    fn half_precision_is_recognized_exactly() {
        for value in [0.0, 1.0, -65504.0, 2_f64.powi(-24), 0.333_251_953_125] {
            assert!(is_f16(value), "{value}");
        }
        for value in [65536.0, 2_f64.powi(-25), 1.0 / 3.0, 1.0 + 2_f64.powi(-11)] {
            assert!(!is_f16(value), "{value}");
        }
        assert!(is_bf16(1.0 + 2_f64.powi(-7)) && !is_bf16(1.0 + 2_f64.powi(-8)));
        let cut = f32::from_bits(3e38_f32.to_bits() & 0xffff_0000);
        assert!(is_bf16(f64::from(cut)) && !is_bf16(f64::from(3e38_f32)));
    }
}
