//! Runtime selection of the SIMD instruction set for the inner loops.
//!
//! The default is the widest instruction set of the processor. The environment variable
//! `CLIPN_SIMD` ([`SIMD_ENV_VAR`]) selects a narrower one, for comparisons or to locate a bug.
//!
//! ```
//! use clipn::simd::SimdLevel;
//!
//! println!("using {}", SimdLevel::current().name());
//! assert!(SimdLevel::available().contains(&SimdLevel::current()));
//! ```

use std::sync::OnceLock;

use pulp::Arch;

/// Environment variable that selects a level by [`SimdLevel::name`].
pub const SIMD_ENV_VAR: &str = "CLIPN_SIMD";

/// SIMD instruction set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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
    pub fn name(self) -> &'static str {
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
        let arch = arch();
        LEVELS
            .into_iter()
            .find(|level| level.arch().is_some_and(|a| is_same_level(a, arch)))
            .unwrap_or(Self::Portable)
    }

    /// Level that [`SIMD_ENV_VAR`] selects, or `None` if it is not set.
    ///
    /// # Errors
    /// A message if the name is unknown or the processor does not support the level.
    pub fn requested() -> Result<Option<Self>, String> {
        let Some(name) = std::env::var_os(SIMD_ENV_VAR) else {
            return Ok(None);
        };
        let available = Self::available();
        match available.iter().find(|level| name == level.name()) {
            Some(&level) => Ok(Some(level)),
            None => Err(format!(
                "unsupported {SIMD_ENV_VAR} `{}`; expected one of {} on this processor",
                name.to_string_lossy(),
                available
                    .iter()
                    .map(|level| level.name())
                    .collect::<Vec<_>>()
                    .join(", ")
            )),
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

fn is_same_level(a: Arch, b: Arch) -> bool {
    std::mem::discriminant(&a) == std::mem::discriminant(&b)
}

/// `pulp`'s token of the level in use.
pub fn arch() -> Arch {
    static ARCH: OnceLock<Arch> = OnceLock::new();
    *ARCH.get_or_init(|| match SimdLevel::requested() {
        Ok(Some(level)) => level.arch().unwrap_or_default(),
        Ok(None) | Err(_) => Arch::new(),
    })
}

/// Runs a closure that is compiled for the level in use.
#[inline(always)]
pub fn vectorized<R>(f: impl FnOnce() -> R) -> R {
    arch().dispatch(f)
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
    fn names_are_unique() {
        let mut names = LEVELS.map(SimdLevel::name).to_vec();
        names.dedup();
        assert_eq!(names.len(), LEVELS.len());
    }

    #[test]
    fn the_requested_level_is_used() {
        if let Some(level) = SimdLevel::requested().unwrap() {
            assert_eq!(SimdLevel::current(), level);
        }
    }
}
