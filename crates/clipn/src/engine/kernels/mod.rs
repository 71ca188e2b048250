//! The inner loops. Elementwise kernels are plain loops, compiled for the widest SIMD that the processor has and chosen
//! at run time by `pulp`; matrix products are `gemm`'s, which chooses its own.

mod activation;
mod exp;
mod norm;
mod product;
mod softmax;

pub(super) use activation::add_bias_and_activate;
pub(super) use norm::layer_norm;
pub(super) use product::{Matrix, MatrixMut, product};
pub(super) use softmax::softmax_prefix;

/// Values handled side by side in reductions: one AVX-512 register of f32.
const LANES: usize = 16;

/// Runs a loop with the widest SIMD of this processor.
#[inline(always)]
fn vectorised<R>(f: impl FnOnce() -> R) -> R {
    pulp::Arch::new().dispatch(f)
}

/// Adds a bias `[width]` to every row of `x`.
pub(super) fn add_bias(x: &mut [f32], bias: &[f32]) {
    vectorised(
        #[inline(always)]
        || {
            for row in x.chunks_exact_mut(bias.len()) {
                for (x, b) in row.iter_mut().zip(bias) {
                    *x += b;
                }
            }
        },
    );
}

/// Fills every row of `x` with a bias `[width]`.
pub(super) fn fill_rows(x: &mut [f32], bias: &[f32]) {
    for row in x.chunks_exact_mut(bias.len()) {
        row.copy_from_slice(bias);
    }
}
