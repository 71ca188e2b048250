use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::FitError;

/// Settings of the fitted scores. The defaults are OpenOOD's.
///
/// As text they are a list such as `knn-k=50,vim-dim=256`; keys that are left out have their defaults.
///
/// ```
/// use clipn_ood::fitted::FitSettings;
///
/// let settings: FitSettings = "knn-k=10, react-percentile=85".parse()?;
/// assert_eq!((settings.knn_k, settings.react_percentile), (10, 85.0));
/// assert_eq!(settings.to_string(), "knn-k=10,vim-dim=auto,react-percentile=85,nnguide-k=100,\
///     nnguide-fraction=0.01,fdbd-norm=mean,bank=50000,seed=0");
/// # Ok::<(), clipn_ood::fitted::FitError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
#[non_exhaustive]
pub struct FitSettings {
    /// K of KNN: the neighbor whose distance counts, at least 1.
    pub knn_k: usize,
    /// Dimension of the principal subspace of ViM and Residual, below D. `None`: 256, or half of D if D
    /// is at most 512.
    pub vim_dim: Option<usize>,
    /// Percentile of all entries of the features at which ReAct clips, from 0 to 100.
    pub react_percentile: f64,
    /// K of NNGuide: the number of neighbors whose similarities are averaged, at least 1.
    pub nnguide_k: usize,
    /// Fraction of the images that NNGuide compares with, above 0 and at most 1; it takes at least
    /// ten times `nnguide_k` of them, if the bank has as many.
    pub nnguide_fraction: f64,
    /// What fDBD divides by.
    pub fdbd_norm: FdbdNorm,
    /// Maximum number of images whose features are kept: all, or a random sample of this size.
    pub bank: usize,
    /// Seed of the samples.
    pub seed: u64,
}

/// What fDBD divides the mean distance to the decision boundaries by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum FdbdNorm {
    /// The distance of the feature from the mean feature, as in the paper.
    #[default]
    Mean,
    /// The length of the feature.
    Feature,
}

impl Default for FitSettings {
    fn default() -> Self {
        Self {
            knn_k: 50,
            vim_dim: None,
            react_percentile: 90.0,
            nnguide_k: 100,
            nnguide_fraction: 0.01,
            fdbd_norm: FdbdNorm::Mean,
            bank: 50_000,
            seed: 0,
        }
    }
}

impl FitSettings {
    /// Checks the ranges.
    ///
    /// # Errors
    /// [`FitError::Setting`] for a value out of range.
    pub fn validate(&self) -> Result<(), FitError> {
        let out_of_range = |key: &'static str, expected: &'static str, got: String| {
            Err(FitError::Setting { key, expected, got })
        };
        for (key, value) in [
            ("knn-k", self.knn_k),
            ("vim-dim", self.vim_dim.unwrap_or(1)),
            ("nnguide-k", self.nnguide_k),
            ("bank", self.bank),
        ] {
            if value == 0 {
                return out_of_range(key, "at least 1", value.to_string());
            }
        }
        if !(0.0..=100.0).contains(&self.react_percentile) {
            let got = self.react_percentile.to_string();
            return out_of_range("react-percentile", "0 to 100", got);
        }
        if !(self.nnguide_fraction > 0.0 && self.nnguide_fraction <= 1.0) {
            let got = self.nnguide_fraction.to_string();
            return out_of_range("nnguide-fraction", "above 0 and at most 1", got);
        }
        Ok(())
    }

    /// Dimension of the principal subspace for features of dimension D.
    pub fn principal_dim(&self, dim: usize) -> usize {
        let default = if dim <= 512 { dim / 2 } else { 256 };
        self.vim_dim.unwrap_or(default)
    }

    /// Number of images that NNGuide compares with, of `images` with `bank` in the bank.
    pub fn nnguide_bank(&self, images: usize, bank: usize) -> usize {
        let fraction = (self.nnguide_fraction * images as f64).ceil() as usize;
        fraction.max(self.nnguide_k.saturating_mul(10)).min(bank)
    }
}

