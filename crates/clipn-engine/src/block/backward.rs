use rayon::prelude::*;

use super::chunk::Chunk;
use super::forward::Transformer;
use super::tape::ChunkTape;
use crate::kernels::Matrix;
use crate::weight_gradient::{WeightGradientTerm, accumulate_weight_gradients};
use clipn_model::BlockParams;

impl Transformer<'_> {
    /// Propagates the gradient of the pooled rows, `[sequences, width]` per chunk, back through all
    /// blocks.
    ///
    /// Adds the gradients of the parameters to `gradient`, and returns the gradient of each chunk's
    /// input, `[rows, width]`.
    ///
    /// In each block, the threads first split the chunks, to compute the gradients of the
    /// activations. Then they split the rows of the weights, each of which is summed over all
    /// chunks in order. Thus no thread needs a gradient of its own, and the result does not depend
    /// on how the work is scheduled.
    pub fn backward(
        &self,
        tapes: Vec<(ChunkTape, Vec<f32>)>,
        gradient: &mut [BlockParams<f32>],
    ) -> Vec<Vec<f32>> {
        let threads = (rayon::current_num_threads() / tapes.len().max(1)).max(1);
        let mut chunks: Vec<Chunk> = tapes
            .into_iter()
            .map(|(tape, d)| Chunk::new(tape, d))
            .collect();
        let blocks = self.blocks.iter().zip(gradient).rev();
        if self.blocks.is_empty() {
            chunks.par_iter_mut().for_each(|chunk| self.scatter(chunk));
        }
        for (index, (params, gradient)) in blocks.enumerate() {
            chunks
                .par_iter_mut()
                .with_max_len(1)
                .for_each(|chunk| match index {
                    0 => chunk.last_block_backward(self, params, threads),
                    _ => chunk.block_backward(self, params, threads),
                });
            match index {
                0 => self.add_last_weights(&chunks, gradient),
                _ => self.add_block_weights(&chunks, gradient),
            }
            for chunk in &mut chunks {
                chunk.sums.add_to(gradient);
                chunk.step();
            }
        }
        chunks.into_iter().map(|chunk| chunk.d_out).collect()
    }

    /// Computes the gradient for a tower without blocks: that of the pooled rows, and zero
    /// elsewhere.
    fn scatter(&self, chunk: &mut Chunk) {
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

    fn add_block_weights(&self, chunks: &[Chunk], gradient: &mut BlockParams<f32>) {
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
                    .map(|c| factors((&c.d_hidden, hidden_width), (&c.normed_2, width)))
                    .collect(),
            ),
            (
                gradient.c_proj.weight.make_mut(),
                with_block()
                    .map(|(c, block)| factors((&c.d_out, width), (&block.hidden, hidden_width)))
                    .collect(),
            ),
            (
                gradient.in_proj.weight.make_mut(),
                chunks
                    .iter()
                    .map(|c| factors((&c.d_qkv, 3 * width), (&c.normed_1, width)))
                    .collect(),
            ),
            (
                gradient.out_proj.weight.make_mut(),
                with_block()
                    .map(|(c, block)| factors((&c.d_middle, width), (&block.attended, width)))
                    .collect(),
            ),
        ]);
    }

    fn add_last_weights(&self, chunks: &[Chunk], gradient: &mut BlockParams<f32>) {
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
                    .map(|c| factors((&c.d_qkv, 2 * width), (&c.normed_1, width)))
                    .collect(),
            ),
            (
                queries,
                chunks
                    .iter()
                    .map(|c| factors((&c.d_queries, width), (&c.normed_pooled, width)))
                    .collect(),
            ),
            (
                gradient.c_fc.weight.make_mut(),
                chunks
                    .iter()
                    .map(|c| factors((&c.d_hidden, hidden_width), (&c.normed_2, width)))
                    .collect(),
            ),
            (
                gradient.c_proj.weight.make_mut(),
                with_last()
                    .map(|(c, last)| factors((&c.d_out, width), (&last.hidden, hidden_width)))
                    .collect(),
            ),
            (
                gradient.out_proj.weight.make_mut(),
                with_last()
                    .map(|(c, last)| factors((&c.d_middle, width), (&last.attended, width)))
                    .collect(),
            ),
        ]);
    }
}

/// Builds the two operands of a weight gradient from pairs of values and their number of columns.
fn factors<'a>(d_out: (&'a [f32], usize), input: (&'a [f32], usize)) -> WeightGradientTerm<'a> {
    WeightGradientTerm {
        d_out: Matrix::row_major(d_out.0, d_out.1),
        input: Matrix::row_major(input.0, input.1),
    }
}
