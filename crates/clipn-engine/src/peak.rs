use std::time::{Duration, Instant};

use super::kernels::{Matrix, MatrixMut, product};

/// Side of the square matrices: long enough rows that packing them costs little, small enough that the three matrices
/// of a thread stay near it.
const SIDE: usize = 1024;

/// Operations a second that matrix products in f32 reach on this machine, on all threads of the current rayon pool
/// together: every thread multiplies square matrices of its own, as the towers do, for about as long as it is told,
/// and the best round counts. It is what the share of a tower's speed is taken of.
pub fn product_peak(duration: Duration) -> f64 {
    let best = rayon::broadcast(|_| best_round(duration));
    let operations = 2.0 * (SIDE * SIDE * SIDE) as f64;
    best.into_iter().map(|seconds| operations / seconds).sum()
}

/// Seconds of the fastest product of this thread; the first one, which warms up, does not count.
fn best_round(duration: Duration) -> f64 {
    let values: Vec<f32> = (0..SIDE * SIDE)
        .map(|i| (i % 251) as f32 / 125.0 - 1.0)
        .collect();
    let mut out = vec![0.0; SIDE * SIDE];
    let mut round = || {
        let started = Instant::now();
        let factor = Matrix::packed(&values, SIDE);
        product(
            MatrixMut::packed(&mut out, SIDE),
            factor,
            factor,
            1.0,
            false,
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
    fn some_product_is_measured_on_every_thread() {
        let peak = product_peak(Duration::ZERO);
        assert!(peak.is_finite() && peak > 1e6, "{peak}");
    }
}
