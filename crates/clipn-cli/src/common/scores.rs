//! Selection of the scores that classifiers allow.

use clipn::classifier::Classifier;
use clipn::scores::{self, Score};

use crate::common::messages::status;

/// All standard scores that every classifier allows; prints which are left out, and why.
pub(crate) fn available_scores(classifiers: &[&Classifier]) -> Vec<&'static dyn Score> {
    let mut left_out: Vec<&str> = Vec::new();
    let mut scores = scores::all().to_vec();
    scores.retain(|score| {
        let fails = |classifier: &&Classifier| classifier.score_inputs().check(*score).is_err();
        let is_left_out = classifiers.iter().any(fails);
        if is_left_out {
            left_out.push(score.name());
        }
        !is_left_out
    });
    if !left_out.is_empty() {
        let has = |what: fn(&Classifier) -> bool| classifiers.iter().copied().all(what);
        let mut reasons = Vec::new();
        if !has(Classifier::has_no) {
            reasons.push("no trained \"no\" side");
        }
        if !has(|classifier| classifier.negatives().is_some()) {
            reasons.push("no negatives");
        }
        if !has(|classifier| classifier.len() > 1) {
            reasons.push("a single class");
        }
        status(format_args!(
            "left out {}: {}",
            left_out.join(", "),
            reasons.join(", ")
        ));
    }
    scores
}
