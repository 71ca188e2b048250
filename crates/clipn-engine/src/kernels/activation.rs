use clipn_model::Activation;

use super::exp::exp;
use super::vectorized;

/// Adds a bias `[width]` to every row of `x` and applies the activation, in one pass.
pub(crate) fn add_bias_and_activate(x: &mut [f32], bias: &[f32], activation: Activation) {
    match activation {
        Activation::Gelu => vectorized(
            #[inline(always)]
            || apply(x, bias, gelu),
        ),
        Activation::QuickGelu => vectorized(
            #[inline(always)]
            || apply(x, bias, quick_gelu),
        ),
    }
}

/// Computes out = activation(x + bias) and leaves `x` unchanged for the backward pass.
pub(crate) fn activate_into(out: &mut [f32], x: &[f32], bias: &[f32], activation: Activation) {
    out.copy_from_slice(x);
    add_bias_and_activate(out, bias, activation);
}

/// Backward pass of activation(x + bias). On entry `d` holds the gradient of the output; on return,
/// that of `x`.
///
/// `x` is overwritten with the output, which the weight gradient of the next layer needs.
pub(crate) fn activate_backward(
    x: &mut [f32],
    d: &mut [f32],
    bias: &[f32],
    activation: Activation,
) {
    match activation {
        Activation::Gelu => vectorized(
            #[inline(always)]
            || apply_backward(x, d, bias, gelu_with_slope),
        ),
        Activation::QuickGelu => vectorized(
            #[inline(always)]
            || apply_backward(x, d, bias, quick_gelu_with_slope),
        ),
    }
}

