//! Resizing of positional embeddings to another grid of patches: bicubic interpolation as PyTorch
//! computes it, with a = −0.75, repeated borders and no antialiasing.

use crate::real::Real;

/// Mapping of output positions to input positions, with the names of PyTorch and ONNX `Resize`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CoordinateMapping {
    /// Centers of the corner patches coincide, as in `open_clip.model.resize_pos_embed`, which runs
    /// when weights are loaded.
    AlignCorners,
    /// Half-pixel centers, as in the published forward pass for images of another size than the
    /// model's.
    HalfPixel,
}

/// Grid of patches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PatchGrid {
    /// Number of rows.
    pub rows: usize,
    /// Number of columns.
    pub columns: usize,
}

impl PatchGrid {
    /// Creates a grid of `side` × `side` patches.
    pub fn square(side: usize) -> Self {
        Self {
            rows: side,
            columns: side,
        }
    }

    /// Returns the number of patches.
    pub fn len(self) -> usize {
        self.rows * self.columns
    }

    /// Returns whether there is no patch.
    pub fn is_empty(self) -> bool {
        self.len() == 0
    }
}

/// Resizes the patch rows of `[1 + from², width]` to those of the grid `to`, `[1 + to.len(), width]`.
/// The class token's row is kept.
pub fn resize_positional_embedding<T: Real>(
    embedding: &[T],
    width: usize,
    from: usize,
    to: PatchGrid,
    mapping: CoordinateMapping,
) -> Vec<T> {
    let (class, patches) = embedding.split_at(width);
    let mut out = Vec::with_capacity((1 + to.len()) * width);
    out.extend_from_slice(class);
    let columns: Vec<_> = (0..to.columns)
        .map(|x| taps::<T>(x, from, to.columns, mapping))
        .collect();
    for y in 0..to.rows {
        let rows = taps::<T>(y, from, to.rows, mapping);
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
    mapping: CoordinateMapping,
) -> [(usize, T); 4] {
    let position = match mapping {
        CoordinateMapping::AlignCorners if to > 1 => {
            index as f64 * (from - 1) as f64 / (to - 1) as f64
        }
        CoordinateMapping::AlignCorners => 0.0,
        CoordinateMapping::HalfPixel => (index as f64 + 0.5) * from as f64 / to as f64 - 0.5,
    };
    let base = position.floor();
    std::array::from_fn(|k| {
        let tap = base + k as f64 - 1.0;
        (
            tap.clamp(0.0, (from - 1) as f64) as usize,
            T::from_f64(cubic(position - tap)),
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
        for mapping in [
            CoordinateMapping::AlignCorners,
            CoordinateMapping::HalfPixel,
        ] {
            assert_eq!(
                resize_positional_embedding(&embedding, 3, 3, PatchGrid::square(3), mapping),
                embedding
            );
        }
    }

    #[test]
    fn interpolation_weights_sum_to_one() {
        for mapping in [
            CoordinateMapping::AlignCorners,
            CoordinateMapping::HalfPixel,
        ] {
            for to in 1..9 {
                for index in 0..to {
                    let sum: f64 = taps::<f64>(index, 4, to, mapping).iter().map(|t| t.1).sum();
                    assert!((sum - 1.0).abs() < 1e-12, "{mapping:?} {to} {index}: {sum}");
                }
            }
        }
    }
}
