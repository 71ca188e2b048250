//! Resizing of positional embeddings to another grid of patches: bicubic interpolation as PyTorch
//! computes it, with a = −0.75, repeated borders and no antialiasing.

use super::Real;

/// Mapping of output positions to input positions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CoordinateMapping {
    /// Centers of the corner patches coincide, as in `open_clip.model.resize_pos_embed`, which runs
    /// when weights are loaded.
    Aligned,
    /// Half-pixel centers, as in the published forward pass for images of another size than the
    /// model's.
    HalfPixel,
}

/// Resizes the patch rows of `[1 + from·from, width]` to `[1 + to.0·to.1, width]`, with `to` in
/// rows and columns of patches. The class token's row is kept.
pub fn resize_positions<T: Real>(
    embedding: &[T],
    width: usize,
    from: usize,
    to: (usize, usize),
    corners: CoordinateMapping,
) -> Vec<T> {
    let (class, patches) = embedding.split_at(width);
    let mut out = Vec::with_capacity((1 + to.0 * to.1) * width);
    out.extend_from_slice(class);
    let columns: Vec<_> = (0..to.1)
        .map(|x| taps::<T>(x, from, to.1, corners))
        .collect();
    for y in 0..to.0 {
        let rows = taps::<T>(y, from, to.0, corners);
        for column in &columns {
            let start = out.len();
            out.resize(start + width, T::zero());
            for &(row, row_weight) in &rows {
                for &(col, col_weight) in column {
                    let weight = row_weight * col_weight;
                    let source = &patches[(row * from + col) * width..][..width];
                    for (o, &s) in out[start..].iter_mut().zip(source) {
                        *o = *o + weight * s;
                    }
                }
            }
        }
    }
    out
}

/// Returns the four input positions that contribute to an output position, with their weights.
fn taps<T: Real>(
    index: usize,
    from: usize,
    to: usize,
    corners: CoordinateMapping,
) -> [(usize, T); 4] {
    let position = match corners {
        CoordinateMapping::Aligned if to > 1 => index as f64 * (from - 1) as f64 / (to - 1) as f64,
        CoordinateMapping::Aligned => 0.0,
        CoordinateMapping::HalfPixel => (index as f64 + 0.5) * from as f64 / to as f64 - 0.5,
    };
    let base = position.floor();
    std::array::from_fn(|k| {
        let tap = base + k as f64 - 1.0;
        (
            tap.clamp(0.0, (from - 1) as f64) as usize,
            T::of(cubic(position - tap)),
        )
    })
}

/// Keys' cubic convolution kernel with a = −0.75.
fn cubic(x: f64) -> f64 {
    const A: f64 = -0.75;
    let x = x.abs();
    if x <= 1.0 {
        ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0
    } else if x < 2.0 {
        ((A * x - 5.0 * A) * x + 8.0 * A) * x - 4.0 * A
    } else {
        0.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resizing_to_the_same_grid_changes_nothing() {
        let embedding: Vec<f64> = (0..10 * 3).map(f64::from).collect();
        for corners in [CoordinateMapping::Aligned, CoordinateMapping::HalfPixel] {
            assert_eq!(
                resize_positions(&embedding, 3, 3, (3, 3), corners),
                embedding
            );
        }
    }

    #[test]
    fn interpolation_weights_sum_to_one() {
        for corners in [CoordinateMapping::Aligned, CoordinateMapping::HalfPixel] {
            for to in 1..9 {
                for index in 0..to {
                    let sum: f64 = taps::<f64>(index, 4, to, corners).iter().map(|t| t.1).sum();
                    assert!((sum - 1.0).abs() < 1e-12, "{corners:?} {to} {index}: {sum}");
                }
            }
        }
    }
}
