use clipn_engine::PackedRows;
use clipn_ood::streams::{PlainProducts, RowProducts};

/// Products in `f32` by the engine.
pub(super) struct EngineProducts;

impl RowProducts for EngineProducts {
    fn products(&self, images: &[f64], rows: &[f64], dim: usize, scale: f64) -> Vec<f64> {
        let narrow = |values: &[f64]| values.iter().map(|v| *v as f32).collect::<Vec<f32>>();
        let fast = || {
            let packed = PackedRows::new(&narrow(rows), dim).ok()?;
            let out = packed.product(&narrow(images), scale).ok()?;
            Some(out.into_iter().map(f64::from).collect())
        };
        // Only rows that are not whole are refused, and the plain form takes those as it finds them.
        fast().unwrap_or_else(|| PlainProducts.products(images, rows, dim, scale))
    }
}
