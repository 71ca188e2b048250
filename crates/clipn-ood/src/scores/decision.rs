use serde::{Deserialize, Deserializer, Serialize};

use super::atd::joint_probabilities;
use super::{Atd, AtdNeg, Ctw, CtwNeg, LogitsRow, NegLabel, Score, predict, stable};

/// Decision of a [`DecisionRule`] on one image: a label or "unknown".
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Decision {
    /// Class index, or `None` for "unknown".
    pub label: Option<usize>,
    /// Score in the published unit. In JSON, NaN is `null`.
    #[serde(deserialize_with = "nan_if_null")]
    pub score: f64,
    /// Minimum score of a known image: the image is unknown if `score < threshold` or the score is
    /// NaN. In JSON, the infinite one of [`DecisionRule::AcceptAll`] is `null`.
    #[serde(deserialize_with = "lowest_if_null")]
    pub threshold: f64,
}

fn nan_if_null<'de, D: Deserializer<'de>>(from: D) -> Result<f64, D::Error> {
    Ok(Option::deserialize(from)?.unwrap_or(f64::NAN))
}

fn lowest_if_null<'de, D: Deserializer<'de>>(from: D) -> Result<f64, D::Error> {
    Ok(Option::deserialize(from)?.unwrap_or(f64::NEG_INFINITY))
}

/// Decision rule: whether an image gets a label or is "unknown".
///
/// The label is always the class with the highest "yes" logit, so the rules differ only in which
/// images they reject.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "rule", rename_all = "kebab-case", deny_unknown_fields)]
#[non_exhaustive]
pub enum DecisionRule {
    /// Competing-to-win: unknown if `q_c` is below the threshold. CLIPN's threshold is 0.5, below
    /// which "no" wins.
    Ctw {
        /// Minimum `q_c` of a known image.
        threshold: f64,
    },
    /// Agreeing-to-differ with CLIPN's rule: unknown if the extra class, `1 - sum_j p_j q_j`,
    /// exceeds every `p_j q_j`. The [`Decision`] reports ATD as the score and `1 - max_j p_j q_j`
    /// as the threshold.
    AtdExtraClass,
    /// Unknown if a score is below a threshold in the published unit (a probability or a logit).
    Threshold {
        /// Score to compare.
        score: &'static dyn Score,
        /// Minimum score of a known image.
        threshold: f64,
    },
    /// Unknown if a score is below a threshold in log space ([`Score::stable`]), where
    /// probabilities do not saturate at 1. [`crate::calibration`] chooses this rule.
    Calibrated {
        /// Score to compare.
        score: &'static dyn Score,
        /// Minimum score of a known image, in the unit of [`Score::stable`].
        threshold: f64,
    },
    /// Every image that can be scored gets its best label; none is unknown. The [`Decision`] reports
    /// the score, and a threshold of minus infinity.
    AcceptAll {
        /// Score to report.
        score: &'static dyn Score,
    },
}

impl DecisionRule {
    /// Returns the rule of a score that needs no calibration: CTW at 0.5, ATD by its extra class, or
    /// NegLabel, CTW-Neg and ATD-Neg at 0.5, below which the negatives, with "no" for the latter two,
    /// together outweigh the classes. Other scores have none and require [`DecisionRule::Threshold`].
    pub fn default_for(score: &dyn Score) -> Option<Self> {
        let half = |score: &'static dyn Score| {
            Some(Self::Threshold {
                score,
                threshold: 0.5,
            })
        };
        match score.name() {
            "ctw" => Some(Self::Ctw { threshold: 0.5 }),
            "atd" => Some(Self::AtdExtraClass),
            "neglabel" => half(&NegLabel),
            "ctw-neg" => half(&CtwNeg),
            "atd-neg" => half(&AtdNeg),
            _ => None,
        }
    }

    /// Score that the rule compares.
    pub fn score(&self) -> &'static dyn Score {
        match self {
            Self::Ctw { .. } => &Ctw,
            Self::AtdExtraClass => &Atd,
            Self::Threshold { score, .. }
            | Self::Calibrated { score, .. }
            | Self::AcceptAll { score } => *score,
        }
    }

    /// Decides on one image. A row that cannot be scored is unknown and has a score of NaN.
    pub fn decide(&self, row: LogitsRow<'_, f32>) -> Decision {
        let (score, threshold) = match self {
            Self::Ctw { threshold } => (f64::from(Ctw.faithful(row)), *threshold),
            Self::AtdExtraClass => extra_class(row),
            Self::Threshold { score, threshold } => (f64::from(score.faithful(row)), *threshold),
            Self::Calibrated { score, threshold } => return calibrated(*score, *threshold, row),
            Self::AcceptAll { score } => (f64::from(score.faithful(row)), f64::NEG_INFINITY),
        };
        let label = (score >= threshold).then(|| predict(row));
        Decision {
            label,
            score,
            threshold,
        }
    }
}

