use super::{LANES, vectorised};
use crate::model::NormParams;

const EPS: f32 = 1e-5;

/// Layer norm of every row of `x`, `[rows, width]`, into `out`.
pub(in super::super) fn layer_norm(out: &mut [f32], x: &[f32], params: &NormParams<f32>) {
    let width = params.weight.len();
    vectorised(
        #[inline(always)]
        || {
            for (out, row) in out.chunks_exact_mut(width).zip(x.chunks_exact(width)) {
                norm_row(out, row, &params.weight, &params.bias);
            }
        },
    );
}

#[inline(always)]
fn norm_row(out: &mut [f32], row: &[f32], weight: &[f32], bias: &[f32]) {
    let count = row.len() as f32;
    let mean = sum(row, |v| v) / count;
    let variance = sum(row, |v| (v - mean) * (v - mean)) / count;
    let scale = 1.0 / (variance + EPS).sqrt();
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
            let x: Vec<f32> = (0..3 * width).map(|i| ((i * 37 % 101) as f32 - 50.0) * 0.11).collect();
            let params = NormParams {
                weight: (0..width).map(|i| 1.0 + i as f32 * 0.01).collect::<Vec<_>>().into(),
                bias: (0..width).map(|i| i as f32 * -0.02).collect::<Vec<_>>().into(),
            };
            let mut out = vec![0.0; x.len()];
            layer_norm(&mut out, &x, &params);
            for (row, out) in x.chunks(width).zip(out.chunks(width)) {
                let mean = row.iter().map(|&v| f64::from(v)).sum::<f64>() / width as f64;
                let variance = row.iter().map(|&v| (f64::from(v) - mean).powi(2)).sum::<f64>() / width as f64;
                for (i, (&v, &o)) in row.iter().zip(out).enumerate() {
                    let expected = (f64::from(v) - mean) / (variance + 1e-5).sqrt()
                        * f64::from(params.weight[i])
                        + f64::from(params.bias[i]);
                    assert!((f64::from(o) - expected).abs() < 1e-5, "width {width}: {o} {expected}");
                }
            }
        }
    }
}
