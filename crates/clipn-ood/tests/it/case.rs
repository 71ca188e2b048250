//! Random rows of logits with negatives, in both precisions.

use std::ops::Range;

use clipn_ood::scores::{
    Cma, Eoe, HandcraftedEnergy, LogitsRow, NegativeLogits, Ole, Score, all, stable,
};
use proptest::prelude::*;

/// All scores that have a name, but for those that are fitted to images.
pub(crate) fn every_score() -> Vec<&'static dyn Score> {
    static EXTRA: [&dyn Score; 4] = [&Cma, &Eoe::published(), &Ole, &HandcraftedEnergy];
    let scores = all().iter().chain(&EXTRA).copied();
    scores.filter(|score| score.fitted().is_none()).collect()
}

/// Logits of one image that `f32` represents exactly.
#[derive(Debug, Clone)]
pub(crate) struct Case {
    pub(crate) yes: Vec<f64>,
    pub(crate) no: Vec<f64>,
    pub(crate) negatives: Vec<f64>,
    pub(crate) group_ends: Vec<usize>,
}

/// Kinds of logits.
#[derive(Debug, Clone)]
pub(crate) enum Kind {
    Within(Range<f64>),
    OneOf(&'static [f64]),
}

/// Logits of ordinary magnitude.
pub(crate) const ORDINARY: Kind = Kind::Within(-30.0..60.0);

/// Logits that saturate every probability.
pub(crate) const EXTREME: Kind = Kind::OneOf(&[-1e4, -100.0, -1.0, 0.0, 1.0, 100.0, 1e4]);

impl Kind {
    fn logit(self) -> BoxedStrategy<f64> {
        match self {
            Self::Within(range) => range.prop_map(|v| f64::from(v as f32)).boxed(),
            Self::OneOf(values) => prop::sample::select(values).boxed(),
        }
    }
}

impl Case {
    /// Generates one to seven classes and one to nine negatives in one or more groups.
    pub(crate) fn strategy(kind: Kind) -> impl Strategy<Value = Self> {
        let logit = kind.logit();
        let classes = prop::collection::vec((logit.clone(), logit.clone()), 1..8);
        let negatives = prop::collection::vec((logit, any::<bool>()), 1..10);
        (classes, negatives).prop_map(|(classes, negatives)| {
            let (yes, no) = classes.into_iter().unzip();
            let ends = negatives.iter().enumerate();
            let mut group_ends: Vec<usize> = ends
                .filter_map(|(index, (_, is_end))| is_end.then_some(index + 1))
                .collect();
            if group_ends.last() != Some(&negatives.len()) {
                group_ends.push(negatives.len());
            }
            Self {
                yes,
                no,
                negatives: negatives.into_iter().map(|(v, _)| v).collect(),
                group_ends,
            }
        })
    }

    pub(crate) fn narrow(&self, values: &[f64]) -> Vec<f32> {
        values.iter().map(|v| *v as f32).collect()
    }

    pub(crate) fn row(&self) -> LogitsRow<'_, f64> {
        let negatives = NegativeLogits::new(&self.negatives, &self.group_ends);
        LogitsRow::new(&self.yes, &self.no).with_negatives(negatives)
    }

    pub(crate) fn faithful(&self, score: &dyn Score) -> f32 {
        let [yes, no, negatives] =
            [&self.yes, &self.no, &self.negatives].map(|values| self.narrow(values));
        let negatives = NegativeLogits::new(&negatives, &self.group_ends);
        let row = LogitsRow::new(&yes, &no).with_negatives(negatives);
        // Widening is exact, so both ways to the stable form agree.
        let widened = stable(score, row);
        assert!(widened == self.stable(score) || widened.is_nan(), "{score}");
        score.faithful(row)
    }

    pub(crate) fn stable(&self, score: &dyn Score) -> f64 {
        score.stable(self.row())
    }
}
