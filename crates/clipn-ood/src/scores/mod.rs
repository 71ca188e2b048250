//! OOD scores: one number per image from its logits, higher for in-distribution images.
//!
//! The trait [`Score`] has the implementations [`Msp`], [`MaxLogit`], [`Energy`], [`Mcm`], [`Ctw`]
//! and [`Atd`]. A decision [`Rule`] turns a score into a label or "unknown". Each score has the
//! published `f32` arithmetic ([`Score::faithful`]) and a log-space `f64` form that does not
//! saturate ([`Score::stable`]).
//!
//! ```
//! use clipn::scores::{Ctw, LogitsRow, Rule};
//!
//! // "Yes" and "no" logits of one image for two classes.
//! let row = LogitsRow::new(&[25.0, 30.0], &[26.0, 28.0]);
//! let decision = Rule::Ctw { threshold: 0.5 }.decide(row);
//! assert_eq!(decision.label, Some(1));
//! // The probability of "yes" against "no" for class 1: 1 / (1 + exp(28 - 30)).
//! assert!((decision.score - 0.8808).abs() < 1e-4);
//! ```
mod atd;
mod ctw;
mod decision;
mod energy;
mod error;
mod maxlogit;
mod mcm;
mod msp;
mod row;
mod softmax;

use std::fmt::Debug;

pub use atd::Atd;
pub use ctw::Ctw;
pub use decision::{Decision, Rule};
pub use energy::{Energy, HandcraftedEnergy};
pub use error::ScoreError;
pub use maxlogit::MaxLogit;
pub use mcm::Mcm;
pub use msp::Msp;
pub use row::{LogitsRow, predict, q, softmax_yes, top_k};

/// Published factor between cosine similarities and logits.
///
/// Inference multiplies by 100 rather than by the model's `exp(logit_scale)`, which is 100 for the
/// published weights.
pub const LOGIT_SCALE: f64 = 100.0;

/// Score of one image; higher means more in-distribution.
///
/// The score of an unusable row is NaN: a row without classes, with NaN or infinite logits, or
/// without the `no` logits that the score needs. The metrics reject NaN and report its index, and
/// [`Rule::decide`] returns "unknown".
pub trait Score: Send + Sync + Debug {
    /// Name in command lines and files, such as `msp`.
    fn name(&self) -> &'static str;

    /// Name in the published table, such as `MSP`.
    fn title(&self) -> &'static str;

    /// Whether the score depends on the "no" logits; if not, [`LogitsRow::no`] may be empty.
    fn uses_no(&self) -> bool;

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

impl PartialEq for dyn Score {
    fn eq(&self, other: &Self) -> bool {
        self.name() == other.name()
    }
}

/// Scores selected by `all`, in the order of the published table, with MCM after the other scores
/// that use "yes" only.
static ALL: [&dyn Score; 6] = [&Msp, &MaxLogit, &Energy, &Mcm, &Ctw, &Atd];

/// Scores that are known by name but not selected by `all`.
static EXTRA: [&dyn Score; 1] = [&HandcraftedEnergy];

/// Aliases in lower case: the names of the hand-crafted code and of the paper.
const ALIASES: [(&str, &str); 4] = [
    ("yn", "ctw"),
    ("clipn-c", "ctw"),
    ("c+1", "atd"),
    ("clipn-a", "atd"),
];

/// Computes [`Score::stable`] from `f32` logits.
pub fn stable(score: &dyn Score, row: LogitsRow<'_, f32>) -> f64 {
    stable_each(&[score], row)[0]
}

/// Computes [`stable`] for several scores of one row, in their order.
pub fn stable_each(scores: &[&dyn Score], row: LogitsRow<'_, f32>) -> Vec<f64> {
    let widen = |values: &[f32]| values.iter().map(|&v| f64::from(v)).collect::<Vec<f64>>();
    let (yes, no) = (widen(row.yes), widen(row.no));
    scores
        .iter()
        .map(|score| {
            score.stable(LogitsRow {
                yes: &yes,
                no: &no,
                scale: row.scale,
            })
        })
        .collect()
}

/// All standard scores: `msp`, `maxlogit`, `energy`, `mcm`, `ctw`, `atd`.
pub fn all() -> &'static [&'static dyn Score] {
    &ALL
}

