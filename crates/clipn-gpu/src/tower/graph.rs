//! Building blocks of programs: buffers and operations in order.

use clipn_model::Activation;

use crate::device::Allocate;
use crate::error::DeviceError;
use crate::op::{DeviceBuffer, ElementKind, Gemm, NormRows, Op, Operand, partial_sums};
use crate::tower::parameters::Parameter;

/// A program under construction.
pub(crate) struct Graph<'a, B, A> {
    pub(crate) allocator: &'a mut A,
    pub(crate) ops: Vec<Op<B>>,
    pub(crate) is_narrow: bool,
}

impl<'a, B: DeviceBuffer, A: Allocate<B>> Graph<'a, B, A> {
    pub(crate) fn new(allocator: &'a mut A, is_narrow: bool) -> Self {
        Self {
            allocator,
            ops: Vec::new(),
            is_narrow,
        }
    }

    pub(crate) fn full(&mut self, len: usize) -> Result<B, DeviceError> {
        self.allocator.allocate(ElementKind::Full, len)
    }

    pub(crate) fn compute(&mut self, len: usize) -> Result<B, DeviceError> {
        self.allocator.allocate(ElementKind::Compute, len)
    }

    pub(crate) fn index(&mut self, len: usize) -> Result<B, DeviceError> {
        self.allocator.allocate(ElementKind::Index, len)
    }

    /// Allocates room for [`Graph::convert`], which needs none without another format.
    pub(crate) fn conversion_scratch(&mut self, len: usize) -> Result<B, DeviceError> {
        self.compute(if self.is_narrow { len } else { 1 })
    }

    pub(crate) fn push(&mut self, op: Op<B>) {
        self.ops.push(op);
    }

    /// Takes the operations so far, as one program.
    pub(crate) fn take(&mut self) -> Vec<Op<B>> {
        std::mem::take(&mut self.ops)
    }

    /// Adds the conversion of a full buffer to an operand of products. Without another format, that is
    /// the buffer itself.
    pub(crate) fn convert(&mut self, x: &B, scratch: &B, len: usize) -> B {
        if !self.is_narrow {
            return x.clone();
        }
        self.push(Op::Convert {
            x: x.clone(),
            out: scratch.clone(),
            len,
        });
        scratch.clone()
    }

    /// Adds a layer norm of all rows.
    pub(crate) fn layer_norm(&mut self, x: &B, norm: &[Parameter<B>], out: &B, rows: usize) {
        let width = norm[0].shape[0];
        self.push(Op::LayerNorm {
            input: all_rows(x, rows, width),
            gain: norm[0].value(),
            bias: norm[1].value(),
            out: out.clone(),
        });
    }

    /// Adds `out = activation(x · weightᵀ + bias)`, for a weight `[out, in]` with its bias.
    pub(crate) fn linear(
        &mut self,
        x: &B,
        linear: &[Parameter<B>],
        activation: Option<Activation>,
        out: &B,
        rows: usize,
    ) {
        let gemm = Gemm {
            activation,
            ..linear_gemm(x, linear, out, rows)
        };
        self.push(Op::Gemm(gemm));
    }

    /// Adds `out = x · weightᵀ + bias + addend`, where the addend is `out` if there is no other.
    pub(crate) fn linear_residual(
        &mut self,
        x: &B,
        linear: &[Parameter<B>],
        addend: Option<&B>,
        out: &B,
        rows: usize,
    ) {
        let gemm = Gemm {
            accumulate: addend.is_none(),
            addend: addend.cloned(),
            ..linear_gemm(x, linear, out, rows)
        };
        self.push(Op::Gemm(gemm));
    }

    /// Adds `out = d · weight`, the gradient of the input of a linear layer.
    pub(crate) fn linear_backward(&mut self, d: &B, weight: &Parameter<B>, out: &B, rows: usize) {
        let (n, k) = (weight.shape[1], weight.shape[0]);
        self.push(Op::Gemm(Gemm {
            a: stored(d, k),
            b: stored(&weight.multiplied(), n),
            bias: None,
            activation: None,
            addend: None,
            out: out.clone(),
            m: rows,
            n,
            k,
            accumulate: false,
        }));
    }

