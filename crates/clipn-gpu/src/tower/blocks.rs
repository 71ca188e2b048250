//! Residual attention blocks: inference in one set of buffers, the recorded forward pass, and the
//! backward pass.

use clipn_model::Activation;

use crate::device::Allocate;
use crate::error::DeviceError;
use crate::op::{AttentionShape, DeviceBuffer, Op};
use crate::tower::graph::{Graph, NormScratch, all_rows};
use crate::tower::parameters::Parameter;

/// Number of parameters of a block, in the order of [`clipn_model::BlockParams`]: a layer norm, the
/// projections before and after attention, a layer norm, and the two layers of the MLP.
pub(crate) const BLOCK_PARAMETERS: usize = 12;

const LN_1: usize = 0;
const IN_PROJ: usize = 2;
const OUT_PROJ: usize = 4;
const LN_2: usize = 6;
const C_FC: usize = 8;
const C_PROJ: usize = 10;

/// Whether the parameter of a block is a matrix.
pub(crate) fn is_matrix(index: usize) -> bool {
    matches!(index, IN_PROJ | OUT_PROJ | C_FC | C_PROJ)
}

/// Shape of a transformer and of its batch.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BlockShape {
    pub(crate) attention: AttentionShape,
    pub(crate) mlp_width: usize,
    pub(crate) activation: Activation,
}

impl BlockShape {
    fn rows(self) -> usize {
        self.attention.rows()
    }

    fn width(self) -> usize {
        self.attention.width()
    }
}

/// Adds the blocks for inference, which change `x`, `[rows, width]`, in place.
pub(crate) fn infer<B: DeviceBuffer, A: Allocate<B>>(
    graph: &mut Graph<'_, B, A>,
    blocks: &[Parameter<B>],
    shape: BlockShape,
    x: &B,
) -> Result<(), DeviceError> {
    let (rows, width) = (shape.rows(), shape.width());
    let normed = graph.compute(rows * width)?;
    let qkv = graph.compute(3 * rows * width)?;
    let hidden = graph.compute(rows * shape.mlp_width)?;
    for block in blocks.chunks_exact(BLOCK_PARAMETERS) {
        graph.layer_norm(x, &block[LN_1..], &normed, rows);
        graph.linear(&normed, &block[IN_PROJ..IN_PROJ + 2], None, &qkv, rows);
        // The normalized rows are no longer needed.
        let attended = &normed;
        graph.push(Op::Attention {
            qkv: qkv.clone(),
            out: attended.clone(),
            shape: shape.attention,
        });
        graph.linear_residual(attended, &block[OUT_PROJ..OUT_PROJ + 2], None, x, rows);
        graph.layer_norm(x, &block[LN_2..], &normed, rows);
        let activation = Some(shape.activation);
        graph.linear(&normed, &block[C_FC..C_FC + 2], activation, &hidden, rows);
        graph.linear_residual(&hidden, &block[C_PROJ..C_PROJ + 2], None, x, rows);
    }
    Ok(())
}

/// Values of a block that its backward pass needs.
#[derive(Debug)]
pub(crate) struct BlockTape<B> {
    /// Input, `[rows, width]`, full.
    x: B,
    /// `[rows, 3·width]`, compute.
    qkv: B,
    /// Output of attention, compute.
    attended: B,
    /// Residual stream after attention, full.
    middle: B,
    /// Hidden layer before its activation, `[rows, mlp_width]`, compute.
    hidden: B,
}

/// Adds the blocks of a pass that is recorded. Returns their tapes and the output, `[rows, width]`, full.
pub(crate) fn record<B: DeviceBuffer, A: Allocate<B>>(
    graph: &mut Graph<'_, B, A>,
    blocks: &[Parameter<B>],
    shape: BlockShape,
    mut x: B,
) -> Result<(Vec<BlockTape<B>>, B), DeviceError> {
    let (rows, width) = (shape.rows(), shape.width());
    let normed = graph.compute(rows * width)?;
    let activated = graph.compute(rows * shape.mlp_width)?;
    let mut tapes = Vec::new();
    for block in blocks.chunks_exact(BLOCK_PARAMETERS) {
        let tape = BlockTape {
            x,
            qkv: graph.compute(3 * rows * width)?,
            attended: graph.compute(rows * width)?,
            middle: graph.full(rows * width)?,
            hidden: graph.compute(rows * shape.mlp_width)?,
        };
        let out = graph.full(rows * width)?;
        graph.layer_norm(&tape.x, &block[LN_1..], &normed, rows);
        graph.linear(&normed, &block[IN_PROJ..IN_PROJ + 2], None, &tape.qkv, rows);
        graph.push(Op::Attention {
            qkv: tape.qkv.clone(),
            out: tape.attended.clone(),
            shape: shape.attention,
        });
        let (residual, middle) = (Some(&tape.x), &tape.middle);
        let out_proj = &block[OUT_PROJ..OUT_PROJ + 2];
        graph.linear_residual(&tape.attended, out_proj, residual, middle, rows);
        graph.layer_norm(middle, &block[LN_2..], &normed, rows);
        graph.linear(&normed, &block[C_FC..C_FC + 2], None, &tape.hidden, rows);
        graph.push(Op::Activate {
            x: tape.hidden.clone(),
            out: activated.clone(),
            len: rows * shape.mlp_width,
            activation: shape.activation,
        });
        let c_proj = &block[C_PROJ..C_PROJ + 2];
        graph.linear_residual(&activated, c_proj, Some(middle), &out, rows);
        tapes.push(tape);
        x = out;
    }
    Ok((tapes, x))
}

