//! Output head of a tower: a layer norm of the pooled rows, and a projection to features.

use crate::device::Allocate;
use crate::error::DeviceError;
use crate::op::{DeviceBuffer, Gemm, NormRows, Op, Operand};
use crate::tower::graph::{Graph, NormScratch, stored};
use crate::tower::parameters::Parameter;

/// Head of a batch.
#[derive(Debug, Clone)]
pub(crate) struct Head<B> {
    /// Pooled rows of the residual stream.
    pub(crate) input: NormRows<B>,
    /// Normalized pooled rows, `[N, width]`, compute.
    normed: B,
    /// Features, `[N, D]`, full.
    pub(crate) features: B,
}

impl<B: DeviceBuffer> Head<B> {
    /// Adds the head. `norm` is gain and bias, `projection` is `[width, D]`.
    pub(crate) fn forward<A: Allocate<B>>(
        graph: &mut Graph<'_, B, A>,
        norm: &[Parameter<B>],
        projection: &Parameter<B>,
        input: NormRows<B>,
    ) -> Result<Self, DeviceError> {
        let (count, width, dim) = (input.count, input.width, projection.shape[1]);
        let normed = graph.compute(count * width)?;
        let features = graph.full(count * dim)?;
        graph.push(Op::LayerNorm {
            input: input.clone(),
            gain: norm[0].value(),
            bias: norm[1].value(),
            out: normed.clone(),
        });
        graph.push(Op::Gemm(Gemm {
            a: stored(&normed, width),
            b: stored(&projection.multiplied(), dim),
            bias: None,
            activation: None,
            addend: None,
            out: features.clone(),
            m: count,
            n: dim,
            k: width,
            accumulate: false,
        }));
        Ok(Self {
            input,
            normed,
            features,
        })
    }

    /// Adds the backward pass: from the gradient of the features, `[N, D]`, full, to `d`, the gradient of
    /// the residual stream: it writes the pooled rows and clears the others.
    pub(crate) fn backward<A: Allocate<B>>(
        &self,
        graph: &mut Graph<'_, B, A>,
        norm: &[Parameter<B>],
        projection: &Parameter<B>,
        d_features: &B,
        d: &B,
    ) -> Result<(), DeviceError> {
        let (count, width, dim) = (self.input.count, self.input.width, projection.shape[1]);
        let scratch = NormScratch::allocate(graph, count, width)?;
        let converted = graph.conversion_scratch(count * dim)?;
        let d_normed = graph.full(count * width)?;
        let d_features = graph.convert(d_features, &converted, count * dim);
        let gradient = projection.gradient();
        graph.matrix_gradient(&self.normed, &d_features, gradient, (width, dim), count);
        graph.push(Op::Gemm(Gemm {
            a: stored(&d_features, dim),
            b: Operand {
                buffer: projection.multiplied(),
                stride: dim,
                transposed: true,
            },
            bias: None,
            activation: None,
            addend: None,
            out: d_normed.clone(),
            m: count,
            n: width,
            k: dim,
            accumulate: false,
        }));
        graph.push(Op::Clear {
            out: d.clone(),
            len: d.len(),
        });
        graph.layer_norm_backward(&self.input, norm, &d_normed, d, &scratch);
        Ok(())
    }
}
