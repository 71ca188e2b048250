//! The byte products of x86.

use std::arch::x86_64::{
    __m256, __m256i, __m512, __m512i, _mm256_add_epi32, _mm256_add_ps, _mm256_cvtepi32_ps,
    _mm256_dpbusd_avx_epi32, _mm256_loadu_ps, _mm256_loadu_si256, _mm256_madd_epi16,
    _mm256_maddubs_epi16, _mm256_mul_ps, _mm256_set1_epi16, _mm256_set1_epi32, _mm256_set1_ps,
    _mm256_storeu_ps, _mm512_add_ps, _mm512_cvtepi32_ps, _mm512_dpbusd_epi32, _mm512_loadu_ps,
    _mm512_loadu_si512, _mm512_mul_ps, _mm512_set1_epi32, _mm512_set1_ps, _mm512_storeu_ps,
};

use super::tiles::{Dot, PanelJob, run};

struct Avx512Vnni;

impl Dot for Avx512Vnni {
    type Ints = __m512i;
    type Floats = __m512;
    const LANES: usize = 16;

    #[inline(always)]
    unsafe fn load(address: *const i32) -> __m512i {
        // SAFETY: the caller guarantees the instruction set and the address.
        unsafe { _mm512_loadu_si512(address.cast()) }
    }
    #[inline(always)]
    unsafe fn splat(group: i32) -> __m512i {
        // SAFETY: the caller guarantees the instruction set.
        unsafe { _mm512_set1_epi32(group) }
    }
    #[inline(always)]
    unsafe fn dot(sums: __m512i, a: __m512i, w: __m512i) -> __m512i {
        // SAFETY: the caller guarantees the instruction set.
        unsafe { _mm512_dpbusd_epi32(sums, a, w) }
    }
    #[inline(always)]
    unsafe fn to_floats(sums: __m512i) -> __m512 {
        // SAFETY: the caller guarantees the instruction set.
        unsafe { _mm512_cvtepi32_ps(sums) }
    }
    #[inline(always)]
    unsafe fn splat_float(value: f32) -> __m512 {
        // SAFETY: the caller guarantees the instruction set.
        unsafe { _mm512_set1_ps(value) }
    }
    #[inline(always)]
    unsafe fn load_floats(address: *const f32) -> __m512 {
        // SAFETY: the caller guarantees the instruction set and the address.
        unsafe { _mm512_loadu_ps(address) }
    }
    #[inline(always)]
    unsafe fn store_floats(address: *mut f32, values: __m512) {
        // SAFETY: the caller guarantees the instruction set and the address.
        unsafe { _mm512_storeu_ps(address, values) }
    }
    #[inline(always)]
    unsafe fn mul(a: __m512, b: __m512) -> __m512 {
        // SAFETY: the caller guarantees the instruction set.
        unsafe { _mm512_mul_ps(a, b) }
    }
    #[inline(always)]
    unsafe fn add(a: __m512, b: __m512) -> __m512 {
        // SAFETY: the caller guarantees the instruction set.
        unsafe { _mm512_add_ps(a, b) }
    }
}

/// Implements everything but the products for 256 bits.
macro_rules! dot_of_256_bits {
    ($name:ident, |$sums:ident, $a:ident, $w:ident| $dot:expr) => {
        struct $name;

        impl Dot for $name {
            type Ints = __m256i;
            type Floats = __m256;
            const LANES: usize = 8;

            #[inline(always)]
            unsafe fn load(address: *const i32) -> __m256i {
                // SAFETY: the caller guarantees the instruction set and the address.
                unsafe { _mm256_loadu_si256(address.cast()) }
            }
            #[inline(always)]
            unsafe fn splat(group: i32) -> __m256i {
                // SAFETY: the caller guarantees the instruction set.
                unsafe { _mm256_set1_epi32(group) }
            }
            #[inline(always)]
            unsafe fn dot($sums: __m256i, $a: __m256i, $w: __m256i) -> __m256i {
                // SAFETY: the caller guarantees the instruction set.
                unsafe { $dot }
            }
            #[inline(always)]
            unsafe fn to_floats(sums: __m256i) -> __m256 {
                // SAFETY: the caller guarantees the instruction set.
                unsafe { _mm256_cvtepi32_ps(sums) }
            }
            #[inline(always)]
            unsafe fn splat_float(value: f32) -> __m256 {
                // SAFETY: the caller guarantees the instruction set.
                unsafe { _mm256_set1_ps(value) }
            }
            #[inline(always)]
            unsafe fn load_floats(address: *const f32) -> __m256 {
                // SAFETY: the caller guarantees the instruction set and the address.
                unsafe { _mm256_loadu_ps(address) }
            }
            #[inline(always)]
            unsafe fn store_floats(address: *mut f32, values: __m256) {
                // SAFETY: the caller guarantees the instruction set and the address.
                unsafe { _mm256_storeu_ps(address, values) }
            }
            #[inline(always)]
            unsafe fn mul(a: __m256, b: __m256) -> __m256 {
                // SAFETY: the caller guarantees the instruction set.
                unsafe { _mm256_mul_ps(a, b) }
            }
            #[inline(always)]
            unsafe fn add(a: __m256, b: __m256) -> __m256 {
                // SAFETY: the caller guarantees the instruction set.
                unsafe { _mm256_add_ps(a, b) }
            }
        }
    };
}

dot_of_256_bits!(AvxVnni, |sums, a, w| _mm256_dpbusd_avx_epi32(sums, a, w));
// The sum of two products is at most 2·127·127 = 32,258, so that 16 bits hold it.
dot_of_256_bits!(Avx2, |sums, a, w| {
    let pairs = _mm256_maddubs_epi16(a, w);
    _mm256_add_epi32(sums, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)))
});

/// Computes a panel of 64 columns.
///
/// # Safety
///
/// The processor must have AVX-512-VNNI. As for [`run`].
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
pub(super) unsafe fn run_avx512_vnni(job: &PanelJob<'_>) {
    // SAFETY: as the caller guarantees.
    unsafe {
        match job.columns.div_ceil(16) {
            1 => run::<Avx512Vnni, 1, 4>(job),
            2 => run::<Avx512Vnni, 2, 4>(job),
            3 => run::<Avx512Vnni, 3, 4>(job),
            _ => run::<Avx512Vnni, 4, 4>(job),
        }
    }
}

/// Computes a panel of 16 columns.
///
/// # Safety
///
/// The processor must have AVX-VNNI. As for [`run`].
#[target_feature(enable = "avx2,fma,avxvnni")]
pub(super) unsafe fn run_avx_vnni(job: &PanelJob<'_>) {
    // SAFETY: as the caller guarantees.
    unsafe {
        match job.columns.div_ceil(8) {
            1 => run::<AvxVnni, 1, 2>(job),
            _ => run::<AvxVnni, 2, 2>(job),
        }
    }
}

/// Computes a panel of 16 columns from inputs of 7 bits.
///
/// # Safety
///
/// The processor must have AVX2. As for [`run`].
#[target_feature(enable = "avx2,fma")]
pub(super) unsafe fn run_avx2(job: &PanelJob<'_>) {
    // SAFETY: as the caller guarantees.
    unsafe {
        match job.columns.div_ceil(8) {
            1 => run::<Avx2, 1, 2>(job),
            _ => run::<Avx2, 2, 2>(job),
        }
    }
}
