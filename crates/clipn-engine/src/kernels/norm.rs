use clipn_model::NormParams;

use super::{LANES, vectorized};

/// Added to the variance, as in PyTorch's `LayerNorm`.
const EPS: f32 = 1e-5;

/// Computes the layer norm of every row of `x`, `[rows, width]`, into `out`.
pub(crate) fn layer_norm(out: &mut [f32], x: &[f32], params: &NormParams<f32>) {
    let width = params.weight.len();
    vectorized(
        #[inline(always)]
        || {
            for (out, row) in out.chunks_exact_mut(width).zip(x.chunks_exact(width)) {
                norm_row(out, row, &params.weight, &params.bias);
            }
        },
    );
}

/// Gradients of the parameters of a layer norm, `[width]` each, to which contributions are added.
#[derive(Debug)]
pub(crate) struct NormGradient<'a> {
    pub weight: &'a mut [f32],
    pub bias: &'a mut [f32],
}

/// Backward pass of [`layer_norm`]. Adds the gradient of `x` to `d_x`, and those of the parameters
/// to `gradient`.
///
/// On entry `d` holds the gradient of the output, `[rows, width]`. It is overwritten with the
/// output, which the weight gradient of the next layer needs.
pub(crate) fn layer_norm_backward(
    d_x: &mut [f32],
    d: &mut [f32],
    x: &[f32],
    params: &NormParams<f32>,
    mut gradient: NormGradient<'_>,
) {
    let width = params.weight.len();
    vectorized(
        #[inline(always)]
        || {
            let rows = d_x
                .chunks_exact_mut(width)
                .zip(d.chunks_exact_mut(width))
                .zip(x.chunks_exact(width));
            for ((d_x, d), row) in rows {
                backward_row(d_x, d, row, params, &mut gradient);
            }
        },
    );
}

/// Backward pass of one row: d_x += scale·(e − mean(e) − n·mean(e·n)), with n = (x − mean)·scale
/// and e = d·weight.
#[inline(always)]
fn backward_row(
    d_x: &mut [f32],
    d: &mut [f32],
    row: &[f32],
    params: &NormParams<f32>,
    gradient: &mut NormGradient<'_>,
) {
    let (weight, bias) = (&params.weight[..], &params.bias[..]);
    let count = row.len() as f32;
    let (mean, scale) = statistics(row);
    let (d_weight, d_bias) = (&mut *gradient.weight, &mut *gradient.bias);
    for (((&d, &v), d_weight), d_bias) in d.iter().zip(row).zip(d_weight).zip(d_bias) {
        *d_weight += d * ((v - mean) * scale);
        *d_bias += d;
    }
    let mean_e = sum_3(d, weight, row, |d, w, _| d * w) / count;
    let mean_en = sum_3(d, weight, row, |d, w, v| d * w * ((v - mean) * scale)) / count;
    for ((((d_x, d), &v), &w), &b) in d_x.iter_mut().zip(d).zip(row).zip(weight).zip(bias) {
        let n = (v - mean) * scale;
        *d_x += scale * (*d * w - mean_e - n * mean_en);
        *d = n * w + b;
    }
}

/// Computes the mean of a row and the reciprocal of its standard deviation.
#[inline(always)]
fn statistics(row: &[f32]) -> (f32, f32) {
    let count = row.len() as f32;
    let mean = sum(row, |v| v) / count;
    let variance = sum(row, |v| (v - mean) * (v - mean)) / count;
    (mean, 1.0 / (variance + EPS).sqrt())
}

#[inline(always)]
fn sum_3(a: &[f32], b: &[f32], c: &[f32], f: impl Fn(f32, f32, f32) -> f32) -> f32 {
    let mut lanes = [0.0f32; LANES];
    let (a, b, c) = (
        a.chunks_exact(LANES),
        b.chunks_exact(LANES),
        c.chunks_exact(LANES),
    );
    let rest = a.remainder().iter().zip(b.remainder()).zip(c.remainder());
    let rest: f32 = rest.map(|((&a, &b), &c)| f(a, b, c)).sum();
    for ((a, b), c) in a.zip(b).zip(c) {
        for i in 0..LANES {
            lanes[i] += f(a[i], b[i], c[i]);
        }
    }
    lanes.iter().sum::<f32>() + rest
}

#[inline(always)]
pub(super) fn norm_row(out: &mut [f32], row: &[f32], weight: &[f32], bias: &[f32]) {
    let (mean, scale) = statistics(row);
    for (((o, v), w), b) in out.iter_mut().zip(row).zip(weight).zip(bias) {
        *o = (v - mean) * scale * w + b;
    }
}

