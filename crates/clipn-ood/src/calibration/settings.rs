use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::CalibrationError;
use crate::scores::{Atd, Score};

/// Method by which a threshold is chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum ThresholdMethod {
    /// Keeps the target fraction of in-distribution images on average over all possible calibration
    /// sets: split conformal prediction (Vovk et al., *Algorithmic Learning in a Random World*).
    #[default]
    OnAverage,
    /// Keeps at least the target fraction with the confidence of the settings, whatever the
    /// calibration set: a one-sided tolerance limit (Wilks, 1941). It rejects fewer images than
    /// [`ThresholdMethod::OnAverage`].
    Guaranteed,
    /// Separates in-distribution from out-of-distribution examples best: maximizes Youden's index,
    /// the sum of the fraction kept of the former and the fraction rejected of the latter.
    Best,
}

impl ThresholdMethod {
    /// All methods, default first.
    pub const ALL: [Self; 3] = [Self::OnAverage, Self::Guaranteed, Self::Best];

    /// Name in command lines and files, such as `on-average`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::OnAverage => "on-average",
            Self::Guaranteed => "guaranteed",
            Self::Best => "best",
        }
    }
}

impl fmt::Display for ThresholdMethod {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for ThresholdMethod {
    type Err = CalibrationError;

    /// Parses a name, ignoring ASCII case.
    ///
    /// # Errors
    /// [`CalibrationError::UnknownMethod`] if no method has this name.
    fn from_str(name: &str) -> Result<Self, CalibrationError> {
        let method = Self::ALL
            .into_iter()
            .find(|method| method.as_str().eq_ignore_ascii_case(name.trim()));
        method.ok_or_else(|| CalibrationError::UnknownMethod {
            name: name.to_owned(),
        })
    }
}

/// Settings of [`calibrate`](super::calibrate).
///
/// ```
/// use clipn_ood::calibration::{CalibrationSettings, ThresholdMethod};
/// use clipn_ood::scores::Ctw;
///
/// let settings = CalibrationSettings::default()
///     .with_score(&Ctw)
///     .with_target_tpr(0.9)
///     .with_method(ThresholdMethod::Guaranteed);
/// assert_eq!(settings.confidence, 0.95);
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct CalibrationSettings {
    /// Score to calibrate. Default: ATD.
    pub score: &'static dyn Score,
    /// Target fraction of in-distribution images to keep, between 0 and 1, exclusive. Default:
    /// 0.95.
    pub target_tpr: f64,
    /// Method by which the threshold is chosen. Default: [`ThresholdMethod::OnAverage`].
    pub method: ThresholdMethod,
    /// Confidence level of the intervals and of [`ThresholdMethod::Guaranteed`], between 0 and 1,
    /// exclusive. Default: 0.95.
    pub confidence: f64,
}

impl Default for CalibrationSettings {
    fn default() -> Self {
        Self {
            score: &Atd,
            target_tpr: 0.95,
            method: ThresholdMethod::default(),
            confidence: 0.95,
        }
    }
}

impl CalibrationSettings {
    /// Sets the score to calibrate.
    #[must_use]
    pub fn with_score(self, score: &'static dyn Score) -> Self {
        Self { score, ..self }
    }

    /// Sets the target fraction of in-distribution images to keep.
    #[must_use]
    pub fn with_target_tpr(self, target_tpr: f64) -> Self {
        Self { target_tpr, ..self }
    }

    /// Sets the method by which the threshold is chosen.
    #[must_use]
    pub fn with_method(self, method: ThresholdMethod) -> Self {
        Self { method, ..self }
    }

    /// Sets the confidence level of the intervals and of [`ThresholdMethod::Guaranteed`].
    #[must_use]
    pub fn with_confidence(self, confidence: f64) -> Self {
        Self { confidence, ..self }
    }

    /// Checks that the fractions are between 0 and 1, exclusive.
    pub(super) fn validate(&self) -> Result<(), CalibrationError> {
        for (setting, value) in [
            ("target true positive rate", self.target_tpr),
            ("confidence", self.confidence),
        ] {
            let is_inside = value > 0.0 && value < 1.0;
            if !is_inside {
                return Err(CalibrationError::OutOfRange { setting, value });
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn method_names_round_trip() {
        for method in ThresholdMethod::ALL {
            assert_eq!(
                method.to_string().parse::<ThresholdMethod>().unwrap(),
                method
            );
            let json = serde_json::to_string(&method).unwrap();
            assert_eq!(json, format!("\"{method}\""));
            assert_eq!(
                serde_json::from_str::<ThresholdMethod>(&json).unwrap(),
                method
            );
        }
        let error = "worst".parse::<ThresholdMethod>().unwrap_err();
        assert_eq!(
            error.to_string(),
            "unknown threshold method `worst`; expected one of on-average, guaranteed, best"
        );
    }
}
