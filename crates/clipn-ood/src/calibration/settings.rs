use serde::{Deserialize, Serialize};

use super::CalibrationError;
use crate::scores::{Atd, Score, by_name};

/// How a threshold is chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Choice {
    /// The wanted share of in-distribution pictures is kept on average over all sets of pictures that one might have
    /// calibrated with: split conformal prediction (Vovk et al., *Algorithmic Learning in a Random World*).
    #[default]
    OnAverage,
    /// At least the wanted share is kept with the confidence of the settings, whichever set it was: a one-sided
    /// tolerance limit (Wilks 1941), which rejects less.
    Guaranteed,
    /// What tells the two kinds apart best, given examples of the unknown: the greatest sum of the share kept of the
    /// one and the share rejected of the other (Youden's index).
    Best,
}

/// What to calibrate for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Settings {
    /// The score that decides.
    pub score: &'static dyn Score,
    /// The share of in-distribution pictures to keep, above 0 and below 1.
    pub target_tpr: f64,
    /// How the threshold is chosen.
    pub choice: Choice,
    /// The confidence of intervals and of [`Choice::Guaranteed`], above 0 and below 1.
    pub confidence: f64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            score: &Atd,
            target_tpr: 0.95,
            choice: Choice::default(),
            confidence: 0.95,
        }
    }
}

impl Settings {
    pub(super) fn check(&self) -> Result<(), CalibrationError> {
        let is_inside = |value: f64| value > 0.0 && value < 1.0;
        for (what, value) in [
            ("share of pictures to keep", self.target_tpr),
            ("confidence", self.confidence),
        ] {
            if !is_inside(value) {
                return Err(CalibrationError::Share { what, value });
            }
        }
        Ok(())
    }
}

/// A score by its name in files.
pub(super) mod score_name {
    use serde::{Deserialize, Deserializer, Serializer};

    use super::{Score, by_name};

    pub(crate) fn serialize<S: Serializer>(
        score: &&'static dyn Score,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(score.name())
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<&'static dyn Score, D::Error> {
        by_name(&String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}
