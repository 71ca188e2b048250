//! One number an image from its logits, higher meaning more in-distribution: MSP, MaxLogit, Energy, MCM, CTW and ATD
//! behind the trait [`Score`], and the decision [`Rule`]s that turn a score into a label or "unknown".
//! Each score has the published `f32` arithmetic (faithful) and a log-space `f64` path that does not saturate (stable).
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

/// The published factor between cosines and logits: inference multiplies by 100, not by the model's `exp(logit_scale)`,
/// which is 100 for the weights that it is meant for.
pub const LOGIT_SCALE: f64 = 100.0;

/// A score of one image, higher meaning more in-distribution.
///
/// A row that the score cannot use (no classes, NaN or infinite logits, or `no` logits missing where they are needed)
/// gives NaN, which the metrics refuse by place and [`Rule::decide`] answers with "unknown".
pub trait Score: Send + Sync + Debug {
    /// The name used in flags and files, as `msp`.
    fn name(&self) -> &'static str;

    /// The name in the published table, as `MSP`.
    fn title(&self) -> &'static str;

    /// Whether the "no" logits matter; where they do not, [`LogitsRow::no`] may be empty.
    fn uses_no(&self) -> bool;

    /// The score in the published `f32` arithmetic. Probabilities saturate at 1, which makes ties.
    fn faithful(&self, row: LogitsRow<'_, f32>) -> f32;

    /// The score in `f64`, the probabilities as their natural logarithm: it orders images that the faithful score
    /// leaves tied at 1 or 0.
    fn stable(&self, row: LogitsRow<'_, f64>) -> f64;

    /// From the unit of [`stable`](Self::stable) to the published one.
    #[expect(
        clippy::wrong_self_convention,
        reason = "the score converts a value; it is not made from one"
    )]
    fn from_stable(&self, value: f64) -> f64;

    /// From the published unit to that of [`stable`](Self::stable); a threshold of 0.5, say, to its logarithm.
    fn to_stable(&self, value: f64) -> f64;
}

impl PartialEq for dyn Score {
    fn eq(&self, other: &Self) -> bool {
        self.name() == other.name()
    }
}

/// The scores that "all" stands for, in the order of the published table, MCM after its "yes"-only kin.
static ALL: [&dyn Score; 6] = [&Msp, &MaxLogit, &Energy, &Mcm, &Ctw, &Atd];

/// Known by name but not part of "all".
static EXTRA: [&dyn Score; 1] = [&HandcraftedEnergy];

/// Other names in use, lower-case: the hand-crafted code's and the paper's.
const ALIASES: [(&str, &str); 4] = [
    ("yn", "ctw"),
    ("clipn-c", "ctw"),
    ("c+1", "atd"),
    ("clipn-a", "atd"),
];

/// The stable score of logits in `f32`.
pub fn stable(score: &dyn Score, row: LogitsRow<'_, f32>) -> f64 {
    stable_each(&[score], row)[0]
}

/// As [`stable`] for several scores, in their order.
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

/// Every standard score: `msp`, `maxlogit`, `energy`, `mcm`, `ctw`, `atd`.
pub fn all() -> &'static [&'static dyn Score] {
    &ALL
}

/// The score of that name, whatever its case. `CLIPN-C` and `YN` are `ctw`, `CLIPN-A` and `C+1` are `atd`;
/// `energy-handcrafted` is known too, although not part of [`all`].
///
/// # Errors
/// [`ScoreError::Unknown`], listing the names.
pub fn by_name(name: &str) -> Result<&'static dyn Score, ScoreError> {
    let wanted = name.trim().to_ascii_lowercase();
    let wanted = ALIASES
        .iter()
        .find(|(alias, _)| *alias == wanted)
        .map_or(wanted.as_str(), |(_, name)| name);
    let known = ALL
        .iter()
        .chain(&EXTRA)
        .find(|score| score.name() == wanted);
    known.copied().ok_or_else(|| ScoreError::Unknown {
        given: name.trim().to_string(),
    })
}

/// The scores of a list such as `msp,ctw`, in its order; `all` stands for every one of [`all`]. A score named twice
/// stands once.
///
/// # Errors
/// [`ScoreError::Unknown`] for a name that is none, [`ScoreError::NoScores`] for a list without a name.
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

/// The names that [`by_name`] knows, aliases left out, for messages.
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
    fn names_find_scores() {
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
    fn lists_keep_their_order() {
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
