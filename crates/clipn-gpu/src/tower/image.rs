//! Programs of the ViT image tower.

use clipn_model::ModelConfig;

use crate::device::Allocate;
use crate::error::DeviceError;
use crate::op::{
    AttentionShape, DeviceBuffer, Gemm, NormRows, Op, Operand, PatchShape, partial_sums,
};
use crate::tower::blocks::{self, BLOCK_PARAMETERS, BlockShape, BlockTape};
use crate::tower::graph::{Graph, NormScratch, all_rows, stored};
use crate::tower::head::Head;
use crate::tower::parameters::{Parameter, Role};

// Parameters in the order of `VisionParams::buffers`.
const CLASS: usize = 0;
const POSITIONS: usize = 1;
const PROJECTION: usize = 2;
const CONV: usize = 3;
const LN_PRE: usize = 4;
const BLOCKS: usize = 6;

/// Returns the use of the parameter `index`.
pub(crate) fn role(index: usize) -> Role {
    let is_matrix = match index {
        PROJECTION | CONV => true,
        _ if index < BLOCKS => false,
        // The norm after the blocks has no matrices at its positions either.
        _ => blocks::is_matrix((index - BLOCKS) % BLOCK_PARAMETERS),
    };
    if is_matrix {
        Role::Matrix
    } else {
        Role::Vector
    }
}

/// Parameters of an image tower by use.
pub(crate) struct ImageParameters<'a, B>(pub(crate) &'a [Parameter<B>]);

impl<'a, B> ImageParameters<'a, B> {
    fn blocks(&self) -> &'a [Parameter<B>] {
        &self.0[BLOCKS..self.0.len() - 2]
    }

    fn ln_post(&self) -> &'a [Parameter<B>] {
        &self.0[self.0.len() - 2..]
    }
}

/// Buffers and operations of a batch of images.
#[derive(Debug)]
pub(crate) struct ImageGraph<B> {
    /// `[N, 3, H, W]`, full.
    pub(crate) pixels: B,
    /// Positional embeddings of the batch, `[1 + patches, width]`, full.
    pub(crate) positions: B,
    /// Rows of the class tokens, `[N]`, index.
    pub(crate) rows: B,
    /// `[N, D]`, full.
    pub(crate) features: B,
    pub(crate) forward: Vec<Op<B>>,
    pub(crate) training: Option<TrainingGraph<B>>,
}

/// The backward pass of a batch.
#[derive(Debug)]
pub(crate) struct TrainingGraph<B> {
    /// Gradient of the features, `[N, D]`, full.
    pub(crate) d_features: B,
    pub(crate) backward: Vec<Op<B>>,
}

/// What the backward pass of an image tower needs.
struct ImageTape<B> {
    /// `[N·patches, 3·patch²]`, compute.
    patches: B,
    /// Input of ln_pre, full.
    embedded: B,
    blocks: Vec<BlockTape<B>>,
    head: Head<B>,
}

/// Size of a batch of images.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct ImageBatchSize {
    pub(crate) images: usize,
    pub(crate) height: usize,
    pub(crate) width: usize,
}

/// Builds the programs of a batch. `own_positions` is whether the images have the model's grid, so that
/// the stored positional embeddings are used.
///
/// # Errors
/// [`DeviceError`] if the allocator fails.
pub(crate) fn build<B: DeviceBuffer, A: Allocate<B>>(
    mut graph: Graph<'_, B, A>,
    config: &ModelConfig,
    parameters: &[Parameter<B>],
    size: ImageBatchSize,
    (own_positions, trained): (bool, bool),
) -> Result<ImageGraph<B>, DeviceError> {
    let parameters = ImageParameters(parameters);
    let shape = Shape::new(config, size);
    let (width, positions) = (config.vision.width, 1 + shape.patch.patches());
    let pixels = graph.full(3 * size.images * size.height * size.width)?;
    let rows = graph.index(size.images)?;
    let table = match own_positions {
        true => parameters.0[POSITIONS].value(),
        false => graph.full(positions * width)?,
    };
    let (patches, embedded) = embed(&mut graph, &parameters, &shape, (&pixels, &table))?;
    let normed = graph.full(embedded.len())?;
    graph.layer_norm(&embedded, &parameters.0[LN_PRE..], &normed, shape.rows());
    let (tapes, last) = match trained {
        true => blocks::record(&mut graph, parameters.blocks(), shape.block, normed)?,
        false => {
            blocks::infer(&mut graph, parameters.blocks(), shape.block, &normed)?;
            (Vec::new(), normed)
        }
    };
    let input = NormRows {
        x: last,
        rows: Some(rows.clone()),
        count: size.images,
        width,
    };
    let projection = &parameters.0[PROJECTION];
    let head = Head::forward(&mut graph, parameters.ln_post(), projection, input)?;
    let (features, forward) = (head.features.clone(), graph.take());
    let tape = ImageTape {
        patches,
        embedded,
        blocks: tapes,
        head,
    };
    let training = match trained {
        true => Some(backward(graph, &parameters, &shape, &tape)?),
        false => None,
    };
    Ok(ImageGraph {
        pixels,
        positions: table,
        rows,
        features,
        forward,
        training,
    })
}

