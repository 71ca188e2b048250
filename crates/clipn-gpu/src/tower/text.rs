//! Programs of the text towers.

use clipn_model::ModelConfig;

use crate::device::Allocate;
use crate::error::DeviceError;
use crate::op::{AttentionShape, DeviceBuffer, NormRows, Op, partial_sums};
use crate::tower::blocks::{self, BLOCK_PARAMETERS, BlockShape};
use crate::tower::graph::Graph;
use crate::tower::head::Head;
use crate::tower::image::TrainingGraph;
use crate::tower::parameters::{Parameter, Role};

// Parameters in the order of `TextParams::buffers`.
const TOKENS: usize = 0;
const POSITIONS: usize = 1;
const PROJECTION: usize = 2;
const BLOCKS: usize = 3;

/// Returns the use of the parameter `index` of a tower with `layers` blocks.
pub(crate) fn role(index: usize, layers: usize) -> Role {
    match index {
        TOKENS => Role::Table,
        PROJECTION => Role::Matrix,
        POSITIONS => Role::Vector,
        _ if index >= BLOCKS + layers * BLOCK_PARAMETERS => Role::Vector,
        _ if blocks::is_matrix((index - BLOCKS) % BLOCK_PARAMETERS) => Role::Matrix,
        _ => Role::Vector,
    }
}

/// Parameters of a text tower by use.
pub(crate) struct TextParameters<'a, B> {
    pub(crate) all: &'a [Parameter<B>],
    pub(crate) layers: usize,
}

impl<'a, B> TextParameters<'a, B> {
    fn after_blocks(&self) -> usize {
        BLOCKS + self.layers * BLOCK_PARAMETERS
    }

    fn blocks(&self) -> &'a [Parameter<B>] {
        &self.all[BLOCKS..self.after_blocks()]
    }

    fn ln_final(&self) -> &'a [Parameter<B>] {
        &self.all[self.after_blocks()..self.after_blocks() + 2]
    }

    /// Returns the "no" prompts, `[prompts, context, width]`.
    fn prompts(&self) -> Option<&'a Parameter<B>> {
        self.all.get(self.after_blocks() + 2)
    }

    /// Returns the number of "no" prompts.
    pub(crate) fn prompt_count(&self) -> usize {
        self.prompts().map_or(0, |prompts| prompts.shape[0])
    }
}

/// Size of a batch of texts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct TextBatchSize {
    pub(crate) texts: usize,
    /// Positions of a text.
    pub(crate) length: usize,
}

/// Buffers and operations of a batch of texts.
#[derive(Debug)]
pub(crate) struct TextGraph<B> {
    /// Token ids `[N, length]` and selected prompts `[N]`, index.
    pub(crate) ids: B,
    /// Rows of the pooled positions, `[N]`, index.
    pub(crate) rows: B,
    /// `[N, D]`, full.
    pub(crate) features: B,
    pub(crate) forward: Vec<Op<B>>,
    pub(crate) training: Option<TextTraining<B>>,
}

/// The backward pass of a batch of texts.
#[derive(Debug)]
pub(crate) struct TextTraining<B> {
    pub(crate) graph: TrainingGraph<B>,
    /// Lists of the positions of each token, index.
    pub(crate) token_lists: B,
    /// Lists of the texts of each prompt, index.
    pub(crate) prompt_lists: B,
}

/// Builds the programs of a batch.
///
/// # Errors
/// [`DeviceError`] if the allocator fails.
pub(crate) fn build<B: DeviceBuffer, A: Allocate<B>>(
    mut graph: Graph<'_, B, A>,
    config: &ModelConfig,
    parameters: &[Parameter<B>],
    size: TextBatchSize,
    trained: bool,
) -> Result<TextGraph<B>, DeviceError> {
    let text = &config.text;
    let parameters = TextParameters {
        all: parameters,
        layers: text.layers,
    };
    let shape = BlockShape {
        attention: AttentionShape {
            sequences: size.texts,
            length: size.length,
            heads: text.heads,
            head_width: text.width / text.heads,
            causal: true,
        },
        mlp_width: text.mlp_width,
        activation: config.activation,
    };
    let ids = graph.index(size.texts * (size.length + 1))?;
    let rows = graph.index(size.texts)?;
    let x = graph.full(shape.attention.rows() * text.width)?;
    embed(&mut graph, config, &parameters, size, (&ids, &x))?;
    let (tapes, last) = match trained {
        true => blocks::record(&mut graph, parameters.blocks(), shape, x)?,
        false => {
            blocks::infer(&mut graph, parameters.blocks(), shape, &x)?;
            (Vec::new(), x)
        }
    };
    let input = NormRows {
        x: last,
        rows: Some(rows.clone()),
        count: size.texts,
        width: text.width,
    };
    let projection = &parameters.all[PROJECTION];
    let head = Head::forward(&mut graph, parameters.ln_final(), projection, input)?;
    let (features, forward) = (head.features.clone(), graph.take());
    let training = match trained {
        true => {
            let d_features = graph.full(features.len())?;
            let d = graph.full(shape.attention.rows() * text.width)?;
            head.backward(
                &mut graph,
                parameters.ln_final(),
                projection,
                &d_features,
                &d,
            )?;
            blocks::backward(&mut graph, parameters.blocks(), shape, &tapes, &d)?;
            Some(embedding_backward(
                graph,
                config,
                &parameters,
                size,
                (d_features, d),
            )?)
        }
        false => None,
    };
    Ok(TextGraph {
        ids,
        rows,
        features,
        forward,
        training,
    })
}

