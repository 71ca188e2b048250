use super::{Atd, AtdNeg, DecisionRule, FittedScoreSet, NegLabel, Score, ScoreError, all};

/// Inputs that a model offers to the scores.
///
/// ```
/// use clipn_ood::scores::{Ctw, FittedScoreSet, NegLabel, ScoreInputs};
///
/// // A plain CLIP with five classes and negatives.
/// let fitted = FittedScoreSet::default();
/// let inputs =
///     ScoreInputs { classes: 5, has_no: false, has_negatives: true, has_local: false, fitted };
/// assert!(inputs.check(&NegLabel).is_ok());
/// assert_eq!(
///     inputs.check(&Ctw).unwrap_err().to_string(),
///     "the score `ctw` needs a trained \"no\" side, got none"
/// );
/// assert!(inputs.available().iter().all(|score| !score.uses_no()));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ScoreInputs {
    /// Number of classes K.
    pub classes: usize,
    /// Whether there are "no" logits of a trained "no" side.
    pub has_no: bool,
    /// Whether there are negatives.
    pub has_negatives: bool,
    /// Whether the image tower computes features of patches.
    pub has_local: bool,
    /// Scores that were fitted to images.
    pub fitted: FittedScoreSet,
}

impl ScoreInputs {
    /// Sets whether the image tower computes features of patches.
    #[must_use]
    pub fn with_local(self, has_local: bool) -> Self {
        Self { has_local, ..self }
    }

    /// Checks that these inputs suffice for a score.
    ///
    /// # Errors
    /// [`ScoreError::NeedsNo`], [`ScoreError::NeedsNegatives`], [`ScoreError::NeedsLocal`],
    /// [`ScoreError::NeedsFit`] or [`ScoreError::TooFewClasses`] for what is missing, the first in this
    /// order.
    pub fn check(&self, score: &dyn Score) -> Result<(), ScoreError> {
        let (name, min_classes) = (score.name(), score.min_classes());
        if score.uses_no() && !self.has_no {
            Err(ScoreError::NeedsNo { score: name })
        } else if score.uses_negatives() && !self.has_negatives {
            Err(ScoreError::NeedsNegatives { score: name })
        } else if score.uses_local() && !self.has_local {
            Err(ScoreError::NeedsLocal { score: name })
        } else if score
            .fitted()
            .is_some_and(|fitted| !self.fitted.contains(fitted))
        {
            Err(ScoreError::NeedsFit { score: name })
        } else if self.classes < min_classes {
            Err(ScoreError::TooFewClasses {
                score: name,
                min_classes,
                classes: self.classes,
            })
        } else {
            Ok(())
        }
    }

    /// The rule that rejects with all of these inputs and needs no calibration: ATD with a trained "no" side,
    /// NegLabel at 0.5 with negatives, and ATD-Neg at 0.5 with both. `None` if there is nothing to reject with.
    pub fn default_rule(&self) -> Option<DecisionRule> {
        let score: &dyn Score = match (self.has_no, self.has_negatives) {
            (true, true) => &AtdNeg,
            (true, false) => &Atd,
            (false, true) => &NegLabel,
            (false, false) => return None,
        };
        DecisionRule::default_for(score)
    }

    /// The scores of [`all`] for which these inputs suffice, in its order.
    pub fn available(&self) -> Vec<&'static dyn Score> {
        let scores = all().iter().copied();
        scores.filter(|score| self.check(*score).is_ok()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scores::{AtdNeg, Cma, LMcm, Msp};

    fn names(classes: usize, has_no: bool, has_negatives: bool) -> String {
        let inputs = ScoreInputs {
            classes,
            has_no,
            has_negatives,
            has_local: false,
            fitted: FittedScoreSet::default(),
        };
        let names: Vec<&str> = inputs.available().iter().map(|s| s.name()).collect();
        names.join(" ")
    }

    #[test]
    fn inputs_decide_which_scores_are_available() {
        assert_eq!(
            names(5, false, false),
            "msp maxlogit energy mcm margin gen logitgap"
        );
        assert_eq!(
            names(5, true, false),
            "msp maxlogit energy mcm margin gen logitgap ctw atd gated-energy"
        );
        assert_eq!(names(1, false, true), "maxlogit energy neglabel");
        assert_eq!(names(5, true, true).split(' ').count(), all().len() - 10);
        assert_eq!(names(0, true, true), "");
    }

    #[test]
    fn the_default_rule_reads_everything_that_rejects() {
        let score = |has_no, has_negatives| {
            let inputs = ScoreInputs {
                classes: 5,
                has_no,
                has_negatives,
                has_local: false,
                fitted: FittedScoreSet::default(),
            };
            inputs.default_rule().map(|rule| rule.score().name())
        };
        assert_eq!(score(true, true), Some("atd-neg"));
        assert_eq!(score(true, false), Some("atd"));
        assert_eq!(score(false, true), Some("neglabel"));
        assert_eq!(score(false, false), None);
    }

    #[test]
    fn errors_name_what_is_missing() {
        let none = ScoreInputs {
            classes: 1,
            has_no: false,
            has_negatives: false,
            has_local: false,
            fitted: FittedScoreSet::default(),
        };
        assert_eq!(
            none.check(&AtdNeg),
            Err(ScoreError::NeedsNo { score: "atd-neg" })
        );
        assert_eq!(
            none.check(&LMcm).unwrap_err().to_string(),
            "the score `l-mcm` needs local features of images, got none"
        );
        assert_eq!(
            none.check(&Cma).unwrap_err().to_string(),
            "the score `cma` needs negatives, got none"
        );
        assert_eq!(
            none.check(&Msp).unwrap_err().to_string(),
            "the score `msp` needs at least 2 classes, got 1"
        );
    }
}