struct Shape {
    patch: PatchShape,
    block: BlockShape,
}

impl Shape {
    fn new(config: &ModelConfig, size: ImageBatchSize) -> Self {
        let vision = &config.vision;
        let patch = PatchShape {
            images: size.images,
            height: size.height,
            width: size.width,
            patch: vision.patch_size,
        };
        let attention = AttentionShape {
            sequences: size.images,
            length: 1 + patch.patches(),
            heads: vision.heads,
            head_width: vision.width / vision.heads,
            causal: false,
        };
        let block = BlockShape {
            attention,
            mlp_width: vision.mlp_width,
            activation: config.activation,
        };
        Self { patch, block }
    }

    fn rows(&self) -> usize {
        self.block.attention.rows()
    }

    fn width(&self) -> usize {
        self.block.attention.width()
    }

    /// Number of values of a patch.
    fn patch_len(&self) -> usize {
        3 * self.patch.patch * self.patch.patch
    }
}

/// Adds the embedding of patches, class tokens and positions. Returns the patches and the input of
/// ln_pre.
fn embed<B: DeviceBuffer, A: Allocate<B>>(
    graph: &mut Graph<'_, B, A>,
    parameters: &ImageParameters<'_, B>,
    shape: &Shape,
    (pixels, positions): (&B, &B),
) -> Result<(B, B), DeviceError> {
    let (width, inner) = (shape.width(), shape.patch_len());
    let count = shape.patch.images * shape.patch.patches();
    let patches = graph.compute(count * inner)?;
    let projected = graph.full(count * width)?;
    let embedded = graph.full(shape.rows() * width)?;
    graph.push(Op::Patchify {
        pixels: pixels.clone(),
        out: patches.clone(),
        shape: shape.patch,
    });
    graph.push(Op::Gemm(Gemm {
        a: stored(&patches, inner),
        b: Operand {
            buffer: parameters.0[CONV].multiplied(),
            stride: inner,
            transposed: true,
        },
        bias: None,
        activation: None,
        addend: None,
        out: projected.clone(),
        m: count,
        n: width,
        k: inner,
        accumulate: false,
    }));
    graph.push(Op::AddClassToken {
        patches: projected,
        class: parameters.0[CLASS].value(),
        positions: positions.clone(),
        out: embedded.clone(),
        images: shape.patch.images,
        length: shape.patch.patches(),
        width,
    });
    Ok((patches, embedded))
}

fn backward<B: DeviceBuffer, A: Allocate<B>>(
    mut graph: Graph<'_, B, A>,
    parameters: &ImageParameters<'_, B>,
    shape: &Shape,
    tape: &ImageTape<B>,
) -> Result<TrainingGraph<B>, DeviceError> {
    let (rows, width, images) = (shape.rows(), shape.width(), shape.patch.images);
    let (length, inner) = (shape.patch.patches(), shape.patch_len());
    let d_features = graph.full(tape.head.features.len())?;
    let d = graph.full(rows * width)?;
    let d_embedded = graph.full(rows * width)?;
    let d_patches = graph.compute(images * length * width)?;
    let norm = NormScratch::allocate(&mut graph, rows, width)?;
    let partial = graph.full(partial_sums(images) * (1 + length) * width)?;
    let projection = &parameters.0[PROJECTION];
    let ln_post = parameters.ln_post();
    tape.head
        .backward(&mut graph, ln_post, projection, &d_features, &d)?;
    blocks::backward(
        &mut graph,
        parameters.blocks(),
        shape.block,
        &tape.blocks,
        &d,
    )?;
    graph.push(Op::Clear {
        out: d_embedded.clone(),
        len: rows * width,
    });
    let input = all_rows(&tape.embedded, rows, width);
    let ln_pre = &parameters.0[LN_PRE..LN_PRE + 2];
    graph.layer_norm_backward(&input, ln_pre, &d, &d_embedded, &norm);
    let stride = (1 + length) * width;
    for (parameter, width) in [(CLASS, width), (POSITIONS, stride)] {
        if let Some(out) = parameters.0[parameter].gradient() {
            graph.sum_rows(&d_embedded, (images, width, stride), &partial, &out);
        }
    }
    graph.push(Op::DropClassToken {
        x: d_embedded,
        out: d_patches.clone(),
        images,
        length,
        width,
    });
    let gradient = parameters.0[CONV].gradient();
    graph.matrix_gradient(
        &d_patches,
        &tape.patches,
        gradient,
        (width, inner),
        images * length,
    );
    Ok(TrainingGraph {
        d_features,
        backward: graph.take(),
    })
}
