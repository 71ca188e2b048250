use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Number format of the matrix products of a tower.
///
/// ```
/// use clipn_model::Precision;
///
/// assert_eq!("int8".parse(), Ok(Precision::Int8));
/// assert_eq!(Precision::default().to_string(), "f32");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Precision {
    /// 32-bit floating point.
    #[default]
    F32,
    /// 8-bit integers with a scale per output of a weight and per row of activations. Sums are exact
    /// integers; layer norms, attention, residual sums and features are f32.
    Int8,
}

impl Precision {
    /// All precisions.
    pub const ALL: [Self; 2] = [Self::F32, Self::Int8];

    /// Name in files and flags, such as `int8`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::Int8 => "int8",
        }
    }
}

impl fmt::Display for Precision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Error for a name that no [`Precision`] has.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown precision `{name}`; expected f32 or int8")]
pub struct UnknownPrecision {
    /// Unknown name.
    pub name: String,
}

impl FromStr for Precision {
    type Err = UnknownPrecision;

    /// Parses a name as [`Precision::as_str`] returns it.
    ///
    /// # Errors
    /// [`UnknownPrecision`] for any other name.
    fn from_str(name: &str) -> Result<Self, UnknownPrecision> {
        let precision = Self::ALL.into_iter().find(|p| p.as_str() == name);
        precision.ok_or_else(|| UnknownPrecision {
            name: name.to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip_in_text_and_json() {
        for precision in Precision::ALL {
            assert_eq!(precision.to_string().parse(), Ok(precision));
            let json = serde_json::to_string(&precision).unwrap();
            assert_eq!(json, format!("\"{precision}\""));
            assert_eq!(serde_json::from_str::<Precision>(&json).unwrap(), precision);
        }
        assert_eq!(
            "fp8".parse::<Precision>().unwrap_err().to_string(),
            "unknown precision `fp8`; expected f32 or int8"
        );
    }
}
