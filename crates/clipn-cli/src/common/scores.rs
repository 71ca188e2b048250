//! Selection of the scores that classifiers allow.

use clipn::classifier::Classifier;
use clipn::scores::{self, Score, ScoreError};

use crate::common::messages::{detail, status};

/// All standard scores that every classifier allows. Says which are left out, and why; those that need
/// negatives or images only if verbose, as these are optional.
pub(crate) fn available_scores(classifiers: &[&Classifier]) -> Vec<&'static dyn Score> {
    let (mut without_no, mut with_one_class) = (Vec::new(), Vec::new());
    let (mut without_negatives, mut without_fit) = (Vec::new(), Vec::new());
    let mut scores = scores::all().to_vec();
    scores.retain(|score| {
        let check = |classifier: &&Classifier| classifier.score_inputs().check(*score).err();
        let left_out = match classifiers.iter().find_map(check) {
            None => return true,
            Some(ScoreError::NeedsNo { .. }) => &mut without_no,
            Some(ScoreError::NeedsNegatives { .. }) => &mut without_negatives,
            Some(ScoreError::NeedsFit { .. }) => &mut without_fit,
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
    for (names, reason) in [
        (without_negatives, "no negatives"),
        (without_fit, "not fitted to images"),
    ] {
        if !names.is_empty() {
            detail(format_args!("left out {}: {reason}", names.join(", ")));
        }
    }
    scores
}