/// Compares in log space and reports score and threshold in the published unit.
fn calibrated(score: &dyn Score, threshold: f64, row: LogitsRow<'_, f32>) -> Decision {
    let value = stable(score, row);
    let label = (value >= threshold).then(|| predict(row));
    Decision {
        label,
        score: score.from_stable(value),
        threshold: score.from_stable(threshold),
    }
}

/// Computes ATD and `1 - max_j p_j q_j`. The extra class beats the best class exactly if the former
/// is below the latter.
fn extra_class(row: LogitsRow<'_, f32>) -> (f64, f64) {
    match joint_probabilities(row) {
        Some(joint_probabilities) => {
            let best = joint_probabilities.iter().copied().fold(0.0, f32::max);
            (
                f64::from(joint_probabilities.iter().sum::<f32>()),
                1.0 - f64::from(best),
            )
        }
        None => (f64::NAN, f64::NAN),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scores::{Energy, Msp, NegativeLogits, all};

    #[test]
    fn three_scores_have_a_default_rule() {
        for score in all() {
            assert_eq!(
                DecisionRule::default_for(*score).is_some(),
                matches!(
                    score.name(),
                    "ctw" | "atd" | "neglabel" | "ctw-neg" | "atd-neg"
                ),
                "{}",
                score.name()
            );
        }
        assert_eq!(
            DecisionRule::default_for(&Ctw),
            Some(DecisionRule::Ctw { threshold: 0.5 })
        );
        assert_eq!(DecisionRule::AtdExtraClass.score().name(), "atd");
    }

    #[test]
    fn ctw_rejects_if_no_wins() {
        let rule = DecisionRule::Ctw { threshold: 0.5 };
        assert_eq!(
            rule.decide(LogitsRow::new(&[1.0, 5.0], &[9.0, 4.0])).label,
            Some(1)
        );
        assert_eq!(
            rule.decide(LogitsRow::new(&[1.0, 5.0], &[0.0, 5.1])).label,
            None
        );
        // A tie is not below one half.
        let even = rule.decide(LogitsRow::new(&[1.0, 5.0], &[0.0, 5.0]));
        assert_eq!((even.label, even.score), (Some(1), 0.5));
    }

    #[test]
    fn neglabel_rejects_if_the_negatives_outweigh_the_classes() {
        let rule = DecisionRule::default_for(&NegLabel).unwrap();
        let decide = |negatives: &[f32]| {
            let ends = [negatives.len()];
            let negatives = NegativeLogits::new(negatives, &ends);
            rule.decide(LogitsRow::new(&[1.0, 5.0], &[]).with_negatives(negatives))
                .label
        };
        assert_eq!(decide(&[4.9, 1.0]), Some(1));
        // Each is below the best class, but not both together.
        assert_eq!(decide(&[4.9, 4.9]), None);
        assert_eq!(decide(&[]), None);
    }

    #[test]
    fn the_extra_class_wins_if_it_is_the_most_probable() {
        // p = [0.5, 0.5]; q = [0.8, 0.5]: 0.4 and 0.25 against 0.35 for "none of these".
        let no = |q: f32| -(q / (1.0 - q)).ln();
        let kept =
            DecisionRule::AtdExtraClass.decide(LogitsRow::new(&[0.0, 0.0], &[no(0.8), no(0.5)]));
        assert_eq!(kept.label, Some(0));
        assert!(
            (kept.score - 0.65).abs() < 1e-6 && (kept.threshold - 0.6).abs() < 1e-6,
            "{kept:?}"
        );
        // q = [0.6, 0.5]: 0.3 and 0.25 against 0.45.
        let rejected =
            DecisionRule::AtdExtraClass.decide(LogitsRow::new(&[0.0, 0.0], &[no(0.6), no(0.5)]));
        assert_eq!(rejected.label, None);
        assert!(rejected.score < rejected.threshold);
    }

    #[test]
    fn rows_that_cannot_be_scored_are_unknown() {
        let rules = [
            DecisionRule::Ctw { threshold: 0.0 },
            DecisionRule::AtdExtraClass,
            DecisionRule::Threshold {
                score: &Energy,
                threshold: f64::NEG_INFINITY,
            },
        ];
        for rule in rules {
            let nan = rule.decide(LogitsRow::new(&[1.0, f32::NAN], &[0.0, 0.0]));
            assert!(nan.label.is_none() && nan.score.is_nan(), "{rule:?}");
            assert_eq!(rule.decide(LogitsRow::new(&[], &[])).label, None);
        }
        assert_eq!(
            DecisionRule::AtdExtraClass
                .decide(LogitsRow::new(&[1.0], &[]))
                .label,
            None
        );
    }

    #[test]
    fn accept_all_rejects_only_what_cannot_be_scored() {
        let rule = DecisionRule::AcceptAll { score: &Energy };
        let decision = rule.decide(LogitsRow::new(&[1.0, -500.0], &[]));
        assert_eq!(
            (decision.label, decision.threshold),
            (Some(0), f64::NEG_INFINITY)
        );
        assert_eq!(rule.decide(LogitsRow::new(&[f32::NAN], &[])).label, None);
        let json = serde_json::to_string(&rule).unwrap();
        assert_eq!(json, r#"{"rule":"accept-all","score":"energy"}"#);
        assert_eq!(serde_json::from_str::<DecisionRule>(&json).unwrap(), rule);
    }

    #[test]
    fn a_calibrated_rule_separates_saturated_scores() {
        // In f32 both are 1; in log space the first is lower.
        let (lower, higher) = (
            LogitsRow::new(&[60.0], &[10.0]),
            LogitsRow::new(&[70.0], &[10.0]),
        );
        assert_eq!((Ctw.faithful(lower), Ctw.faithful(higher)), (1.0, 1.0));
        let rule = DecisionRule::Calibrated {
            score: &Ctw,
            threshold: stable(&Ctw, higher),
        };
        assert_eq!(
            (rule.decide(lower).label, rule.decide(higher).label),
            (None, Some(0))
        );
        assert!(
            rule.decide(LogitsRow::new(&[f32::NAN], &[0.0]))
                .label
                .is_none()
        );
        let json = serde_json::to_string(&rule).unwrap();
        assert_eq!(serde_json::from_str::<DecisionRule>(&json).unwrap(), rule);
        // The decision is reported in the published unit.
        let half = DecisionRule::Calibrated {
            score: &Ctw,
            threshold: 0.5_f64.ln(),
        }
        .decide(lower);
        assert_eq!((half.score, half.threshold), (1.0, 0.5));
    }

    #[test]
    fn rules_serialize_by_name() {
        let rule = DecisionRule::Threshold {
            score: &Msp,
            threshold: 0.25,
        };
        let json = serde_json::to_string(&rule).unwrap();
        assert_eq!(
            json,
            r#"{"rule":"threshold","score":"msp","threshold":0.25}"#
        );
        assert_eq!(serde_json::from_str::<DecisionRule>(&json).unwrap(), rule);
        let atd = serde_json::to_string(&DecisionRule::AtdExtraClass).unwrap();
        assert_eq!(atd, r#"{"rule":"atd-extra-class"}"#);
        assert_eq!(
            serde_json::from_str::<DecisionRule>(&atd).unwrap(),
            DecisionRule::AtdExtraClass
        );
        let error = serde_json::from_str::<DecisionRule>(&json.replace("msp", "mps"))
            .unwrap_err()
            .to_string();
        assert!(error.contains("unknown score `mps`"), "{error}");
    }
}