fn embed<B: DeviceBuffer, A: Allocate<B>>(
    graph: &mut Graph<'_, B, A>,
    config: &ModelConfig,
    parameters: &TextParameters<'_, B>,
    size: TextBatchSize,
    (ids, x): (&B, &B),
) -> Result<(), DeviceError> {
    let (context, width) = (config.text.context_length, config.text.width);
    let mean = match parameters.prompts() {
        Some(prompts) => Some(mean_prompt(graph, prompts, context * width)?),
        None => None,
    };
    for part in &parameters.all[TOKENS].parts {
        graph.push(Op::EmbedTokens {
            table: part.value.clone(),
            first: part.offset / width,
            rows: part.len / width,
            ids: ids.clone(),
            positions: parameters.all[POSITIONS].value(),
            prompts: parameters.prompts().map(Parameter::value),
            mean: mean.clone(),
            out: x.clone(),
            texts: size.texts,
            length: size.length,
            context,
            width,
        });
    }
    Ok(())
}

/// Adds the mean of the prompts, which changes with them.
fn mean_prompt<B: DeviceBuffer, A: Allocate<B>>(
    graph: &mut Graph<'_, B, A>,
    prompts: &Parameter<B>,
    len: usize,
) -> Result<B, DeviceError> {
    let count = prompts.shape[0];
    let mean = graph.full(len)?;
    let partial = graph.full(partial_sums(count) * len)?;
    graph.push(Op::ColumnSums {
        x: prompts.value(),
        offset: 0,
        stride: len,
        count,
        width: len,
        scale: 1.0 / count.max(1) as f64,
        accumulate: false,
        partial,
        out: mean.clone(),
    });
    Ok(mean)
}

fn embedding_backward<B: DeviceBuffer, A: Allocate<B>>(
    mut graph: Graph<'_, B, A>,
    config: &ModelConfig,
    parameters: &TextParameters<'_, B>,
    size: TextBatchSize,
    (d_features, d): (B, B),
) -> Result<TextTraining<B>, DeviceError> {
    let width = config.text.width;
    let (count, stride) = (size.texts * size.length, size.length * width);
    let prompts = parameters.prompt_count();
    let partial = graph.full(partial_sums(size.texts) * stride)?;
    // The number of lists, their starts, their targets, and one entry for each row.
    let token_lists = graph.index(2 + 2 * count + count)?;
    // A text with the mean prompt is in the lists of all prompts.
    let prompt_lists = graph.index(2 + 2 * prompts + prompts * size.texts)?;
    if let Some(out) = parameters.all[POSITIONS].gradient() {
        graph.sum_rows(&d, (size.texts, stride, stride), &partial, &out);
    }
    for part in &parameters.all[TOKENS].parts {
        let Some(trained) = &part.trained else {
            continue;
        };
        graph.push(Op::ScatterRows {
            x: d.clone(),
            count,
            lists: token_lists.clone(),
            targets: count,
            out: trained.gradient.clone(),
            first: part.offset / width,
            rows: part.len / width,
            width,
            stride: width,
            scale: 1.0,
        });
    }
    if let Some(out) = parameters.prompts().and_then(Parameter::gradient) {
        graph.push(Op::ScatterRows {
            x: d,
            count: size.texts,
            lists: prompt_lists.clone(),
            targets: prompts,
            out,
            first: 0,
            rows: prompts,
            width: stride,
            stride: config.text.context_length * width,
            scale: 1.0 / prompts.max(1) as f64,
        });
    }
    Ok(TextTraining {
        graph: TrainingGraph {
            d_features,
            backward: graph.take(),
        },
        token_lists,
        prompt_lists,
    })
}
