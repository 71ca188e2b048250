//! Which SIMD instructions the inner loops use: the widest that the processor has, or fewer where the environment
//! variable `CLIPN_SIMD` asks for them, to compare or to find a fault.

use std::sync::OnceLock;

use pulp::Arch;

/// The environment variable that chooses a level by its name.
pub const SIMD_VARIABLE: &str = "CLIPN_SIMD";

/// A set of SIMD instructions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SimdLevel {
    /// What the compiler takes for granted on this kind of processor.
    Portable,
    /// AVX2 with FMA: 8 values of f32 at once.
    Avx2,
    /// AVX-512: 16 values of f32 at once.
    Avx512,
    /// NEON: 4 values of f32 at once.
    Neon,
}

/// All levels, narrow to wide.
const LEVELS: [SimdLevel; 4] = [
    SimdLevel::Portable,
    SimdLevel::Neon,
    SimdLevel::Avx2,
    SimdLevel::Avx512,
];

impl SimdLevel {
    /// The name in [`SIMD_VARIABLE`] and in tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Portable => "portable",
            Self::Avx2 => "avx2",
            Self::Avx512 => "avx512",
            Self::Neon => "neon",
        }
    }

    /// The levels that this processor has, the widest last.
    pub fn available() -> Vec<Self> {
        LEVELS
            .into_iter()
            .filter(|level| level.arch().is_some())
            .collect()
    }

    /// The level that all loops use: what [`SIMD_VARIABLE`] asked for when the first of them ran, else the widest. A
    /// request that cannot be met is passed over; [`SimdLevel::requested`] tells of it.
    pub fn current() -> Self {
        let arch = arch();
        LEVELS
            .into_iter()
            .find(|level| level.arch().is_some_and(|a| same(a, arch)))
            .unwrap_or(Self::Portable)
    }

    /// The level that [`SIMD_VARIABLE`] asks for; `None` where it is not set.
    ///
    /// # Errors
    /// A sentence, for a name that is unknown or that this processor does not have.
    pub fn requested() -> Result<Option<Self>, String> {
        let Some(name) = std::env::var_os(SIMD_VARIABLE) else {
            return Ok(None);
        };
        let available = Self::available();
        match available.iter().find(|level| name == level.name()) {
            Some(&level) => Ok(Some(level)),
            None => Err(format!(
                "{SIMD_VARIABLE} is `{}`; on this processor it can be {}",
                name.to_string_lossy(),
                available
                    .iter()
                    .map(|level| level.name())
                    .collect::<Vec<_>>()
                    .join(", ")
            )),
        }
    }

    /// How `pulp` has this level; `None` where the processor lacks it.
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

fn same(a: Arch, b: Arch) -> bool {
    std::mem::discriminant(&a) == std::mem::discriminant(&b)
}

/// The level in use, as `pulp` has it.
pub fn arch() -> Arch {
    static ARCH: OnceLock<Arch> = OnceLock::new();
    *ARCH.get_or_init(|| match SimdLevel::requested() {
        Ok(Some(level)) => level.arch().unwrap_or_default(),
        Ok(None) | Err(_) => Arch::new(),
    })
}

/// Runs a loop compiled for the level in use.
#[inline(always)]
pub fn vectorised<R>(f: impl FnOnce() -> R) -> R {
    arch().dispatch(f)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_level_in_use_is_one_that_the_processor_has() {
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
    fn names_are_different() {
        let mut names = LEVELS.map(SimdLevel::name).to_vec();
        names.dedup();
        assert_eq!(names.len(), LEVELS.len());
    }

    #[test]
    fn the_level_asked_for_is_used() {
        if let Some(level) = SimdLevel::requested().unwrap() {
            assert_eq!(SimdLevel::current(), level);
        }
    }
}
