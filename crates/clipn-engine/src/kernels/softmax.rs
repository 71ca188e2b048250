use super::exp::exp;
use super::{LANES, vectorized};

/// Computes the softmax of every row of `x`, `[rows, width]`, over its first `visible(row)` values,
/// and sets the others to zero.
pub(crate) fn masked_softmax(x: &mut [f32], width: usize, visible: impl Fn(usize) -> usize) {
    vectorized(
        #[inline(always)]
        || {
            for (index, row) in x.chunks_exact_mut(width).enumerate() {
                let (used, unused) = row.split_at_mut(visible(index).min(width));
                softmax_row(used);
                unused.fill(0.0);
            }
        },
    );
}

/// Backward pass of a row-wise softmax. On entry `d` holds the gradient of the probabilities `p`,
/// `[rows, width]`; on return, `scale` times the gradient of the logits, p·(d − Σ p·d).
///
/// A probability of zero, as of a masked value, gives a gradient of zero.
pub(crate) fn softmax_backward(d: &mut [f32], p: &[f32], width: usize, scale: f32) {
    vectorized(
        #[inline(always)]
        || {
            for (d, p) in d.chunks_exact_mut(width).zip(p.chunks_exact(width)) {
                let mean = dot(d, p);
                for (d, &p) in d.iter_mut().zip(p) {
                    *d = scale * p * (*d - mean);
                }
            }
        },
    );
}

#[inline(always)]
fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut lanes = [0.0f32; LANES];
    let (a, b) = (a.chunks_exact(LANES), b.chunks_exact(LANES));
    let rest: f32 = a
        .remainder()
        .iter()
        .zip(b.remainder())
        .map(|(a, b)| a * b)
        .sum();
    for (a, b) in a.zip(b) {
        for i in 0..LANES {
            lanes[i] += a[i] * b[i];
        }
    }
    lanes.iter().sum::<f32>() + rest
}

#[inline(always)]
pub(super) fn softmax_row(row: &mut [f32]) {
    let largest = maximum(row);
    let mut lanes = [0.0f32; LANES];
    let mut chunks = row.chunks_exact_mut(LANES);
    for chunk in &mut chunks {
        for (lane, x) in lanes.iter_mut().zip(chunk) {
            *x = exp(*x - largest);
            *lane += *x;
        }
    }
    // The last values in one whole vector: one by one they would take as long as the others.
    let rest = chunks.into_remainder();
    let mut last = [largest; LANES];
    last[..rest.len()].copy_from_slice(rest);
    for x in &mut last {
        *x = exp(*x - largest);
    }
    rest.copy_from_slice(&last[..rest.len()]);
    let total: f32 = rest.iter().sum();
    let scale = 1.0 / (lanes.iter().sum::<f32>() + total);
    for x in row {
        *x *= scale;
    }
}

#[inline(always)]
fn maximum(row: &[f32]) -> f32 {
    let mut lanes = [f32::NEG_INFINITY; LANES];
    let chunks = row.chunks_exact(LANES);
    let rest = chunks.remainder();
    for chunk in chunks {
        for (lane, &x) in lanes.iter_mut().zip(chunk) {
            *lane = if x > *lane { x } else { *lane };
        }
    }
    lanes
        .iter()
        .chain(rest)
        .copied()
        .fold(f32::NEG_INFINITY, f32::max)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agrees_with_the_definition_and_zeroes_masked_values() {
        for width in [1, 3, 16, 17, 50, 77] {
            let mut x: Vec<f32> = (0..4 * width)
                .map(|i| ((i * 31 % 97) as f32 - 48.0) * 0.3)
                .collect();
            let before = x.clone();
            let visible = |row: usize| (row * width / 3).max(1).min(width);
            masked_softmax(&mut x, width, visible);
            for (r, (row, before)) in x.chunks(width).zip(before.chunks(width)).enumerate() {
                let total: f64 = before[..visible(r)]
                    .iter()
                    .map(|&v| f64::from(v).exp())
                    .sum();
                for (i, (&p, &v)) in row.iter().zip(before).enumerate() {
                    let expected = if i < visible(r) {
                        f64::from(v).exp() / total
                    } else {
                        0.0
                    };
                    assert!((f64::from(p) - expected).abs() < 1e-6);
                }
            }
        }
    }

    #[test]
    fn the_backward_pass_agrees_with_finite_differences() {
        for width in [1, 3, 16, 17, 50] {
            let logits: Vec<f64> = (0..2 * width)
                .map(|i| ((i * 31 % 97) as f64 - 48.0) * 0.05)
                .collect();
            let upstream: Vec<f32> = (0..2 * width)
                .map(|i| ((i * 17 % 23) as f32 - 11.0) * 0.1)
                .collect();
            let mut p: Vec<f32> = logits.iter().map(|&l| l as f32).collect();
            masked_softmax(&mut p, width, |_| width);
            let mut d = upstream.clone();
            softmax_backward(&mut d, &p, width, 0.5);
            let objective = |logits: &[f64]| -> f64 {
                let row = |(row, up): (&[f64], &[f32])| {
                    let total: f64 = row.iter().map(|l| l.exp()).sum();
                    row.iter()
                        .zip(up)
                        .map(|(l, &u)| l.exp() / total * f64::from(u))
                        .sum::<f64>()
                };
                logits
                    .chunks(width)
                    .zip(upstream.chunks(width))
                    .map(row)
                    .sum()
            };
            for (i, &found) in d.iter().enumerate() {
                let at = |step: f64| {
                    let mut moved = logits.clone();
                    moved[i] += step;
                    objective(&moved)
                };
                let expected = 0.5 * (at(1e-4) - at(-1e-4)) / 2e-4;
                assert!(
                    (f64::from(found) - expected).abs() < 1e-6,
                    "{width} {i}: {found} {expected}"
                );
            }
        }
    }
}
