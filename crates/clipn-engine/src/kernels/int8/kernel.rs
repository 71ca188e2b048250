use std::fmt;
use std::sync::OnceLock;

use clipn_base::simd::SimdLevel;

/// Instructions that multiply bytes at the SIMD level in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Int8Kernel {
    /// Loops over integers, for processors without any of the others, and for tests.
    Plain,
    /// VPMADDUBSW, which adds two products in 16 bits: inputs have 7 bits, so that it never
    /// saturates.
    #[cfg(target_arch = "x86_64")]
    Avx2,
    /// VPDPBUSD on 256 bits.
    #[cfg(target_arch = "x86_64")]
    AvxVnni,
    /// VPDPBUSD on 512 bits.
    #[cfg(target_arch = "x86_64")]
    Avx512Vnni,
    /// SDOT.
    #[cfg(target_arch = "aarch64")]
    NeonDot,
}

impl Int8Kernel {
    /// Returns the fastest kernel at the SIMD level in use.
    pub(crate) fn current() -> Self {
        static CURRENT: OnceLock<Int8Kernel> = OnceLock::new();
        *CURRENT.get_or_init(|| Self::detect(SimdLevel::current()))
    }

    fn detect(level: SimdLevel) -> Self {
        match level {
            #[cfg(target_arch = "x86_64")]
            SimdLevel::Avx512 if std::is_x86_feature_detected!("avx512vnni") => Self::Avx512Vnni,
            #[cfg(target_arch = "x86_64")]
            SimdLevel::Avx512 | SimdLevel::Avx2 => {
                if std::is_x86_feature_detected!("avxvnni") {
                    Self::AvxVnni
                } else {
                    Self::Avx2
                }
            }
            #[cfg(target_arch = "aarch64")]
            SimdLevel::Neon if std::arch::is_aarch64_feature_detected!("dotprod") => Self::NeonDot,
            _ => Self::Plain,
        }
    }

    /// Kernels that this processor can run at the level in use, the plain one first.
    #[cfg(test)]
    pub(super) fn available() -> Vec<Self> {
        let mut all = vec![Self::Plain];
        #[cfg(target_arch = "x86_64")]
        if matches!(SimdLevel::current(), SimdLevel::Avx2 | SimdLevel::Avx512) {
            all.push(Self::Avx2);
            if std::is_x86_feature_detected!("avxvnni") {
                all.push(Self::AvxVnni);
            }
        }
        if !all.contains(&Self::current()) {
            all.push(Self::current());
        }
        all
    }

    /// Columns of a panel.
    pub(super) fn panel_width(self) -> usize {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Avx512Vnni => 64,
            _ => 16,
        }
    }

    /// Largest magnitude of a quantized input.
    pub(super) fn max_input(self) -> f32 {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => 63.0,
            _ => 127.0,
        }
    }

    /// What is added to a quantized input before it is stored as a byte.
    pub(super) fn zero_point(self) -> i32 {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => 64,
            #[cfg(target_arch = "x86_64")]
            Self::AvxVnni | Self::Avx512Vnni => 128,
            _ => 0,
        }
    }
}

impl fmt::Display for Int8Kernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Plain => "plain integers",
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => "AVX2, inputs of 7 bits",
            #[cfg(target_arch = "x86_64")]
            Self::AvxVnni => "AVX-VNNI",
            #[cfg(target_arch = "x86_64")]
            Self::Avx512Vnni => "AVX-512-VNNI",
            #[cfg(target_arch = "aarch64")]
            Self::NeonDot => "NEON dot products",
        })
    }
}
