//! The byte products of ARM.

use std::arch::aarch64::{
    float32x4_t, int32x4_t, vaddq_f32, vcvtq_f32_s32, vdupq_n_f32, vdupq_n_s32, vld1q_f32,
    vld1q_s32, vmulq_f32, vst1q_f32,
};
use std::arch::asm;

use super::tiles::{Dot, PanelJob, run};

struct NeonDot;

impl Dot for NeonDot {
    type Ints = int32x4_t;
    type Floats = float32x4_t;
    const LANES: usize = 4;

    #[inline(always)]
    unsafe fn load(address: *const i32) -> int32x4_t {
        // SAFETY: the caller guarantees the address.
        unsafe { vld1q_s32(address) }
    }
    #[inline(always)]
    unsafe fn splat(group: i32) -> int32x4_t {
        // SAFETY: every processor of this architecture has NEON.
        unsafe { vdupq_n_s32(group) }
    }
    #[inline(always)]
    unsafe fn dot(mut sums: int32x4_t, a: int32x4_t, w: int32x4_t) -> int32x4_t {
        // The intrinsic of this instruction is not stable in the oldest supported compiler.
        // SAFETY: the caller guarantees the instruction set; the instruction only adds to `sums`.
        unsafe {
            asm!(
                ".arch_extension dotprod",
                "sdot {sums:v}.4s, {a:v}.16b, {w:v}.16b",
                sums = inout(vreg) sums,
                a = in(vreg) a,
                w = in(vreg) w,
                options(pure, nomem, nostack, preserves_flags),
            );
        }
        sums
    }
    #[inline(always)]
    unsafe fn to_floats(sums: int32x4_t) -> float32x4_t {
        // SAFETY: every processor of this architecture has NEON.
        unsafe { vcvtq_f32_s32(sums) }
    }
    #[inline(always)]
    unsafe fn splat_float(value: f32) -> float32x4_t {
        // SAFETY: every processor of this architecture has NEON.
        unsafe { vdupq_n_f32(value) }
    }
    #[inline(always)]
    unsafe fn load_floats(address: *const f32) -> float32x4_t {
        // SAFETY: the caller guarantees the address.
        unsafe { vld1q_f32(address) }
    }
    #[inline(always)]
    unsafe fn store_floats(address: *mut f32, values: float32x4_t) {
        // SAFETY: the caller guarantees the address.
        unsafe { vst1q_f32(address, values) }
    }
    #[inline(always)]
    unsafe fn mul(a: float32x4_t, b: float32x4_t) -> float32x4_t {
        // SAFETY: every processor of this architecture has NEON.
        unsafe { vmulq_f32(a, b) }
    }
    #[inline(always)]
    unsafe fn add(a: float32x4_t, b: float32x4_t) -> float32x4_t {
        // SAFETY: every processor of this architecture has NEON.
        unsafe { vaddq_f32(a, b) }
    }
}

/// Computes a panel of 16 columns.
///
/// # Safety
///
/// The processor must have the dot products of ARMv8.2. As for [`run`].
pub(super) unsafe fn run_neon_dot(job: &PanelJob<'_>) {
    // SAFETY: as the caller guarantees.
    unsafe {
        match job.columns.div_ceil(4) {
            1 => run::<NeonDot, 1, 4>(job),
            2 => run::<NeonDot, 2, 4>(job),
            3 => run::<NeonDot, 3, 4>(job),
            _ => run::<NeonDot, 4, 4>(job),
        }
    }
}
