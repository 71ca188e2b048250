use std::ops::Range;

use super::kernel::Int8Kernel;
use super::pack::QuantizedB;
use super::quantize::QuantizedRows;
use super::tiles::PanelJob;
use super::{GROUP, plain};
use crate::kernels::jobs::{OutputPtr, run_jobs};
use crate::kernels::{Epilogue, MatrixMut};

/// Computes out = activation(a·b + bias), plus the previous value of `out` if `accumulate` (see
/// [`Epilogue`], whose `alpha` must be 1), on `threads` threads.
///
/// # Panics
///
/// Panics if the shapes or the kernels of the operands do not match or `out` exceeds its slice.
/// This is a bug in the caller, never a property of its input.
pub(crate) fn gemm_int8(
    out: MatrixMut<'_>,
    a: &QuantizedRows,
    b: &QuantizedB,
    epilogue: Epilogue<'_>,
    threads: usize,
) {
    let (rows, columns) = (a.rows(), b.columns());
    let (data, row_stride) = out.into_data(rows, columns);
    assert!(
        a.depth() == b.depth() && a.kernel() == b.kernel(),
        "cannot multiply {rows}×{} by {}×{columns}, {} and {}",
        a.depth(),
        b.depth(),
        a.kernel(),
        b.kernel()
    );
    assert!(
        epilogue.alpha == 1.0 && (epilogue.bias.is_empty() || epilogue.bias.len() == columns),
        "expected a bias of {columns} values and no factor, got {} and {}",
        epilogue.bias.len(),
        epilogue.alpha
    );
    if rows == 0 || columns == 0 {
        return;
    }
    let panels = columns.div_ceil(b.kernel().panel_width());
    let out = OutputPtr(data.as_mut_ptr());
    run_jobs(panels, threads, |panels| {
        // SAFETY: `into_data` checked that all rows and columns of the output lie in its slice,
        // which is borrowed mutably. Each job writes only the columns of its own panels.
        unsafe { run_panels(out, row_stride, a, b, panels, epilogue) };
    });
}

/// Computes the output columns of some panels.
///
/// # Safety
///
/// `out` must point to a matrix with as many rows as `a` and as many columns as `b`, rows
/// `out_stride` apart. Nothing else may access the columns of `panels` during the call.
unsafe fn run_panels(
    out: OutputPtr,
    out_stride: usize,
    a: &QuantizedRows,
    b: &QuantizedB,
    panels: Range<usize>,
    epilogue: Epilogue<'_>,
) {
    let kernel = b.kernel();
    for index in panels.clone() {
        // SAFETY: the panel is one of `b`.
        let mut job = unsafe { panel_job(out, out_stride, a, b, index, epilogue) };
        if index + 1 < panels.end {
            job.next = b.panel(index + 1).0;
        }
        // SAFETY: operands packed for a kernel exist only where the processor has it: only
        // `Int8Kernel::current` and tests choose one. The caller guarantees exclusive access.
        unsafe {
            match kernel {
                Int8Kernel::Plain => plain::run(&job, kernel),
                #[cfg(target_arch = "x86_64")]
                Int8Kernel::Avx2 => super::x86::run_avx2(&job),
                #[cfg(target_arch = "x86_64")]
                Int8Kernel::AvxVnni => super::x86::run_avx_vnni(&job),
                #[cfg(target_arch = "x86_64")]
                Int8Kernel::Avx512Vnni => super::x86::run_avx512_vnni(&job),
                #[cfg(target_arch = "aarch64")]
                Int8Kernel::NeonDot => super::neon::run_neon_dot(&job),
            }
        }
    }
}

/// Returns the work on one panel, without the panel after it.
///
/// # Safety
///
/// `out` must point to a matrix with as many columns as `b`.
unsafe fn panel_job<'a>(
    out: OutputPtr,
    out_stride: usize,
    a: &'a QuantizedRows,
    b: &'a QuantizedB,
    index: usize,
    epilogue: Epilogue<'a>,
) -> PanelJob<'a> {
    let width = b.kernel().panel_width();
    let start = index * width;
    let end = b.columns().min(start + width);
    let (panel, scales, starts) = b.panel(index);
    PanelJob {
        // SAFETY: `start` is below the number of columns.
        out: unsafe { out.as_ptr().add(start) },
        out_stride,
        a: a.values(),
        a_stride: a.stride(),
        a_scales: a.scales(),
        panel,
        next: &[],
        groups: b.depth().div_ceil(GROUP),
        scales,
        starts,
        columns: end - start,
        bias: match epilogue.bias {
            [] => &[],
            bias => &bias[start..end],
        },
        accumulate: epilogue.accumulate,
        activation: epilogue.activation,
    }
}

#[cfg(test)]
mod tests {
    use clipn_model::{Activation, QuantizedWeight};
    use proptest::prelude::*;

    use super::*;

