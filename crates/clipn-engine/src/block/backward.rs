use rayon::prelude::*;

use clipn_model::BlockParams;

use super::chunk::ChunkGradients;
use super::forward::Transformer;
use super::tape::ChunkTape;
use crate::kernels::Matrix;
use crate::weight_gradient::{WeightGradientTerm, accumulate_weight_gradients};

impl Transformer<'_> {
    /// Propagates the gradient of the pooled rows, `[sequences, width]` per chunk, back through all
    /// blocks.
    ///
    /// Adds the gradients of the parameters to `gradient`, and returns the gradient of each chunk's
    /// input, `[rows, width]`.
    ///
    /// In each block, the threads first split the chunks, to compute the gradients of the
    /// activations. Then they split the rows of the weights; each row is summed over all
    /// chunks in order. Thus no thread needs a gradient of its own, and the result does not depend
    /// on how the work is scheduled.
    pub(crate) fn backward(
        &self,
        tapes: Vec<(ChunkTape, Vec<f32>)>,
        gradient: &mut [BlockParams<f32>],
    ) -> Vec<Vec<f32>> {
        let threads = (rayon::current_num_threads() / tapes.len().max(1)).max(1);
        let mut chunks: Vec<ChunkGradients> = tapes
            .into_iter()
            .map(|(tape, d)| ChunkGradients::new(tape, d))
            .collect();
        let blocks = self.blocks.iter().zip(gradient).rev();
        if self.blocks.is_empty() {
            chunks.par_iter_mut().for_each(|chunk| self.scatter(chunk));
        }
        for (index, (params, gradient)) in blocks.enumerate() {
            // The blocks run in reverse order.
            let is_last = index == 0;
            chunks.par_iter_mut().with_max_len(1).for_each(|chunk| {
                if is_last {
                    chunk.last_block_backward(self, params, threads);
                } else {
                    chunk.block_backward(self, params, threads);
                }
            });
            if is_last {
                self.add_last_weights(&chunks, gradient);
            } else {
                self.add_block_weights(&chunks, gradient);
            }
            for chunk in &mut chunks {
                chunk.vector_gradients.add_to(gradient);
                chunk.move_to_previous_block();
            }
        }
        chunks.into_iter().map(|chunk| chunk.d_out).collect()
    }

    /// Computes the gradient for a tower without blocks: that of the pooled rows, and zero
    /// elsewhere.
    fn scatter(&self, chunk: &mut ChunkGradients) {
        let width = self.width;
        let rows = chunk
            .tape
            .sequences
            .last()
            .map_or(0, |s| s.start + s.length);
        let mut d_x = vec![0.0; rows * width];
        for (sequence, d) in chunk
            .tape
            .sequences
            .iter()
            .zip(chunk.d_out.chunks_exact(width))
        {
            d_x[sequence.pooled * width..][..width].copy_from_slice(d);
        }
        chunk.d_out = d_x;
    }

    fn add_block_weights(&self, chunks: &[ChunkGradients], gradient: &mut BlockParams<f32>) {
        let width = self.width;
        let hidden_width = gradient.c_fc.bias.len();
        let with_block = || {
            chunks
                .iter()
                .filter_map(|c| c.block.as_ref().map(|block| (c, block)))
        };
        accumulate_weight_gradients(vec![
            (
                gradient.c_fc.weight.make_mut(),
                chunks
                    .iter()
                    .map(|c| {
                        term(
                            Matrix::row_major(&c.d_hidden, hidden_width),
                            Matrix::row_major(&c.normed_2, width),
                        )
                    })
                    .collect(),
            ),
            (
                gradient.c_proj.weight.make_mut(),
                with_block()
                    .map(|(c, block)| {
                        term(
                            Matrix::row_major(&c.d_out, width),
                            Matrix::row_major(&block.hidden, hidden_width),
                        )
                    })
                    .collect(),
            ),
            (
                gradient.in_proj.weight.make_mut(),
                chunks
                    .iter()
                    .map(|c| {
                        term(
                            Matrix::row_major(&c.d_qkv, 3 * width),
                            Matrix::row_major(&c.normed_1, width),
                        )
                    })
                    .collect(),
            ),
            (
                gradient.out_proj.weight.make_mut(),
                with_block()
                    .map(|(c, block)| {
                        term(
                            Matrix::row_major(&c.d_after_attention, width),
                            Matrix::row_major(&block.attention_output, width),
                        )
                    })
                    .collect(),
            ),
        ]);
    }

    fn add_last_weights(&self, chunks: &[ChunkGradients], gradient: &mut BlockParams<f32>) {
        let width = self.width;
        let hidden_width = gradient.c_fc.bias.len();
        let with_last = || {
            chunks
                .iter()
                .filter_map(|c| c.tape.last.as_ref().map(|last| (c, last)))
        };
        let (queries, kv) = gradient
            .in_proj
            .weight
            .make_mut()
            .split_at_mut(width * width);
        accumulate_weight_gradients(vec![
            (
                kv,
                chunks
                    .iter()
                    .map(|c| {
                        term(
                            Matrix::row_major(&c.d_qkv, 2 * width),
                            Matrix::row_major(&c.normed_1, width),
                        )
                    })
                    .collect(),
            ),
            (
                queries,
                chunks
                    .iter()
                    .map(|c| {
                        term(
                            Matrix::row_major(&c.d_queries, width),
                            Matrix::row_major(&c.normed_pooled, width),
                        )
                    })
                    .collect(),
            ),
            (
                gradient.c_fc.weight.make_mut(),
                chunks
                    .iter()
                    .map(|c| {
                        term(
                            Matrix::row_major(&c.d_hidden, hidden_width),
                            Matrix::row_major(&c.normed_2, width),
                        )
                    })
                    .collect(),
            ),
            (
                gradient.c_proj.weight.make_mut(),
                with_last()
                    .map(|(c, last)| {
                        term(
                            Matrix::row_major(&c.d_out, width),
                            Matrix::row_major(&last.hidden, hidden_width),
                        )
                    })
                    .collect(),
            ),
            (
                gradient.out_proj.weight.make_mut(),
                with_last()
                    .map(|(c, last)| {
                        term(
                            Matrix::row_major(&c.d_after_attention, width),
                            Matrix::row_major(&last.attention_output, width),
                        )
                    })
                    .collect(),
            ),
        ]);
    }
}

/// Builds the operands of a weight gradient from the gradient of a layer's output and its input.
fn term<'a>(d_out: Matrix<'a>, input: Matrix<'a>) -> WeightGradientTerm<'a> {
    WeightGradientTerm { d_out, input }
}