    /// Adds `gradient += dᵀ · x`, the gradient of a matrix `[m, n]`, if it is trained.
    pub(crate) fn matrix_gradient(
        &mut self,
        d: &B,
        x: &B,
        gradient: Option<B>,
        (m, n): (usize, usize),
        rows: usize,
    ) {
        let Some(out) = gradient else { return };
        self.push(Op::Gemm(Gemm {
            a: Operand {
                buffer: d.clone(),
                stride: m,
                transposed: true,
            },
            b: stored(x, n),
            bias: None,
            activation: None,
            addend: None,
            out,
            m,
            n,
            k: rows,
            accumulate: true,
        }));
    }

    /// Adds `gradient += ` the sum of rows, the gradient of a bias.
    pub(crate) fn bias_gradient(&mut self, d: &B, bias: &Parameter<B>, rows: usize, partial: &B) {
        let width = bias.shape[0];
        if let Some(out) = bias.gradient() {
            self.sum_rows(d, (rows, width, width), partial, &out);
        }
    }

    /// Adds `out += ` the sum of `count` rows of `width` elements with a stride.
    pub(crate) fn sum_rows(
        &mut self,
        x: &B,
        (count, width, stride): (usize, usize, usize),
        partial: &B,
        out: &B,
    ) {
        self.push(Op::ColumnSums {
            x: x.clone(),
            offset: 0,
            stride,
            count,
            width,
            scale: 1.0,
            accumulate: true,
            partial: partial.clone(),
            out: out.clone(),
        });
    }

    /// Adds the gradients of a layer norm: of its parameters, and, added to `d_x`, of its input.
    pub(crate) fn layer_norm_backward(
        &mut self,
        input: &NormRows<B>,
        norm: &[Parameter<B>],
        d_out: &B,
        d_x: &B,
        scratch: &NormScratch<B>,
    ) {
        let NormScratch {
            statistics,
            partial,
        } = scratch;
        self.push(Op::LayerNormStatistics {
            input: input.clone(),
            out: statistics.clone(),
        });
        if let Some(out) = norm[0].gradient() {
            self.push(Op::LayerNormGainGradient {
                input: input.clone(),
                statistics: statistics.clone(),
                d_out: d_out.clone(),
                partial: partial.clone(),
                out,
            });
        }
        self.bias_gradient(d_out, &norm[1], input.count, partial);
        self.push(Op::LayerNormBackward {
            input: input.clone(),
            statistics: statistics.clone(),
            gain: norm[0].value(),
            d_out: d_out.clone(),
            d_x: d_x.clone(),
        });
    }
}

/// Room for the gradients of layer norms and biases.
pub(crate) struct NormScratch<B> {
    /// `[rows, 2]`, full.
    pub(crate) statistics: B,
    /// Partial sums of rows, full.
    pub(crate) partial: B,
}

impl<B: DeviceBuffer> NormScratch<B> {
    /// Allocates room for `rows` rows of at most `width` elements.
    pub(crate) fn allocate<A: Allocate<B>>(
        graph: &mut Graph<'_, B, A>,
        rows: usize,
        width: usize,
    ) -> Result<Self, DeviceError> {
        Ok(Self {
            statistics: graph.full(2 * rows)?,
            partial: graph.full(partial_sums(rows) * width)?,
        })
    }
}

/// Returns all rows of `x` as the input of a layer norm.
pub(crate) fn all_rows<B: Clone>(x: &B, count: usize, width: usize) -> NormRows<B> {
    NormRows {
        x: x.clone(),
        rows: None,
        count,
        width,
    }
}

/// Returns a stored matrix with rows of `stride` elements as an operand.
pub(crate) fn stored<B: Clone>(buffer: &B, stride: usize) -> Operand<B> {
    Operand {
        buffer: buffer.clone(),
        stride,
        transposed: false,
    }
}

fn linear_gemm<B: Clone>(x: &B, linear: &[Parameter<B>], out: &B, rows: usize) -> Gemm<B> {
    let (n, k) = (linear[0].shape[0], linear[0].shape[1..].iter().product());
    Gemm {
        a: stored(x, k),
        b: Operand {
            buffer: linear[0].multiplied(),
            stride: k,
            transposed: true,
        },
        bias: linear.get(1).map(Parameter::value),
        activation: None,
        addend: None,
        out: out.clone(),
        m: rows,
        n,
        k,
        accumulate: false,
    }
}