    fn values(count: usize, seed: usize) -> Vec<f32> {
        (0..count)
            .map(|i| (((i * 7919 + seed * 104_729) % 2003) as f32 - 1001.0) / 700.0)
            .collect()
    }

    fn plain_product(out: &mut [f32], a: &QuantizedRows, b: &QuantizedB, epilogue: Epilogue<'_>) {
        let panels = b.columns().div_ceil(b.kernel().panel_width());
        let out = OutputPtr(out.as_mut_ptr());
        for index in 0..panels {
            // SAFETY: `out` has the columns of `b`, and the job writes columns of it.
            unsafe {
                let job = panel_job(out, b.columns(), a, b, index, epilogue);
                plain::run(&job, b.kernel());
            }
        }
    }

    proptest! {
        #[test]
        fn every_kernel_gives_the_bits_of_the_plain_form(
            m in 1usize..20, k in 0usize..150, n in 1usize..200, biased: bool, accumulate: bool,
            activated: bool, threads in 1usize..4,
        ) {
            for kernel in Int8Kernel::available() {
                let mut a = QuantizedRows::for_kernel(kernel);
                let weight = QuantizedWeight { inner: k, ..QuantizedWeight::quantize(&values(n * k, 2), k) };
                if k == 0 {
                    continue;
                }
                a.quantize(&values(m * k, 1), k);
                let b = QuantizedB::pack_for(&weight, kernel);
                let bias = values(if biased { n } else { 0 }, 3);
                let epilogue = Epilogue {
                    bias: &bias,
                    accumulate,
                    activation: activated.then_some(Activation::QuickGelu),
                    ..Epilogue::default()
                };
                let mut expected = values(m * n, 4);
                let mut found = expected.clone();
                plain_product(&mut expected, &a, &b, epilogue);
                gemm_int8(MatrixMut::row_major(&mut found, n), &a, &b, epilogue, threads);
                let bits = |v: &[f32]| v.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
                prop_assert_eq!(bits(&found), bits(&expected), "{}", kernel);
            }
        }

        #[test]
        fn products_are_within_the_quantization_error(m in 1usize..8, k in 1usize..100, n in 1usize..70) {
            let (x, w) = (values(m * k, 1), values(n * k, 2));
            for kernel in Int8Kernel::available() {
                let mut a = QuantizedRows::for_kernel(kernel);
                a.quantize(&x, k);
                let b = QuantizedB::pack_for(&QuantizedWeight::quantize(&w, k), kernel);
                let mut out = vec![0.0; m * n];
                gemm_int8(MatrixMut::row_major(&mut out, n), &a, &b, Epilogue::default(), 1);
                for r in 0..m {
                    let x = &x[r * k..][..k];
                    let largest = x.iter().fold(0.0f32, |a, b| a.max(b.abs()));
                    for c in 0..n {
                        let w = &w[c * k..][..k];
                        let largest_w = w.iter().fold(0.0f32, |a, b| a.max(b.abs()));
                        let terms = || x.iter().zip(w).map(|(a, b)| f64::from(a * b));
                        let steps = (0.502 * largest / kernel.max_input(), 0.502 * largest_w / 127.0);
                        let bound: f32 = x.iter().zip(w)
                            .map(|(a, b)| a.abs() * steps.1 + b.abs() * steps.0 + steps.0 * steps.1)
                            .sum();
                        let found = f64::from(out[r * n + c]);
                        prop_assert!((found - terms().sum::<f64>()).abs() <= f64::from(bound) + 1e-5);
                    }
                }
            }
        }
    }

    #[test]
    fn the_largest_values_do_not_overflow() {
        for kernel in Int8Kernel::available() {
            for sign in [1.0, -1.0] {
                let k = 5000;
                let mut a = QuantizedRows::for_kernel(kernel);
                a.quantize(&vec![sign * 3.0; k], k);
                let weight = QuantizedWeight::quantize(&vec![2.0; k], k);
                let b = QuantizedB::pack_for(&weight, kernel);
                let mut out = [0.0];
                let epilogue = Epilogue::default();
                gemm_int8(MatrixMut::row_major(&mut out, 1), &a, &b, epilogue, 1);
                let expected = sign * 6.0 * k as f32;
                assert!((out[0] - expected).abs() < 2.0, "{kernel}: {}", out[0]);
            }
        }
    }

    #[test]
    fn a_damaged_row_gives_nan_and_no_other_row_does() {
        let mut a = QuantizedRows::default();
        a.quantize(&[1.0, 2.0, f32::NAN, 3.0], 2);
        let b = QuantizedB::quantize(&[1.0, -1.0], 2);
        let mut out = [0.0; 2];
        let epilogue = Epilogue::default();
        gemm_int8(MatrixMut::row_major(&mut out, 1), &a, &b, epilogue, 1);
        assert!(out[0].is_finite() && out[1].is_nan());
    }
}
