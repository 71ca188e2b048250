/// Products of features with rows, which a library with a fast product can compute for a stream.
pub trait RowProducts {
    /// Computes `scale` · images · rowsᵀ from whole rows `[N, D]` and `[M, D]`, `[N, M]`.
    fn products(&self, images: &[f64], rows: &[f64], dim: usize, scale: f64) -> Vec<f64>;
}

/// Plain loops in `f64`.
#[derive(Debug, Clone, Copy, Default)]
pub struct PlainProducts;

impl RowProducts for PlainProducts {
    fn products(&self, images: &[f64], rows: &[f64], dim: usize, scale: f64) -> Vec<f64> {
        let images = images.chunks_exact(dim);
        let row = |image| {
            let rows = rows.chunks_exact(dim);
            rows.map(move |row| scale * dot(image, row))
        };
        images.flat_map(row).collect()
    }
}

pub(super) fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}
