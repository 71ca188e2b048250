use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::adaptation::AdaptationError;

/// A method that learns from the stream of images.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum AdaptiveMethod {
    /// NegLabel with texts that a memory of confident images adapts, see [`clipn_ood::streams::AdaNeg`].
    AdaNeg,
    /// NegLabel with words that are chosen by their activation, see [`clipn_ood::streams::Tanl`].
    Tanl,
}

impl AdaptiveMethod {
    /// All methods.
    pub const ALL: [Self; 2] = [Self::AdaNeg, Self::Tanl];

    /// Returns the name, such as `adaneg`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::AdaNeg => "adaneg",
            Self::Tanl => "tanl",
        }
    }

    /// Returns the name as its authors write it.
    pub fn display_name(self) -> &'static str {
        match self {
            Self::AdaNeg => "AdaNeg",
            Self::Tanl => "TANL",
        }
    }
}

impl fmt::Display for AdaptiveMethod {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for AdaptiveMethod {
    type Err = AdaptationError;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let lower = name.trim().to_ascii_lowercase();
        let found = Self::ALL.into_iter().find(|m| m.as_str() == lower);
        found.ok_or_else(|| AdaptationError::UnknownMethod {
            name: name.to_owned(),
        })
    }
}
