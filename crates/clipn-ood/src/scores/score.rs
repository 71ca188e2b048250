use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{FittedScore, LocalLogits, LogitsRow, NegativeLogits, ScoreError, by_name};

/// Score of one image; higher means more in-distribution.
///
/// The score of an unusable row is NaN: a row without classes, with NaN or infinite logits, or
/// without the "no" logits, the negatives, the patches or the number of classes that the score needs. The metrics
/// reject NaN and report its index, and [`DecisionRule::decide`](super::DecisionRule::decide)
/// returns "unknown". [`ScoreInputs`](super::ScoreInputs) checks in advance which scores the
/// weights allow.
///
/// `dyn Score` has a name: it implements `Display` and `Serialize`, and `&'static dyn Score`
/// implements [`FromStr`] and `Deserialize` for the names of the built-in scores. Scores are equal
/// if their names are.
///
/// # Implementing a score
/// The trait may be implemented for other types, and methods that later versions add have a
/// default. Such a score is not found by its name, so a rule that uses it can be serialized but not
/// deserialized; [`is_built_in`](super::is_built_in) distinguishes the two.
///
/// ```
/// use clipn_ood::scores::{DecisionRule, LogitsRow, Score};
///
/// /// Difference of the "yes" and the "no" logit of the predicted class.
/// #[derive(Debug)]
/// struct YesMinusNo;
///
/// impl Score for YesMinusNo {
///     fn name(&self) -> &'static str {
///         "yes-minus-no"
///     }
///
///     fn display_name(&self) -> &'static str {
///         "Yes minus no"
///     }
///
///     fn uses_no(&self) -> bool {
///         true
///     }
///
///     fn faithful(&self, row: LogitsRow<'_, f32>) -> f32 {
///         // NaN without classes or "no".
///         let class = clipn_ood::scores::predict(row);
///         let logits = row.yes.get(class).zip(row.no.get(class));
///         logits.map_or(f32::NAN, |(yes, no)| yes - no)
///     }
///
///     fn stable(&self, row: LogitsRow<'_, f64>) -> f64 {
///         let class = clipn_ood::scores::predict(row);
///         let logits = row.yes.get(class).zip(row.no.get(class));
///         logits.map_or(f64::NAN, |(yes, no)| yes - no)
///     }
///
///     fn from_stable(&self, value: f64) -> f64 {
///         value
///     }
///
///     fn to_stable(&self, value: f64) -> f64 {
///         value
///     }
/// }
///
/// let rule = DecisionRule::Threshold { score: &YesMinusNo, threshold: 1.5 };
/// assert_eq!(rule.decide(LogitsRow::new(&[25.0, 30.0], &[26.0, 28.0])).label, Some(1));
/// ```
pub trait Score: Send + Sync + fmt::Debug {
    /// Name in command lines and files, such as `msp`.
    fn name(&self) -> &'static str;

    /// Name of the Rust type, which distinguishes a score of the caller's own from a built-in one of the
    /// same name. No implementation needs to replace it.
    fn type_name(&self) -> &'static str {
        std::any::type_name::<Self>()
    }

    /// Name in the published table, such as `MSP`.
    fn display_name(&self) -> &'static str;

    /// Whether the score depends on the "no" logits; if not, [`LogitsRow::no`] may be empty.
    fn uses_no(&self) -> bool;

    /// Whether the score depends on the negatives; if not, [`LogitsRow::negatives`] may be empty.
    fn uses_negatives(&self) -> bool {
        false
    }

    /// Whether the score depends on the patches of the image; if not, [`LogitsRow::local`] may be empty.
    fn uses_local(&self) -> bool {
        false
    }

    /// The variant if the score is fitted to images; then [`LogitsRow::fitted`] must have its value.
    fn fitted(&self) -> Option<FittedScore> {
        None
    }

    /// Minimum number of classes K. With fewer, the score is NaN or the same for every image, such
    /// as the softmax probability of a single class.
    fn min_classes(&self) -> usize {
        1
    }

    /// Whether the published unit is from 0 to 1; false by default.
    fn is_probability(&self) -> bool {
        false
    }

    /// Computes the score in the published `f32` arithmetic. Probabilities saturate at 1, which
    /// causes ties.
    fn faithful(&self, row: LogitsRow<'_, f32>) -> f32;

    /// Computes the score in `f64`, for probabilities their natural logarithm. It separates images
    /// whose faithful scores tie at 1 or 0.
    fn stable(&self, row: LogitsRow<'_, f64>) -> f64;

    /// Converts a value from the unit of [`stable`](Self::stable) to the published one.
    #[expect(
        clippy::wrong_self_convention,
        reason = "the score converts a value; it is not made from one"
    )]
    fn from_stable(&self, value: f64) -> f64;

    /// Converts a value from the published unit to that of [`stable`](Self::stable), for example a
    /// threshold of 0.5 to its logarithm.
    fn to_stable(&self, value: f64) -> f64;
}

impl PartialEq for dyn Score + '_ {
    fn eq(&self, other: &Self) -> bool {
        self.name() == other.name()
    }
}

impl Eq for dyn Score + '_ {}

impl fmt::Display for dyn Score + '_ {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl Serialize for dyn Score + '_ {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl<'de> Deserialize<'de> for &'static dyn Score {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        by_name(&String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

impl FromStr for &'static dyn Score {
    type Err = ScoreError;

    /// Same as [`by_name`].
    fn from_str(name: &str) -> Result<Self, ScoreError> {
        by_name(name)
    }
}

/// Computes [`Score::stable`] from `f32` logits.
pub fn stable(score: &dyn Score, row: LogitsRow<'_, f32>) -> f64 {
    stable_each(&[score], row)[0]
}

/// Computes [`stable`] for several scores of one row, in their order.
pub fn stable_each(scores: &[&dyn Score], row: LogitsRow<'_, f32>) -> Vec<f64> {
    let widen = |values: &[f32]| values.iter().map(|&v| f64::from(v)).collect::<Vec<f64>>();
    let (yes, no, negatives) = (widen(row.yes), widen(row.no), widen(row.negatives.logits));
    // Many values: only where a score reads them.
    let uses_local = scores.iter().any(|score| score.uses_local());
    let local = if uses_local {
        widen(row.local.yes)
    } else {
        Vec::new()
    };
    let row = LogitsRow {
        yes: &yes[..],
        no: &no,
        negatives: NegativeLogits::new(&negatives, row.negatives.group_ends),
        local: LocalLogits::new(&local),
        fitted: row.fitted,
        scale: row.scale,
    };
    scores.iter().map(|score| score.stable(row)).collect()
}
