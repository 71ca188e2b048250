use super::exp::exp;
use super::vectorised;
use crate::model::Activation;

/// Adds a bias `[width]` to every row of `x` and applies the activation, in one pass.
pub(in super::super) fn add_bias_and_activate(x: &mut [f32], bias: &[f32], activation: Activation) {
    match activation {
        Activation::Gelu => vectorised(
            #[inline(always)]
            || apply(x, bias, gelu),
        ),
        Activation::QuickGelu => vectorised(
            #[inline(always)]
            || apply(x, bias, quick_gelu),
        ),
    }
}

#[inline(always)]
fn apply(x: &mut [f32], bias: &[f32], f: impl Fn(f32) -> f32) {
    for row in x.chunks_exact_mut(bias.len()) {
        for (x, b) in row.iter_mut().zip(bias) {
            *x = f(*x + b);
        }
    }
}

/// x·Φ(x). The complementary error function is Abramowitz and Stegun's 7.1.26, whose error is at most 1.5e-7; with rounding, that of
/// the result is at most 3e-7·|x|.
#[inline(always)]
fn gelu(x: f32) -> f32 {
    let z = x.abs() * std::f32::consts::FRAC_1_SQRT_2;
    let t = 1.0 / (1.0 + 0.327_591_1 * z);
    let series = 1.061_405_4;
    let series = series * t - 1.453_152;
    let series = series * t + 1.421_413_7;
    let series = series * t - 0.284_496_74;
    let series = series * t + 0.254_829_6;
    let half_erfc = 0.5 * series * t * exp(-z * z);
    x * if x < 0.0 { half_erfc } else { 1.0 - half_erfc }
}

/// x·σ(1.702·x).
#[inline(always)]
fn quick_gelu(x: f32) -> f32 {
    x / (1.0 + exp(-1.702 * x))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn worst_relative(fast: impl Fn(f32) -> f32, exact: impl Fn(f64) -> f64) -> f64 {
        (-120_000..120_000)
            .map(|i| i as f32 * 1e-4)
            .map(|x| (f64::from(fast(x)) - exact(f64::from(x))).abs() / f64::from(x).abs().max(1e-3))
            .fold(0.0, f64::max)
    }

    #[test]
    fn gelu_keeps_its_error_bound() {
        let exact = |x: f64| 0.5 * x * (1.0 + libm::erf(x * std::f64::consts::FRAC_1_SQRT_2));
        let worst = worst_relative(gelu, exact);
        assert!(worst < 3e-7, "{worst:e}");
    }

    #[test]
    fn quick_gelu_keeps_its_error_bound() {
        let worst = worst_relative(quick_gelu, |x| x / (1.0 + (-1.702 * x).exp()));
        assert!(worst < 4e-7, "{worst:e}");
    }

    #[test]
    fn extremes_and_nan() {
        for f in [gelu, quick_gelu] {
            assert_eq!(f(0.0), 0.0);
            assert_eq!(f(1e4), 1e4);
            assert!(f(-1e4).abs() < 1e-30);
            assert!(f(f32::NAN).is_nan());
        }
    }

    #[test]
    fn the_bias_is_added_row_by_row() {
        let bias: Vec<f32> = (0..19).map(|i| i as f32 * 0.1).collect();
        let mut x: Vec<f32> = (0..19 * 3).map(|i| i as f32 * 0.05 - 1.0).collect();
        let expected: Vec<f32> = x.iter().enumerate().map(|(i, v)| gelu(v + bias[i % 19])).collect();
        add_bias_and_activate(&mut x, &bias, Activation::Gelu);
        for (a, b) in x.iter().zip(expected) {
            assert!((a - b).abs() < 1e-6);
        }
    }
}
