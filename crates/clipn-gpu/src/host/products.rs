//! Matrix products and layer norms.

use clipn_model::{Activation, Real};

use crate::host::HostBuffer;
use crate::op::{Gemm, LAYER_NORM_EPS, NormRows, Op, Operand};

pub(super) fn gemm<T: Real>(gemm: &Gemm<HostBuffer<T>>) {
    let (a, b) = (gemm.a.buffer.get(), gemm.b.buffer.get());
    let bias = gemm.bias.as_ref().map(HostBuffer::get);
    let addend = gemm.addend.as_ref().map(HostBuffer::get);
    let index = |operand: &Operand<HostBuffer<T>>, row: usize, column: usize| {
        if operand.transposed {
            column * operand.stride + row
        } else {
            row * operand.stride + column
        }
    };
    let mut out = Vec::with_capacity(gemm.m * gemm.n);
    for i in 0..gemm.m {
        for j in 0..gemm.n {
            let products = (0..gemm.k).map(|l| a[index(&gemm.a, i, l)] * b[index(&gemm.b, l, j)]);
            let mut sum = products.sum::<T>();
            if let Some(bias) = &bias {
                sum = sum + bias[j];
            }
            if let Some(activation) = gemm.activation {
                sum = activate(sum, activation);
            }
            if let Some(addend) = &addend {
                sum = sum + addend[i * gemm.n + j];
            }
            out.push(sum);
        }
    }
    drop((a, b, bias, addend));
    gemm.out.update(|target| {
        for (target, value) in target.iter_mut().zip(out) {
            *target = if gemm.accumulate {
                *target + value
            } else {
                value
            };
        }
    });
}

pub(super) fn activate<T: Real>(x: T, activation: Activation) -> T {
    match activation {
        Activation::Gelu => x * cdf(x),
        Activation::QuickGelu => x / (T::one() + (T::from_f64(-1.702) * x).exp()),
    }
}

/// Derivative of the activation.
pub(super) fn slope<T: Real>(x: T, activation: Activation) -> T {
    match activation {
        Activation::Gelu => {
            let density = (T::from_f64(-0.5) * x * x).exp()
                * T::from_f64((2.0 * std::f64::consts::PI).sqrt().recip());
            cdf(x) + x * density
        }
        Activation::QuickGelu => {
            let sigmoid = (T::one() + (T::from_f64(-1.702) * x).exp()).recip();
            sigmoid + T::from_f64(1.702) * x * sigmoid * (T::one() - sigmoid)
        }
    }
}

/// Cumulative normal distribution.
fn cdf<T: Real>(x: T) -> T {
    let scaled = x * T::from_f64(std::f64::consts::FRAC_1_SQRT_2);
    T::from_f64(0.5) * (T::one() + scaled.erf())
}

/// Runs an operation of a layer norm.
pub(super) fn norm<T: Real>(op: &Op<HostBuffer<T>>) {
    match op {
        Op::LayerNorm {
            input,
            gain,
            bias,
            out,
        } => {
            let (gain, bias) = (gain.copy(), bias.copy());
            let normed = each_row(input, |row, (mean, scale)| {
                let parameters = gain.iter().zip(&bias);
                let values = row.iter().zip(parameters);
                values
                    .map(|(&v, (&g, &b))| (v - mean) * scale * g + b)
                    .collect()
            });
            out.update(|out| out[..normed.len()].copy_from_slice(&normed));
        }
        Op::LayerNormStatistics { input, out } => {
            let statistics = each_row(input, |_, (mean, scale)| vec![mean, scale]);
            out.update(|out| out[..statistics.len()].copy_from_slice(&statistics));
        }
        Op::LayerNormBackward {
            input,
            statistics,
            gain,
            d_out,
            d_x,
        } => {
            let (x, statistics) = (input.x.copy(), statistics.copy());
            let (gain, d_out) = (gain.copy(), d_out.copy());
            let width = input.width;
            d_x.update(|d_x| {
                for (index, at) in positions(input).enumerate() {
                    let row = &x[at * width..][..width];
                    let (mean, scale) = (statistics[2 * index], statistics[2 * index + 1]);
                    let d = &d_out[index * width..][..width];
                    row_backward(
                        &mut d_x[at * width..][..width],
                        row,
                        d,
                        &gain,
                        (mean, scale),
                    );
                }
            });
        }
        Op::LayerNormGainGradient {
            input,
            statistics,
            d_out,
            out,
            ..
        } => {
            let (x, statistics, d_out) = (input.x.copy(), statistics.copy(), d_out.copy());
            let width = input.width;
            out.update(|out| {
                for (index, at) in positions(input).enumerate() {
                    let (mean, scale) = (statistics[2 * index], statistics[2 * index + 1]);
                    for column in 0..width {
                        let normed = (x[at * width + column] - mean) * scale;
                        out[column] = out[column] + d_out[index * width + column] * normed;
                    }
                }
            });
        }
        _ => {}
    }
}

/// Adds d_x = (e − mean(e) − n·mean(e·n))/σ, with n the normalized row and e = d·gain.
fn row_backward<T: Real>(d_x: &mut [T], row: &[T], d: &[T], gain: &[T], (mean, scale): (T, T)) {
    let count = T::from_f64(row.len() as f64);
    let e: Vec<T> = d.iter().zip(gain).map(|(&d, &g)| d * g).collect();
    let n: Vec<T> = row.iter().map(|&v| (v - mean) * scale).collect();
    let mean_e = e.iter().copied().sum::<T>() / count;
    let mean_en = e.iter().zip(&n).map(|(&e, &n)| e * n).sum::<T>() / count;
    for (d_x, (&e, &n)) in d_x.iter_mut().zip(e.iter().zip(&n)) {
        *d_x = *d_x + (e - mean_e - n * mean_en) * scale;
    }
}

/// Returns the rows of the input that are normalized.
fn positions<T: Real>(input: &NormRows<HostBuffer<T>>) -> impl Iterator<Item = usize> {
    let rows = input.rows.as_ref().map(HostBuffer::indices);
    (0..input.count).map(move |index| match &rows {
        Some(rows) => rows[index] as usize,
        None => index,
    })
}

/// Computes values from each row, its mean and its inverse standard deviation.
fn each_row<T: Real>(
    input: &NormRows<HostBuffer<T>>,
    compute: impl Fn(&[T], (T, T)) -> Vec<T>,
) -> Vec<T> {
    let x = input.x.get();
    let count = T::from_f64(input.width as f64);
    let values = positions(input).flat_map(|at| {
        let row = &x[at * input.width..][..input.width];
        let mean = row.iter().copied().sum::<T>() / count;
        let variance = row.iter().map(|&v| (v - mean) * (v - mean)).sum::<T>() / count;
        let scale = (variance + T::from_f64(LAYER_NORM_EPS)).sqrt().recip();
        compute(row, (mean, scale))
    });
    values.collect()
}
