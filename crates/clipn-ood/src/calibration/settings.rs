use serde::{Deserialize, Serialize};

use super::CalibrationError;
use crate::scores::{Atd, Score, by_name};

/// Method by which a threshold is chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Choice {
    /// Keeps the target fraction of in-distribution images on average over all possible calibration
    /// sets: split conformal prediction (Vovk et al., *Algorithmic Learning in a Random World*).
    #[default]
    OnAverage,
    /// Keeps at least the target fraction with the confidence of the settings, whatever the
    /// calibration set: a one-sided tolerance limit (Wilks, 1941). It rejects fewer images than
    /// [`Choice::OnAverage`].
    Guaranteed,
    /// Separates in-distribution from out-of-distribution examples best: maximizes Youden's index,
    /// the sum of the fraction kept of the former and the fraction rejected of the latter.
    Best,
}

/// Settings of [`calibrate`](super::calibrate).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Settings {
    /// Score to calibrate. Default: ATD.
    pub score: &'static dyn Score,
    /// Target fraction of in-distribution images to keep, between 0 and 1, exclusive. Default:
    /// 0.95.
    pub target_tpr: f64,
    /// Method by which the threshold is chosen. Default: [`Choice::OnAverage`].
    pub choice: Choice,
    /// Confidence level of the intervals and of [`Choice::Guaranteed`], between 0 and 1, exclusive.
    /// Default: 0.95.
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
            ("target true positive rate", self.target_tpr),
            ("confidence", self.confidence),
        ] {
            if !is_inside(value) {
                return Err(CalibrationError::Share { what, value });
            }
        }
        Ok(())
    }
}

/// Serializes a score by its name.
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
