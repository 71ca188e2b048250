//! Selection of the scores that classifiers allow.

use clipn::classifier::Classifier;
use clipn::scores::{self, Score, ScoreError};

use crate::common::messages::{detail, status};

/// All standard scores that every classifier allows. Says which are left out, and why; those that need
/// negatives only if verbose, as negatives are optional.
pub(crate) fn available_scores(classifiers: &[&Classifier]) -> Vec<&'static dyn Score> {
    let (mut without_no, mut with_one_class, mut without_negatives) =
        (Vec::new(), Vec::new(), Vec::new());
    let mut scores = scores::all().to_vec();
    scores.retain(|score| {
        let check = |classifier: &&Classifier| classifier.score_inputs().check(*score).err();
        let left_out = match classifiers.iter().find_map(check) {
            None => return true,
            Some(ScoreError::NeedsNo { .. }) => &mut without_no,
            Some(ScoreError::NeedsNegatives { .. }) => &mut without_negatives,
            Some(_) => &mut with_one_class,
        };
        left_out.push(score.name());
        false
    });
    for (names, reason) in [
        (without_no, "no trained \"no\" side"),
        (with_one_class, "a single class"),
    ] {
        if !names.is_empty() {
            status(format_args!("left out {}: {reason}", names.join(", ")));
        }
    }
    if !without_negatives.is_empty() {
        let names = without_negatives.join(", ");
        detail(format_args!("left out {names}: no negatives"));
    }
    scores
}
