//! The built-in scores by name.

use super::{
    Atd, AtdNeg, Cma, Ctw, CtwNeg, Energy, Eoe, FittedScore, GatedEnergy, Gen, GlMcm,
    HandcraftedEnergy, LMcm, LogitGap, Margin, MaxLogit, Mcm, Msp, NegLabel, Ole, Score,
    ScoreError,
};

/// Scores selected by `all`: those of "yes" only, then those with negatives, with "no", with both, and
/// those that are fitted to images.
static ALL: [&dyn Score; 23] = [
    &Msp,
    &MaxLogit,
    &Energy,
    &Mcm,
    &Margin,
    &Gen::published(),
    &LogitGap::published(),
    &NegLabel,
    &Ctw,
    &Atd,
    &GatedEnergy,
    &CtwNeg,
    &AtdNeg,
    &FittedScore::Knn,
    &FittedScore::Mds,
    &FittedScore::Rmds,
    &FittedScore::Vim,
    &FittedScore::Residual,
    &FittedScore::She,
    &FittedScore::NnGuide,
    &FittedScore::Fdbd,
    &FittedScore::React,
    &FittedScore::KlMatching,
];

/// Scores that are known by name but not selected by `all`.
static EXTRA: [&dyn Score; 6] = [
    &Cma,
    &Eoe::published(),
    &Ole,
    &LMcm,
    &GlMcm::published(),
    &HandcraftedEnergy,
];

/// Aliases in lower case: the names of the hand-crafted code and of the paper.
const ALIASES: [(&str, &str); 4] = [
    ("yn", "ctw"),
    ("clipn-c", "ctw"),
    ("c+1", "atd"),
    ("clipn-a", "atd"),
];

/// All standard scores: `msp`, `maxlogit`, `energy`, `mcm`, `margin`, `gen`, `logitgap`, `neglabel`,
/// `ctw`, `atd`, `gated-energy`, `ctw-neg`, `atd-neg`, and the [`FittedScore`]s `knn`, `mds`, `rmds`,
/// `vim`, `residual`, `she`, `nnguide`, `fdbd`, `react` and `kl-matching`. [`ScoreInputs::available`](super::ScoreInputs::available)
/// returns those that a model allows.
pub fn all() -> &'static [&'static dyn Score] {
    &ALL
}

/// Looks up a score by name, ignoring case.
///
/// `CLIPN-C` and `YN` are aliases of `ctw`, and `CLIPN-A` and `C+1` of `atd`. The names `cma`,
/// `eoe`, `ole`, `l-mcm`, `gl-mcm` and `energy-handcrafted` are valid too, although these scores are
/// not part of [`all`].
///
/// ```
/// use clipn_ood::scores::{Score, by_name};
///
/// assert_eq!(by_name("CLIPN-A")?.name(), "atd");
/// let score: &dyn Score = "ctw".parse()?;
/// assert_eq!(score.to_string(), "ctw");
/// # Ok::<(), clipn_ood::scores::ScoreError>(())
/// ```
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
        name: name.trim().to_owned(),
    })
}

/// Whether a score is the one that [`by_name`] returns for its name, so that it can be read again from
/// a file. A score of the caller's own is not, even one that has the name of a built-in score.
///
/// ```
/// use clipn_ood::scores::{Msp, is_built_in};
///
/// assert!(is_built_in(&Msp));
/// ```
pub fn is_built_in(score: &dyn Score) -> bool {
    by_name(score.name()).is_ok_and(|known| known.type_name() == score.type_name())
}

/// Parses a comma-separated list such as `msp,ctw` and keeps its order. The name `all` selects
/// every score of [`all`], and duplicates are dropped.
///
/// # Errors
/// [`ScoreError::Unknown`] for an unknown name, and [`ScoreError::EmptyList`] for a list without
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
        Err(ScoreError::EmptyList)
    } else {
        Ok(scores)
    }
}

/// Names that [`by_name`] accepts, without aliases, for error messages.
pub(super) fn names() -> String {
    ALL.iter()
        .chain(&EXTRA)
        .map(|score| score.name())
        .collect::<Vec<_>>()
        .join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scores::{LocalLogits, LogitsRow, NegativeLogits};

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
        for name in ["cma", "eoe", "ole", "l-mcm", "gl-mcm", "energy-handcrafted"] {
            assert_eq!(by_name(name).unwrap().name(), name);
        }
        // Settings of one's own have a name of their own.
        for score in [
            &LogitGap::with_runners_up(2) as &dyn Score,
            &Gen::new(0.5, 100),
            &Gen::published().on_cosines(),
            &Eoe::new(1.0),
            &GlMcm::new(0.5),
        ] {
            assert!(by_name(score.name()).is_err(), "{score}");
        }
        assert!(by_name("kl-matching").unwrap().fitted().is_some());
        let error = by_name("entropy").unwrap_err().to_string();
        assert!(
            error.contains("`entropy`") && error.contains("msp, maxlogit, energy, mcm, margin"),
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
            [
                "msp",
                "maxlogit",
                "energy",
                "mcm",
                "margin",
                "gen",
                "logitgap",
                "neglabel",
                "ctw",
                "atd",
                "gated-energy",
                "ctw-neg",
                "atd-neg",
                "knn",
                "mds",
                "rmds",
                "vim",
                "residual",
                "she",
                "nnguide",
                "fdbd",
                "react",
                "kl-matching"
            ]
        );
        assert_eq!(named("atd,ALL").len(), 23);
        assert_eq!(named("all,energy-handcrafted").len(), 24);
        assert_eq!(parse_list(" , ").unwrap_err(), ScoreError::EmptyList);
        assert!(parse_list("msp,nope").is_err());
    }

    #[test]
    fn probabilities_are_from_0_to_1() {
        let ends = [1, 2];
        let negatives = NegativeLogits::new(&[60.0, -90.0], &ends);
        for scale in [1.0_f32, 100.0] {
            for yes in [[0.3, -0.2, 0.1], [-0.5, -0.9, -0.7], [0.9, 0.2, 0.8]] {
                let yes = yes.map(|cosine: f32| scale * cosine);
                let row = LogitsRow::new(&yes, &[-9.0, 3.0, 40.0]).with_negatives(negatives);
                let row = row.with_local(LocalLogits::new(&yes));
                for score in ALL
                    .iter()
                    .chain(&EXTRA)
                    .filter(|score| score.is_probability())
                {
                    let value = score.faithful(row);
                    assert!((0.0..=1.0).contains(&value), "{score}: {value}");
                }
            }
        }
        let scores = ALL.iter().chain(&EXTRA);
        let others: Vec<&str> = scores
            .filter(|score| !score.is_probability())
            .map(|score| score.name())
            .collect();
        assert_eq!(
            others,
            [
                "maxlogit",
                "energy",
                "gen",
                "logitgap",
                "gated-energy",
                "knn",
                "mds",
                "rmds",
                "vim",
                "residual",
                "she",
                "nnguide",
                "fdbd",
                "react",
                "kl-matching",
                "eoe",
                "gl-mcm",
                "energy-handcrafted"
            ]
        );
    }

    #[test]
    fn names_round_trip_through_text_and_json() {
        for &score in all() {
            let parsed: &dyn Score = score.to_string().parse().unwrap();
            assert_eq!(parsed, score);
            let json = serde_json::to_string(score).unwrap();
            assert_eq!(json, format!("\"{score}\""));
            assert_eq!(
                serde_json::from_str::<&'static dyn Score>(&json).unwrap(),
                score
            );
        }
    }
}