/// Buffers of a backward pass, shared by all blocks.
struct Gradients<B> {
    /// Activations or normalized rows, recomputed.
    activated: B,
    normed: B,
    /// Gradient of the residual stream as an operand of products, compute.
    d: B,
    d_hidden: B,
    d_attended: B,
    d_qkv: B,
    /// Gradient of a layer norm's output, full.
    d_normed: B,
    /// Statistics of attention.
    attention: B,
    norm: NormScratch<B>,
}

/// Adds the backward pass of the blocks, which changes `d`, `[rows, width]`, full, from the gradient of
/// their output to that of their input, and adds to the gradients of the parameters.
pub(crate) fn backward<B: DeviceBuffer, A: Allocate<B>>(
    graph: &mut Graph<'_, B, A>,
    blocks: &[Parameter<B>],
    shape: BlockShape,
    tapes: &[BlockTape<B>],
    d: &B,
) -> Result<(), DeviceError> {
    let (rows, width) = (shape.rows(), shape.width());
    let gradients = Gradients {
        activated: graph.compute(rows * shape.mlp_width)?,
        normed: graph.compute(rows * width)?,
        d: graph.conversion_scratch(rows * width)?,
        d_hidden: graph.compute(rows * shape.mlp_width)?,
        d_attended: graph.compute(rows * width)?,
        d_qkv: graph.compute(3 * rows * width)?,
        d_normed: graph.full(rows * width)?,
        attention: graph.full(2 * shape.attention.queries())?,
        norm: NormScratch::allocate(graph, rows, shape.mlp_width.max(3 * width))?,
    };
    for (block, tape) in blocks.chunks_exact(BLOCK_PARAMETERS).zip(tapes).rev() {
        mlp_backward(graph, block, shape, tape, d, &gradients);
        attention_backward(graph, block, shape, tape, d, &gradients);
    }
    Ok(())
}

fn mlp_backward<B: DeviceBuffer, A: Allocate<B>>(
    graph: &mut Graph<'_, B, A>,
    block: &[Parameter<B>],
    shape: BlockShape,
    tape: &BlockTape<B>,
    d: &B,
    gradients: &Gradients<B>,
) {
    let (rows, width, mlp_width) = (shape.rows(), shape.width(), shape.mlp_width);
    let partial = &gradients.norm.partial;
    let (len, activation) = (rows * mlp_width, shape.activation);
    let d_out = graph.convert(d, &gradients.d, rows * width);
    graph.bias_gradient(d, &block[C_PROJ + 1], rows, partial);
    graph.push(Op::Activate {
        x: tape.hidden.clone(),
        out: gradients.activated.clone(),
        len,
        activation,
    });
    let gradient = block[C_PROJ].gradient();
    graph.matrix_gradient(
        &d_out,
        &gradients.activated,
        gradient,
        (width, mlp_width),
        rows,
    );
    let d_hidden = &gradients.d_hidden;
    graph.linear_backward(&d_out, &block[C_PROJ], d_hidden, rows);
    graph.push(Op::ActivateBackward {
        x: tape.hidden.clone(),
        d: d_hidden.clone(),
        len,
        activation,
    });
    graph.bias_gradient(d_hidden, &block[C_FC + 1], rows, partial);
    graph.layer_norm(&tape.middle, &block[LN_2..], &gradients.normed, rows);
    let gradient = block[C_FC].gradient();
    graph.matrix_gradient(
        d_hidden,
        &gradients.normed,
        gradient,
        (mlp_width, width),
        rows,
    );
    graph.linear_backward(d_hidden, &block[C_FC], &gradients.d_normed, rows);
    let input = all_rows(&tape.middle, rows, width);
    let d_normed = &gradients.d_normed;
    graph.layer_norm_backward(&input, &block[LN_2..LN_2 + 2], d_normed, d, &gradients.norm);
}

fn attention_backward<B: DeviceBuffer, A: Allocate<B>>(
    graph: &mut Graph<'_, B, A>,
    block: &[Parameter<B>],
    shape: BlockShape,
    tape: &BlockTape<B>,
    d: &B,
    gradients: &Gradients<B>,
) {
    let (rows, width) = (shape.rows(), shape.width());
    let partial = &gradients.norm.partial;
    let d_out = graph.convert(d, &gradients.d, rows * width);
    graph.bias_gradient(d, &block[OUT_PROJ + 1], rows, partial);
    let gradient = block[OUT_PROJ].gradient();
    graph.matrix_gradient(&d_out, &tape.attended, gradient, (width, width), rows);
    let (d_attended, d_qkv) = (&gradients.d_attended, &gradients.d_qkv);
    graph.linear_backward(&d_out, &block[OUT_PROJ], d_attended, rows);
    graph.push(Op::AttentionStatistics {
        qkv: tape.qkv.clone(),
        attended: tape.attended.clone(),
        d_out: d_attended.clone(),
        out: gradients.attention.clone(),
        shape: shape.attention,
    });
    graph.push(Op::AttentionBackward {
        qkv: tape.qkv.clone(),
        d_out: d_attended.clone(),
        statistics: gradients.attention.clone(),
        d_qkv: d_qkv.clone(),
        shape: shape.attention,
    });
    graph.bias_gradient(d_qkv, &block[IN_PROJ + 1], rows, partial);
    graph.layer_norm(&tape.x, &block[LN_1..], &gradients.normed, rows);
    let gradient = block[IN_PROJ].gradient();
    graph.matrix_gradient(d_qkv, &gradients.normed, gradient, (3 * width, width), rows);
    graph.linear_backward(d_qkv, &block[IN_PROJ], &gradients.d_normed, rows);
    let input = all_rows(&tape.x, rows, width);
    let d_normed = &gradients.d_normed;
    graph.layer_norm_backward(&input, &block[LN_1..LN_1 + 2], d_normed, d, &gradients.norm);
}
