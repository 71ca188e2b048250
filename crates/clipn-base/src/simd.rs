//! Runtime selection of the SIMD instruction set for the inner loops.
//!
//! The default is the widest instruction set of the processor. The environment variable
//! `CLIPN_SIMD` ([`SIMD_ENV_VAR`]) selects a narrower one, for comparisons or to locate a bug.
//!
//! ```
//! use clipn_base::simd::SimdLevel;
//!
//! println!("using {}", SimdLevel::current());
//! assert!(SimdLevel::available().contains(&SimdLevel::current()));
//! assert_eq!("portable".parse(), Ok(SimdLevel::Portable));
//! ```

use std::fmt;
use std::str::FromStr;
use std::sync::OnceLock;

use pulp::Arch;

/// Environment variable that selects a level by its name; see [`SimdLevel::as_str`].
pub const SIMD_ENV_VAR: &str = "CLIPN_SIMD";

/// SIMD instruction set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SimdLevel {
    /// Baseline instructions of the compilation target.
    Portable,
    /// AVX2 with FMA: 8 `f32` lanes.
    Avx2,
    /// AVX-512: 16 `f32` lanes.
    Avx512,
    /// NEON: 4 `f32` lanes.
    Neon,
}

/// All levels, narrowest first.
const LEVELS: [SimdLevel; 4] = [
    SimdLevel::Portable,
    SimdLevel::Neon,
    SimdLevel::Avx2,
    SimdLevel::Avx512,
];

impl SimdLevel {
    /// Name in [`SIMD_ENV_VAR`] and in tables, such as `avx2`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Portable => "portable",
            Self::Avx2 => "avx2",
            Self::Avx512 => "avx512",
            Self::Neon => "neon",
        }
    }

    /// Levels that this processor supports, widest last.
    pub fn available() -> Vec<Self> {
        LEVELS
            .into_iter()
            .filter(|level| level.arch().is_some())
            .collect()
    }

    /// Level that all loops use: the one that [`SIMD_ENV_VAR`] selected at first use, or else the
    /// widest available.
    ///
    /// An unsupported value of the variable is ignored here; [`SimdLevel::requested`] reports it.
    pub fn current() -> Self {
        let arch = current_arch();
        LEVELS
            .into_iter()
            .find(|level| level.arch().is_some_and(|a| is_same_level(a, arch)))
            .unwrap_or(Self::Portable)
    }

    /// Level that [`SIMD_ENV_VAR`] selects, or `None` if it is not set.
    ///
    /// # Errors
    /// [`SimdError::Unsupported`] if the name is unknown or the processor does not support the
    /// level.
    pub fn requested() -> Result<Option<Self>, SimdError> {
        let Some(name) = std::env::var_os(SIMD_ENV_VAR) else {
            return Ok(None);
        };
        let available = Self::available();
        match available.iter().find(|level| name == level.as_str()) {
            Some(&level) => Ok(Some(level)),
            None => Err(SimdError::Unsupported {
                name: name.to_string_lossy().into_owned(),
                available,
            }),
        }
    }

    /// `pulp`'s token of this level, or `None` if the processor does not support it.
    fn arch(self) -> Option<Arch> {
        match self {
            Self::Portable => Some(Arch::Scalar),
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => pulp::x86::V3::try_new().map(Arch::V3),
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => pulp::x86::V4::try_new().map(Arch::V4),
            #[cfg(target_arch = "aarch64")]
            Self::Neon => pulp::aarch64::Neon::try_new().map(Arch::Neon),
            #[allow(unreachable_patterns)]
            _ => None,
        }
    }
}

impl fmt::Display for SimdLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for SimdLevel {
    type Err = SimdError;