/// Looks up a score by name, ignoring case.
///
/// `CLIPN-C` and `YN` are aliases of `ctw`, and `CLIPN-A` and `C+1` of `atd`. The name
/// `energy-handcrafted` is valid too, although the score is not part of [`all`].
///
/// # Errors
/// [`ScoreError::Unknown`] for any other name.
pub fn by_name(name: &str) -> Result<&'static dyn Score, ScoreError> {
    let lowercase = name.trim().to_ascii_lowercase();
    let canonical = ALIASES
        .iter()
        .find(|(alias, _)| *alias == lowercase)
        .map_or(lowercase.as_str(), |(_, name)| name);
    let known = ALL
        .iter()
        .chain(&EXTRA)
        .find(|score| score.name() == canonical);
    known.copied().ok_or_else(|| ScoreError::Unknown {
        given: name.trim().to_string(),
    })
}

/// Parses a comma-separated list such as `msp,ctw` and keeps its order. The name `all` selects
/// every score of [`all`], and duplicates are dropped.
///
/// # Errors
/// [`ScoreError::Unknown`] for an unknown name, and [`ScoreError::NoScores`] for a list without
/// names.
pub fn parse_list(list: &str) -> Result<Vec<&'static dyn Score>, ScoreError> {
    let mut scores: Vec<&'static dyn Score> = Vec::new();
    for name in list
        .split(',')
        .map(str::trim)
        .filter(|name| !name.is_empty())
    {
        let named = if name.eq_ignore_ascii_case("all") {
            ALL.to_vec()
        } else {
            vec![by_name(name)?]
        };
        for score in named {
            if !scores.contains(&score) {
                scores.push(score);
            }
        }
    }
    if scores.is_empty() {
        Err(ScoreError::NoScores)
    } else {
        Ok(scores)
    }
}

/// Names that [`by_name`] accepts, without aliases, for error messages.
fn names() -> String {
    ALL.iter()
        .chain(&EXTRA)
        .map(|score| score.name())
        .collect::<Vec<_>>()
        .join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_scores_by_name_and_alias() {
        for score in all() {
            assert_eq!(
                by_name(&score.name().to_uppercase()).unwrap().name(),
                score.name()
            );
        }
        for (alias, name) in [
            ("CLIPN-C", "ctw"),
            ("YN", "ctw"),
            ("clipn-a", "atd"),
            ("C+1", "atd"),
        ] {
            assert_eq!(by_name(alias).unwrap().name(), name);
        }
        assert_eq!(
            by_name("energy-handcrafted").unwrap().name(),
            "energy-handcrafted"
        );
        let error = by_name("entropy").unwrap_err().to_string();
        assert!(
            error.contains("`entropy`") && error.contains("msp, maxlogit, energy, mcm, ctw, atd"),
            "{error}"
        );
    }

    #[test]
    fn lists_keep_their_order_without_duplicates() {
        let named = |list: &str| {
            parse_list(list)
                .unwrap()
                .iter()
                .map(|s| s.name())
                .collect::<Vec<_>>()
        };
        assert_eq!(named("ctw, msp,YN"), ["ctw", "msp"]);
        assert_eq!(
            named("all"),
            ["msp", "maxlogit", "energy", "mcm", "ctw", "atd"]
        );
        assert_eq!(named("atd,ALL").len(), 6);
        assert_eq!(named("all,energy-handcrafted").len(), 7);
        assert_eq!(parse_list(" , ").unwrap_err(), ScoreError::NoScores);
        assert!(parse_list("msp,nope").is_err());
    }
}
