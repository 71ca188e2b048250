use std::ops::Range;

use clipn_model::{
    FeatureMatrix, ModelError, PromptSelection, TextGradient, TextParams, TrainableTextTower,
    check_length, check_tokens,
};
use clipn_text::tokenizer::TokenBatch;

use super::prompts::{PromptTables, add_position_gradients};
use super::tower::{TARGET_CHUNK_POSITIONS, TextTransformer, truncate_at_end_of_text};
use crate::block::{ChunkTape, Scratch, Sequence};
use crate::chunks::{SCRATCH, par_map_chunks};

/// Tape of a forward pass of a [`TextTransformer`], from which its backward pass computes
/// gradients.
///
/// It holds about ten f32 values per position (without padding), block and unit of width.
#[derive(Debug)]
pub struct TextTape {
    chunks: Vec<TextChunk>,
    prompts: Vec<PromptSelection>,
}

#[derive(Debug)]
struct TextChunk {
    /// Token ids of all rows, text by text.
    ids: Vec<u32>,
    blocks: ChunkTape,
}

impl TrainableTextTower<f32> for TextTransformer {
    type Tape = TextTape;

    fn forward(
        &self,
        tokens: &TokenBatch,
        prompts: &[PromptSelection],
    ) -> Result<(FeatureMatrix<f32>, TextTape), ModelError> {
        check_tokens(tokens, &self.config)?;
        let tables = PromptTables::new(&self.params, &self.config, prompts, tokens.len())?;
        let (texts, lengths) = truncate_at_end_of_text(tokens);
        let mut values = vec![0.0; texts.len() * self.embed_dim];
        let record =
            |scratch: &mut Scratch, range: Range<usize>, out: &mut [f32], threads: usize| {
                let texts = &texts[range.clone()];
                let width = self.config.width;
                let rows = texts.iter().enumerate().flat_map(|(text, ids)| {
                    ids.iter()
                        .copied()
                        .zip(tables.for_text(range.start + text).chunks_exact(width))
                });
                let (x, sequences) = (self.embed(rows), concatenated(texts));
                let blocks = self.transformer().record(x, sequences, scratch, threads);
                self.head().project(out, &blocks.pooled, threads);
                TextChunk {
                    ids: texts.concat(),
                    blocks,
                }
            };
        let chunks = par_map_chunks(
            &lengths,
            TARGET_CHUNK_POSITIONS,
            self.embed_dim,
            &mut values,
            &SCRATCH,
            record,
        );
        Ok((
            FeatureMatrix::new(values, self.embed_dim),
            TextTape {
                chunks,
                prompts: prompts.to_vec(),
            },
        ))
    }

    fn backward(
        &self,
        tape: TextTape,
        d_features: &[f32],
        gradient: &mut TextGradient<f32>,
    ) -> Result<(), ModelError> {
        let TextTape { chunks, prompts } = tape;
        check_length(
            "the feature gradient",
            d_features.len(),
            prompts.len() * self.embed_dim,
        )?;
        gradient.check_shapes(&self.params)?;
        let dense = &mut gradient.others;
        let (ids, tapes): (Vec<_>, Vec<_>) = chunks
            .into_iter()
            .map(|chunk| (chunk.ids, chunk.blocks))
            .unzip();
        let d_pooled = self.head().backward(
            &tapes,
            d_features,
            &mut dense.ln_final,
            &mut dense.projection,
        );
        let sequences: Vec<Vec<Sequence>> =
            tapes.iter().map(|tape| tape.sequences.clone()).collect();
        let d_x = self
            .transformer()
            .backward(tapes.into_iter().zip(d_pooled).collect(), &mut dense.blocks);

        let width = self.config.width;
        let rows = d_x.iter().flat_map(|d| d.chunks_exact(width));
        for (id, d) in ids.into_iter().flatten().zip(rows) {
            gradient.token_embedding.add(id, d);
        }
        let texts = d_x.iter().zip(&sequences).flat_map(|(d, sequences)| {
            sequences
                .iter()
                .map(|s| &d[s.start * width..][..s.length * width])
        });
        add_position_gradients(dense, texts.zip(prompts));
        Ok(())
    }

    fn params(&self) -> &TextParams<f32> {
        &self.params
    }

    fn params_mut(&mut self) -> &mut TextParams<f32> {
        self.packed_blocks = None;
        &mut self.params
    }
}

/// Returns the rows of concatenated texts without shared prefixes.
fn concatenated(texts: &[&[u32]]) -> Vec<Sequence> {
    let mut start = 0;
    let mut sequence = |ids: &&[u32]| {
        let first = start;
        start += ids.len();
        Sequence {
            start: first,
            length: ids.len(),
            prefix: Vec::new(),
            pooled: start - 1,
        }
    };
    texts.iter().map(&mut sequence).collect()
}