#[inline(always)]
fn apply_backward(x: &mut [f32], d: &mut [f32], bias: &[f32], f: impl Fn(f32) -> (f32, f32)) {
    for (row, d) in x
        .chunks_exact_mut(bias.len())
        .zip(d.chunks_exact_mut(bias.len()))
    {
        for ((x, d), b) in row.iter_mut().zip(d).zip(bias) {
            let (value, slope) = f(*x + b);
            *x = value;
            *d *= slope;
        }
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

/// Applies the activation to a row of values. Inlined into kernels that are compiled for the SIMD
/// level in use.
#[inline(always)]
pub(super) fn activate_row(row: &mut [f32], activation: Activation) {
    match activation {
        Activation::Gelu => {
            for x in row {
                *x = gelu(*x);
            }
        }
        Activation::QuickGelu => {
            for x in row {
                *x = quick_gelu(*x);
            }
        }
    }
}

/// Computes x·Φ(x) with an error of at most 3e-7·|x|, rounding included. The complementary error
/// function is Abramowitz and Stegun's formula 7.1.26, whose error is at most 1.5e-7.
#[inline(always)]
fn gelu(x: f32) -> f32 {
    x * normal_cdf(x).0
}

/// Computes x·Φ(x) and its derivative, Φ(x) + x·φ(x).
#[inline(always)]
fn gelu_with_slope(x: f32) -> (f32, f32) {
    // 1/√(2π)
    const DENSITY_AT_ZERO: f32 = 0.398_942_3;
    let (cdf, exponential) = normal_cdf(x);
    (x * cdf, cdf + x * exponential * DENSITY_AT_ZERO)
}

/// Computes Φ(x), the cumulative distribution function of the standard normal distribution, and the
/// intermediate e^(−x²/2).
#[inline(always)]
fn normal_cdf(x: f32) -> (f32, f32) {
    let z = x.abs() * std::f32::consts::FRAC_1_SQRT_2;
    let t = 1.0 / (1.0 + 0.327_591_1 * z);
    let series = 1.061_405_4;
    let series = series * t - 1.453_152;
    let series = series * t + 1.421_413_7;
    let series = series * t - 0.284_496_74;
    let series = series * t + 0.254_829_6;
    let exponential = exp(-z * z);
    let half_erfc = 0.5 * series * t * exponential;
    (
        if x < 0.0 { half_erfc } else { 1.0 - half_erfc },
        exponential,
    )
}

/// Computes x·σ(1.702·x).
#[inline(always)]
fn quick_gelu(x: f32) -> f32 {
    x / (1.0 + exp(-1.702 * x))
}

/// Computes x·σ(1.702·x) and its derivative, σ + 1.702·x·σ·(1 − σ).
#[inline(always)]
fn quick_gelu_with_slope(x: f32) -> (f32, f32) {
    let exponential = exp(-1.702 * x);
    let sigmoid = 1.0 / (1.0 + exponential);
    let value = x * sigmoid;
    // exponential · σ is 1 − σ without cancellation.
    (value, sigmoid + 1.702 * value * (exponential * sigmoid))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn worst_relative(fast: impl Fn(f32) -> f32, exact: impl Fn(f64) -> f64) -> f64 {
        (-120_000..120_000)
            .map(|i| i as f32 * 1e-4)
            .map(|x| {
                (f64::from(fast(x)) - exact(f64::from(x))).abs() / f64::from(x).abs().max(1e-3)
            })
            .fold(0.0, f64::max)
    }

    #[test]
    fn gelu_is_within_its_error_bound() {
        let exact = |x: f64| 0.5 * x * (1.0 + libm::erf(x * std::f64::consts::FRAC_1_SQRT_2));
        let worst = worst_relative(gelu, exact);
        assert!(worst < 3e-7, "{worst:e}");
    }

    #[test]
    fn quick_gelu_is_within_its_error_bound() {
        let worst = worst_relative(quick_gelu, |x| x / (1.0 + (-1.702 * x).exp()));
        assert!(worst < 4e-7, "{worst:e}");
    }

    #[test]
    fn extremes_are_finite_and_nan_stays_nan() {
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
        let expected: Vec<f32> = x
            .iter()
            .enumerate()
            .map(|(i, v)| gelu(v + bias[i % 19]))
            .collect();
        add_bias_and_activate(&mut x, &bias, Activation::Gelu);
        for (a, b) in x.iter().zip(expected) {
            assert!((a - b).abs() < 1e-6);
        }
    }

    #[test]
    fn derivatives_agree_with_the_definitions() {
        let density = |x: f64| (-0.5 * x * x).exp() / (2.0 * std::f64::consts::PI).sqrt();
        let cdf = |x: f64| 0.5 * libm::erfc(-x * std::f64::consts::FRAC_1_SQRT_2);
        let sigmoid = |x: f64| 1.0 / (1.0 + (-1.702 * x).exp());
        check_slope(gelu_with_slope, |x| cdf(x) + x * density(x));
        check_slope(quick_gelu_with_slope, |x| {
            sigmoid(x) + 1.702 * x * sigmoid(x) * (1.0 - sigmoid(x))
        });
    }

    fn check_slope(fast: impl Fn(f32) -> (f32, f32), exact: impl Fn(f64) -> f64) {
        let worst = (-120_000..120_000)
            .map(|i| i as f32 * 1e-4)
            .map(|x| (f64::from(fast(x).1) - exact(f64::from(x))).abs())
            .fold(0.0, f64::max);
        assert!(worst < 6e-7, "{worst:e}");
        assert!(fast(f32::NAN).1.is_nan());
        assert!((fast(1e4).1 - 1.0).abs() < 1e-6 && fast(-1e4).1.abs() < 1e-30);
    }

    #[test]
    fn the_backward_pass_returns_the_output_and_the_gradient() {
        for activation in [Activation::Gelu, Activation::QuickGelu] {
            let bias: Vec<f32> = (0..19).map(|i| i as f32 * 0.1 - 1.0).collect();
            let x: Vec<f32> = (0..19 * 3).map(|i| i as f32 * 0.05 - 1.0).collect();
            let mut value = vec![0.0; x.len()];
            activate_into(&mut value, &x, &bias, activation);
            let (mut kept, mut d) = (x.clone(), vec![2.0; x.len()]);
            activate_backward(&mut kept, &mut d, &bias, activation);
            let shifted = |step: f32| {
                let mut y: Vec<f32> = x.iter().map(|v| v + step).collect();
                add_bias_and_activate(&mut y, &bias, activation);
                y
            };
            let (up, down) = (shifted(1e-2), shifted(-1e-2));
            for i in 0..x.len() {
                assert!((kept[i] - value[i]).abs() < 1e-6);
                assert!(
                    (d[i] - (up[i] - down[i]) / 1e-2).abs() < 2e-4,
                    "{} {}",
                    d[i],
                    (up[i] - down[i]) / 1e-2
                );
            }
        }
    }
}