    /// Parses a name, ignoring ASCII case. The processor need not support the level; see
    /// [`SimdLevel::available`].
    ///
    /// # Errors
    /// [`SimdError::UnknownLevel`] if no level has this name.
    fn from_str(name: &str) -> Result<Self, SimdError> {
        let level = LEVELS
            .into_iter()
            .find(|level| level.as_str().eq_ignore_ascii_case(name.trim()));
        level.ok_or_else(|| SimdError::UnknownLevel {
            name: name.to_owned(),
        })
    }
}

/// Errors for names of SIMD levels.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SimdError {
    /// No level has this name.
    #[error("unknown SIMD level `{name}`; expected one of {}", names(&LEVELS))]
    UnknownLevel {
        /// Unknown name.
        name: String,
    },
    /// The environment variable [`SIMD_ENV_VAR`] selects a level that is unknown or that the
    /// processor does not support.
    #[error(
        "unsupported {SIMD_ENV_VAR} `{name}`; expected one of {} on this processor",
        names(available)
    )]
    Unsupported {
        /// Value of the variable.
        name: String,
        /// Levels that the processor supports.
        available: Vec<SimdLevel>,
    },
}

impl SimdError {
    /// Advice for the caller, if there is any beyond the message.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Unsupported { .. } => Some("unset CLIPN_SIMD to use the widest level"),
            Self::UnknownLevel { .. } => None,
        }
    }
}

/// Names of levels, separated by commas.
fn names(levels: &[SimdLevel]) -> String {
    let names: Vec<&str> = levels.iter().map(|level| level.as_str()).collect();
    names.join(", ")
}

fn is_same_level(a: Arch, b: Arch) -> bool {
    std::mem::discriminant(&a) == std::mem::discriminant(&b)
}

/// Returns `pulp`'s token of the level in use, for kernels that implement its `WithSimd`.
///
/// It serves the kernels of this workspace: its type is that of `pulp`, whose versions may change
/// with any release.
pub fn current_arch() -> Arch {
    static ARCH: OnceLock<Arch> = OnceLock::new();
    *ARCH.get_or_init(|| match SimdLevel::requested() {
        Ok(Some(level)) => level.arch().unwrap_or_default(),
        Ok(None) | Err(_) => Arch::new(),
    })
}

/// Runs a closure that is compiled for the level in use. The loops in the closure must be inlined
/// into it to profit.
///
/// ```
/// use clipn_base::simd::vectorized;
///
/// let values = [1.0_f32; 64];
/// assert_eq!(vectorized(|| values.iter().sum::<f32>()), 64.0);
/// ```
#[inline(always)]
pub fn vectorized<R>(f: impl FnOnce() -> R) -> R {
    current_arch().dispatch(f)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_current_level_is_available() {
        let available = SimdLevel::available();
        assert_eq!(available.first(), Some(&SimdLevel::Portable));
        assert!(available.contains(&SimdLevel::current()));
        #[cfg(target_arch = "x86_64")]
        assert_eq!(
            available.contains(&SimdLevel::Avx2),
            std::is_x86_feature_detected!("avx2")
        );
    }

    #[test]
    fn names_round_trip() {
        for level in LEVELS {
            assert_eq!(level.to_string().parse(), Ok(level));
            assert_eq!(level.to_string().to_uppercase().parse(), Ok(level));
        }
        assert_eq!(
            "sse9".parse::<SimdLevel>().unwrap_err().to_string(),
            "unknown SIMD level `sse9`; expected one of portable, neon, avx2, avx512"
        );
    }

    #[test]
    fn an_unsupported_level_names_the_variable_and_the_supported_levels() {
        let error = SimdError::Unsupported {
            name: "sse9".to_owned(),
            available: vec![SimdLevel::Portable, SimdLevel::Avx2],
        };
        assert_eq!(
            error.to_string(),
            "unsupported CLIPN_SIMD `sse9`; expected one of portable, avx2 on this processor"
        );
    }

    #[test]
    fn the_requested_level_is_used() {
        if let Some(level) = SimdLevel::requested().unwrap() {
            assert_eq!(SimdLevel::current(), level);
        }
    }
}
