use std::time::{Duration, Instant};

use crate::kernels::{Epilogue, Matrix, MatrixMut, gemm};

/// Side of the square matrices: large enough to make the cost of packing small, and small enough
/// that a thread's three matrices (12 MiB) stay in or close to its caches.
const SIDE: usize = 1024;

/// Measures the peak throughput of f32 matrix products on this machine, in floating-point
/// operations per second.
///
/// Every thread of the current rayon pool multiplies its own square matrices for about `duration`,
/// as the towers do. The result is the sum over all threads of each thread's fastest product.
/// Benchmarks report the speed of a tower as a fraction of it.
pub fn peak_gemm_flops(duration: Duration) -> f64 {
    let best = rayon::broadcast(|_| best_round(duration));
    let operations = 2.0 * (SIDE * SIDE * SIDE) as f64;
    best.into_iter().map(|seconds| operations / seconds).sum()
}

/// Times the fastest product of this thread, in seconds, ignoring the first one as warm-up.
fn best_round(duration: Duration) -> f64 {
    let values: Vec<f32> = (0..SIDE * SIDE)
        .map(|i| (i % 251) as f32 / 125.0 - 1.0)
        .collect();
    let mut out = vec![0.0; SIDE * SIDE];
    let mut round = || {
        let started = Instant::now();
        let factor = Matrix::row_major(&values, SIDE);
        gemm(
            MatrixMut::row_major(&mut out, SIDE),
            factor,
            factor,
            Epilogue::default(),
            1,
        );
        std::hint::black_box(&out);
        started.elapsed().as_secs_f64()
    };
    round();
    let started = Instant::now();
    let mut best = round();
    while started.elapsed() < duration {
        best = best.min(round());
    }
    best.max(f64::MIN_POSITIVE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn measures_at_least_one_product_per_thread() {
        let peak = peak_gemm_flops(Duration::ZERO);
        assert!(peak.is_finite() && peak > 1e6, "{peak}");
    }
}