impl fmt::Display for FitSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "knn-k={},vim-dim=", self.knn_k)?;
        match self.vim_dim {
            Some(dim) => write!(f, "{dim}")?,
            None => write!(f, "auto")?,
        }
        let norm = match self.fdbd_norm {
            FdbdNorm::Mean => "mean",
            FdbdNorm::Feature => "feature",
        };
        write!(
            f,
            ",react-percentile={},nnguide-k={},nnguide-fraction={},fdbd-norm={norm},bank={},seed={}",
            self.react_percentile, self.nnguide_k, self.nnguide_fraction, self.bank, self.seed
        )
    }
}

impl FromStr for FitSettings {
    type Err = FitError;

    fn from_str(text: &str) -> Result<Self, FitError> {
        let mut settings = Self::default();
        for entry in text.split(',').map(str::trim).filter(|e| !e.is_empty()) {
            let (key, value) = entry.split_once('=').unwrap_or((entry, ""));
            let (key, value) = (key.trim(), value.trim());
            match key {
                "knn-k" => settings.knn_k = number("knn-k", value)?,
                "vim-dim" if value == "auto" => settings.vim_dim = None,
                "vim-dim" => settings.vim_dim = Some(number("vim-dim", value)?),
                "react-percentile" => {
                    settings.react_percentile = number("react-percentile", value)?;
                }
                "nnguide-k" => settings.nnguide_k = number("nnguide-k", value)?,
                "nnguide-fraction" => {
                    settings.nnguide_fraction = number("nnguide-fraction", value)?;
                }
                "fdbd-norm" => {
                    settings.fdbd_norm = match value {
                        "mean" => FdbdNorm::Mean,
                        "feature" => FdbdNorm::Feature,
                        _ => {
                            return Err(FitError::Setting {
                                key: "fdbd-norm",
                                expected: "mean or feature",
                                got: value.to_owned(),
                            });
                        }
                    };
                }
                "bank" => settings.bank = number("bank", value)?,
                "seed" => settings.seed = number("seed", value)?,
                _ => {
                    return Err(FitError::UnknownSetting {
                        key: key.to_owned(),
                    });
                }
            }
        }
        settings.validate()?;
        Ok(settings)
    }
}

fn number<T: FromStr>(key: &'static str, value: &str) -> Result<T, FitError> {
    value.parse().map_err(|_| FitError::Setting {
        key,
        expected: "a number",
        got: value.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_round_trip_through_text_and_json() {
        let text = "knn-k=5,vim-dim=16,react-percentile=99.5,nnguide-k=7,nnguide-fraction=0.5,\
                    fdbd-norm=feature,bank=9,seed=3";
        let settings: FitSettings = text.parse().unwrap();
        assert_eq!(settings.to_string(), text);
        let json = serde_json::to_string(&settings).unwrap();
        assert_eq!(
            serde_json::from_str::<FitSettings>(&json).unwrap(),
            settings
        );
        assert_eq!("".parse::<FitSettings>().unwrap(), FitSettings::default());
    }

    #[test]
    fn wrong_settings_are_errors_with_the_value() {
        for (text, expected) in [
            ("knn=5", "unknown setting `knn`"),
            ("knn-k=0", "knn-k: expected at least 1, got `0`"),
            ("knn-k=few", "knn-k: expected a number, got `few`"),
            (
                "react-percentile=101",
                "react-percentile: expected 0 to 100, got `101`",
            ),
            (
                "nnguide-fraction=NaN",
                "nnguide-fraction: expected above 0 and at most 1, got `NaN`",
            ),
            (
                "fdbd-norm=max",
                "fdbd-norm: expected mean or feature, got `max`",
            ),
        ] {
            let error = text.parse::<FitSettings>().unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn sizes_follow_the_features_and_the_images() {
        let settings = FitSettings::default();
        assert_eq!(
            [64, 512, 513, 768].map(|dim| settings.principal_dim(dim)),
            [32, 256, 256, 256]
        );
        assert_eq!(settings.nnguide_bank(1_281_167, 50_000), 12_812);
        assert_eq!(settings.nnguide_bank(29_200, 29_200), 1_000);
        assert_eq!(settings.nnguide_bank(600, 600), 600);
    }
}
