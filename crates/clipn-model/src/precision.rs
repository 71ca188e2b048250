use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::unknown_name::UnknownName;

/// Number format in which a tower computes. The CPU has f32 and int8, GPUs have f32, f16 and bf16, as
/// far as the GPU does. Features are f32 in every precision.
///
/// ```
/// use clipn_model::Precision;
///
/// assert_eq!("int8".parse(), Ok(Precision::Int8));
/// assert_eq!(Precision::default().to_string(), "f32");
/// assert_eq!(Precision::Bf16.bytes(), 2);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Precision {
    /// 32-bit floating point.
    #[default]
    F32,
    /// IEEE half precision: 11 significant bits, values up to 65,504. Weights and activations are stored
    /// in it; sums, norms, softmax, gradients of parameters and the optimizer's state are f32.
    F16,
    /// bfloat16: 8 significant bits, the range of f32. The rest as for [`Precision::F16`].
    Bf16,
    /// 8-bit integers with a scale per output of a weight and per row of activations. Sums are exact
    /// integers; layer norms, attention and residual sums are f32.
    Int8,
}

impl Precision {
    /// All precisions.
    pub const ALL: [Self; 4] = [Self::F32, Self::F16, Self::Bf16, Self::Int8];

    /// Returns the name in files and flags, such as `int8`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::Bf16 => "bf16",
            Self::Int8 => "int8",
        }
    }

    /// Returns the size of a value in bytes.
    pub fn bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 | Self::Bf16 => 2,
            Self::Int8 => 1,
        }
    }
}

impl fmt::Display for Precision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Precision {
    type Err = UnknownName;

    /// Parses a name as [`Precision::as_str`] returns it.
    ///
    /// # Errors
    /// [`UnknownName`] for any other name.
    fn from_str(name: &str) -> Result<Self, UnknownName> {
        let precision = Self::ALL.into_iter().find(|p| p.as_str() == name);
        precision.ok_or_else(|| UnknownName::new("precision", name, "f32, f16, bf16 or int8"))
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
            "unknown precision `fp8`; expected f32, f16, bf16 or int8"
        );
    }
}
