use std::ops::Range;

use rayon::prelude::*;

use clipn_model::{
    FeatureMatrix, ImageBatch, ModelError, PatchGrid, TrainableImageTower, VisionParams,
    add_positional_embedding_gradient, check_length, patch_grid, positional_embedding_for,
};

use super::tower::{TARGET_CHUNK_POSITIONS, VisionTransformer, unfold};
use crate::block::{ChunkTape, Scratch};
use crate::chunks::{SCRATCH, par_map_chunks};
use crate::kernels::{Matrix, NormGradient, add, layer_norm_backward};
use crate::weight_gradient::{WeightGradientTerm, accumulate_weight_gradients};

/// Tape of a forward pass of a [`VisionTransformer`], from which its backward pass computes gradients.
///
/// It holds about ten f32 values per position, block and unit of width.
#[derive(Debug)]
pub struct VisionTape {
    chunks: Vec<VisionChunk>,
    images: usize,
    /// Grid of patches: rows and columns.
    grid: PatchGrid,
}

#[derive(Debug)]
struct VisionChunk {
    /// `[images · patches, 3·patch²]`.
    patches: Vec<f32>,
    /// Input of ln_pre, `[images · (1 + patches), width]`.
    embedded: Vec<f32>,
    blocks: ChunkTape,
}

/// Gradients of one chunk between ln_pre and the patches.
struct EmbeddingGradients {
    /// Gradient of the embedded patches without class tokens, `[images · patches, width]`.
    d_patches: Vec<f32>,
    /// Gradient of the positions, summed over the images, `[1 + patches, width]`.
    d_positions: Vec<f32>,
    /// Gradients of ln_pre, `[width]` each.
    d_weight: Vec<f32>,
    d_bias: Vec<f32>,
}

impl VisionTransformer {
    fn embedding_backward(
        &self,
        embedded: &[f32],
        mut d: Vec<f32>,
        positions: usize,
    ) -> EmbeddingGradients {
        let width = self.config.width;
        let (mut d_weight, mut d_bias) = (vec![0.0; width], vec![0.0; width]);
        let mut d_embedded = vec![0.0; embedded.len()];
        let gradient = NormGradient {
            weight: &mut d_weight,
            bias: &mut d_bias,
        };
        layer_norm_backward(
            &mut d_embedded,
            &mut d,
            embedded,
            &self.params.ln_pre,
            gradient,
        );
        let mut d_positions = vec![0.0; positions];
        let mut d_patches = Vec::with_capacity(d_embedded.len());
        for image in d_embedded.chunks_exact(positions) {
            add(&mut d_positions, image);
            d_patches.extend_from_slice(&image[width..]);
        }
        EmbeddingGradients {
            d_patches,
            d_positions,
            d_weight,
            d_bias,
        }
    }
}

impl TrainableImageTower<f32> for VisionTransformer {
    type Tape = VisionTape;

    fn forward(
        &self,
        images: ImageBatch<'_, f32>,
    ) -> Result<(FeatureMatrix<f32>, VisionTape), ModelError> {
        let grid = patch_grid(&images, &self.config)?;
        let positions =
            positional_embedding_for(&self.params.positional_embedding, &self.config, grid);
        let lengths = vec![positions.len() / self.config.width; images.len()];
        let mut values = vec![0.0; images.len() * self.embed_dim];
        let record =
            |scratch: &mut Scratch, range: Range<usize>, out: &mut [f32], threads: usize| {
                let patches = unfold(&images, range.clone(), self.config.patch_size);
                let embedded = self.embed(&patches, &positions, threads);
                let sequences = self.sequences(range.len(), &positions);
                let blocks = self.transformer().record(
                    self.apply_ln_pre(&embedded),
                    sequences,
                    scratch,
                    threads,
                );
                self.head().project(out, &blocks.pooled, threads);
                VisionChunk {
                    patches,
                    embedded,
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
            VisionTape {
                chunks,
                images: images.len(),
                grid,
            },
        ))
    }

    fn backward(
        &self,
        tape: VisionTape,
        d_features: &[f32],
        gradient: &mut VisionParams<f32>,
    ) -> Result<(), ModelError> {
        let VisionTape {
            chunks,
            images,
            grid,
        } = tape;
        check_length(
            "the feature gradient",
            d_features.len(),
            images * self.embed_dim,
        )?;
        self.params.check_gradient(gradient)?;
        let (inputs, tapes): (Vec<_>, Vec<_>) = chunks
            .into_iter()
            .map(|chunk| ((chunk.patches, chunk.embedded), chunk.blocks))
            .unzip();
        let d_pooled = self.head().backward(
            &tapes,
            d_features,
            &mut gradient.ln_post,
            &mut gradient.proj,
        );
        let tapes = tapes.into_iter().zip(d_pooled).collect();
        let d_x = self.transformer().backward(tapes, &mut gradient.blocks);

        let (width, inner) = (
            self.config.width,
            self.params.conv1.len() / self.config.width,
        );
        let positions = (1 + grid.len()) * width;
        let done: Vec<EmbeddingGradients> = inputs
            .par_iter()
            .zip(d_x)
            .map(|((_, embedded), d)| self.embedding_backward(embedded, d, positions))
            .collect();
        let terms = done
            .iter()
            .zip(&inputs)
            .map(|(done, (patches, _))| WeightGradientTerm {
                d_out: Matrix::row_major(&done.d_patches, width),
                input: Matrix::row_major(patches, inner),
            });
        accumulate_weight_gradients(vec![(gradient.conv1.make_mut(), terms.collect())]);
        let mut d_positions = vec![0.0; positions];
        for chunk in &done {
            add(gradient.ln_pre.weight.make_mut(), &chunk.d_weight);
            add(gradient.ln_pre.bias.make_mut(), &chunk.d_bias);
            add(&mut d_positions, &chunk.d_positions);
        }
        let (d_class, d_stored) = (
            gradient.class_embedding.make_mut(),
            gradient.positional_embedding.make_mut(),
        );
        add_positional_embedding_gradient(d_class, d_stored, &d_positions, &self.config, grid);
        Ok(())
    }

    fn params(&self) -> &VisionParams<f32> {
        &self.params
    }

    fn params_mut(&mut self) -> &mut VisionParams<f32> {
        self.packed = None;
        &mut self.params
    }
}