#[inline(always)]
fn sum(row: &[f32], f: impl Fn(f32) -> f32) -> f32 {
    let mut lanes = [0.0f32; LANES];
    let chunks = row.chunks_exact(LANES);
    let rest: f32 = chunks.remainder().iter().map(|&v| f(v)).sum();
    for chunk in chunks {
        for (lane, &v) in lanes.iter_mut().zip(chunk) {
            *lane += f(v);
        }
    }
    lanes.iter().sum::<f32>() + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agrees_with_the_definition_at_odd_widths() {
        for width in [1, 2, 15, 16, 17, 40, 100] {
            let x: Vec<f32> = (0..3 * width)
                .map(|i| ((i * 37 % 101) as f32 - 50.0) * 0.11)
                .collect();
            let params = NormParams {
                weight: (0..width)
                    .map(|i| 1.0 + i as f32 * 0.01)
                    .collect::<Vec<_>>()
                    .into(),
                bias: (0..width)
                    .map(|i| i as f32 * -0.02)
                    .collect::<Vec<_>>()
                    .into(),
            };
            let mut out = vec![0.0; x.len()];
            layer_norm(&mut out, &x, &params);
            for (row, out) in x.chunks(width).zip(out.chunks(width)) {
                let mean = row.iter().map(|&v| f64::from(v)).sum::<f64>() / width as f64;
                let variance = row
                    .iter()
                    .map(|&v| (f64::from(v) - mean).powi(2))
                    .sum::<f64>()
                    / width as f64;
                for (i, (&v, &o)) in row.iter().zip(out).enumerate() {
                    let expected = (f64::from(v) - mean) / (variance + 1e-5).sqrt()
                        * f64::from(params.weight[i])
                        + f64::from(params.bias[i]);
                    assert!(
                        (f64::from(o) - expected).abs() < 1e-5,
                        "width {width}: {o} {expected}"
                    );
                }
            }
        }
    }

    #[test]
    fn the_backward_pass_agrees_with_finite_differences_at_odd_widths() {
        for width in [2, 15, 16, 17, 40, 100] {
            let of = |i: usize, m: usize| ((i * 37 % m) as f32 - m as f32 / 2.0) * 3.0 / m as f32;
            let x: Vec<f32> = (0..3 * width).map(|i| of(i, 101)).collect();
            let upstream: Vec<f32> = (0..3 * width).map(|i| of(i + 5, 89)).collect();
            let params = NormParams {
                weight: (0..width)
                    .map(|i| 1.0 + of(i, 13) * 0.1)
                    .collect::<Vec<_>>()
                    .into(),
                bias: (0..width).map(|i| of(i, 7)).collect::<Vec<_>>().into(),
            };
            let mut normed = vec![0.0; x.len()];
            layer_norm(&mut normed, &x, &params);
            let (mut d_x, mut d) = (vec![0.25; x.len()], upstream.clone());
            let (mut d_weight, mut d_bias) = (vec![0.5; width], vec![0.75; width]);
            let gradient = NormGradient {
                weight: &mut d_weight,
                bias: &mut d_bias,
            };
            layer_norm_backward(&mut d_x, &mut d, &x, &params, gradient);
            for (a, b) in d.iter().zip(&normed) {
                assert!((a - b).abs() < 1e-5);
            }
            let objective = |x: &[f64], weight: &[f64], bias: &[f64]| -> f64 {
                let row = |(row, up): (&[f64], &[f32])| {
                    let mean = row.iter().sum::<f64>() / width as f64;
                    let variance =
                        row.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / width as f64;
                    let n = |v: f64| (v - mean) / (variance + 1e-5).sqrt();
                    (0..width)
                        .map(|i| f64::from(up[i]) * (n(row[i]) * weight[i] + bias[i]))
                        .sum::<f64>()
                };
                x.chunks(width).zip(upstream.chunks(width)).map(row).sum()
            };
            let wide = |v: &[f32]| v.iter().copied().map(f64::from).collect::<Vec<f64>>();
            let inputs = [wide(&x), wide(&params.weight), wide(&params.bias)];
            for (which, (found, start)) in [(&d_x, 0.25), (&d_weight, 0.5), (&d_bias, 0.75)]
                .into_iter()
                .enumerate()
            {
                for (i, &found) in found.iter().enumerate() {
                    let at = |step: f64| {
                        let mut moved = inputs.clone();
                        moved[which][i] += step;
                        objective(&moved[0], &moved[1], &moved[2])
                    };
                    let expected = (at(1e-4) - at(-1e-4)) / 2e-4 + start;
                    assert!(
                        (f64::from(found) - expected).abs() < 2e-4,
                        "{width} {which} {i}: {found} {expected}"
                    );
                }
            }
        }
    }
}
