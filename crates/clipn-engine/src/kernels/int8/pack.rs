use clipn_model::QuantizedWeight;

use super::{GROUP, Int8Kernel};
use crate::kernels::aligned::AlignedVec;

/// Packed quantized right-hand side B of a product: panels `[panel][depth / 4][columns][4]`, the
/// last one padded with zeros to whole panels.
#[derive(Clone)]
pub(crate) struct QuantizedB {
    values: AlignedVec<i8>,
    /// Of every column, padded to whole panels.
    scales: AlignedVec<f32>,
    /// −zero point · Σ_k w of every column, padded to whole panels.
    starts: Vec<i32>,
    depth: usize,
    columns: usize,
    kernel: Int8Kernel,
}

impl QuantizedB {
    /// Packs weightᵀ for the kernel in use.
    pub(crate) fn pack(weight: &QuantizedWeight) -> Self {
        Self::pack_for(weight, Int8Kernel::current())
    }

    pub(super) fn pack_for(weight: &QuantizedWeight, kernel: Int8Kernel) -> Self {
        let (depth, columns) = (weight.inner, weight.scales.len());
        let width = kernel.panel_width();
        let padded = columns.next_multiple_of(width);
        let groups = depth.div_ceil(GROUP);
        let mut values = AlignedVec::zeros(padded * groups * GROUP);
        let mut scales = AlignedVec::zeros(padded);
        scales.as_mut_slice()[..columns].copy_from_slice(&weight.scales);
        let mut starts = vec![0; padded];
        let packed = values.as_mut_slice();
        for (column, row) in weight.values.chunks_exact(depth.max(1)).enumerate() {
            let first = column / width * width * groups * GROUP + column % width * GROUP;
            for (group, values) in row.chunks(GROUP).enumerate() {
                packed[first + group * width * GROUP..][..values.len()].copy_from_slice(values);
            }
            let sum: i32 = row.iter().map(|&value| i32::from(value)).sum();
            starts[column] = -kernel.zero_point() * sum;
        }
        Self {
            values,
            scales,
            starts,
            depth,
            columns,
            kernel,
        }
    }

    /// Quantizes and packs the transpose of a matrix.
    pub(crate) fn quantize(weight: &[f32], inner: usize) -> Self {
        Self::pack(&QuantizedWeight::quantize(weight, inner))
    }

    /// Number of rows.
    pub(crate) fn depth(&self) -> usize {
        self.depth
    }

    /// Number of columns.
    pub(crate) fn columns(&self) -> usize {
        self.columns
    }

    pub(super) fn kernel(&self) -> Int8Kernel {
        self.kernel
    }

    /// Returns the values, scales and start values of a panel.
    pub(super) fn panel(&self, index: usize) -> (&[i8], &[f32], &[i32]) {
        let width = self.kernel.panel_width();
        let size = width * self.depth.div_ceil(GROUP) * GROUP;
        (
            &self.values.as_slice()[index * size..][..size],
            &self.scales.as_slice()[index * width..][..width],
            &self.starts[index * width..][..width],
        )
    }
}

impl std::fmt::Debug for QuantizedB {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("QuantizedB")
            .field("depth", &self.depth)
            .field("columns", &self.columns)
            .finish_non_exhaustive()
    }
}
