use std::cell::RefCell;
use std::ops::Range;

use clipn_checkpoint::{Buffer, CheckpointError};
use clipn_model::{
    AttentionPoolParams, FeatureMatrix, ImageBatch, ImageTower, LocalFeatures, ModelConfig,
    ModelError, ModelWeights, PatchGrid, ResNetParams, STAGES, VisionConfig,
    positional_embedding_for,
};

use super::block::{Bottleneck, Scratch, run_stage};
use super::conv::{Conv, average_pool};
use super::grid::{MapSize, last_grid};
use super::pool::AttentionPool;
use crate::chunks::par_map_chunks;
use crate::vision::join_images_and_patches;

/// Intended number of positions of last feature maps per chunk of images: 8 images of RN50, or 2 of
/// RN50x64.
const TARGET_CHUNK_POSITIONS: usize = 400;

/// Number of leading stages that run image by image, because their feature maps are large. The
/// other stages run over a whole chunk, because their weights are large.
const PER_IMAGE_STAGES: usize = 2;

thread_local! {
    /// Per-thread buffers for the stages.
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

/// CLIP's ResNet image tower (open_clip's `ModifiedResNet`) in f32, for inference.
#[derive(Debug, Clone)]
pub struct ResNetTower {
    config: VisionConfig,
    embed_dim: usize,
    stem: [Conv; 3],
    stages: [Vec<Bottleneck>; STAGES],
    attnpool: AttentionPoolParams<f32>,
}

impl ResNetTower {
    /// Creates a tower from a config and its parameters.
    ///
    /// Folds the batch norms into the convolutions, which copies the convolution weights. The
    /// weights of the attention pooling are shared with `params`.
    pub fn new(config: &ModelConfig, params: &ResNetParams<f32>) -> Self {
        let stage = |blocks: &Vec<_>| blocks.iter().map(Bottleneck::new).collect();
        Self {
            config: config.vision.clone(),
            embed_dim: config.embed_dim,
            stem: params.stem.each_ref().map(Conv::new),
            stages: params.stages.each_ref().map(stage),
            attnpool: params.attnpool.clone(),
        }
    }

    /// Creates the tower of loaded weights.
    ///
    /// # Errors
    ///
    /// Returns an error if the image tower of the weights is a ViT.
    pub fn from_weights(weights: &ModelWeights) -> Result<Self, ModelError> {
        Ok(Self::new(weights.config(), &weights.resnet_params()?))
    }

    /// Checks that the file of the attention pooling was not changed in place.
    fn check_unchanged(&self) -> Result<(), CheckpointError> {
        Ok(Buffer::check_all(self.attnpool.buffers())?)
    }

    /// Computes the last feature maps of some images, `[images, positions, width]`, into
    /// `scratch.x`.
    fn last_maps(
        &self,
        scratch: &mut Scratch,
        images: &ImageBatch<'_, f32>,
        which: Range<usize>,
        threads: usize,
    ) {
        let (single, chunked) = self.stages.split_at(PER_IMAGE_STAGES);
        scratch.maps.clear();
        let mut size = MapSize {
            height: 0,
            width: 0,
        };
        for index in which {
            size = self.stem(scratch, images, index, threads);
            for (stage, blocks) in single.iter().enumerate() {
                size = run_stage(blocks, scratch, size, stage > 0, threads);
            }
            scratch.maps.extend_from_slice(&scratch.x);
        }
        std::mem::swap(&mut scratch.x, &mut scratch.maps);
        for blocks in chunked {
            size = run_stage(blocks, scratch, size, true, threads);
        }
    }

    /// Computes features of images `[N, D]`, or of each image and the positions of its last map,
    /// `[N·(1 + P), D]`.
    fn encode_rows(
        &self,
        images: &ImageBatch<'_, f32>,
        with_positions: bool,
    ) -> Result<(Vec<f32>, PatchGrid), ModelError> {
        self.check_unchanged()?;
        let grid = last_grid(images)?;
        let positions =
            positional_embedding_for(&self.attnpool.positional_embedding, &self.config, grid);
        let pool = AttentionPool {
            params: &self.attnpool,
            heads: self.config.heads,
            positions: &positions,
        };
        let lengths = vec![grid.len(); images.len()];
        let rows = if with_positions { 1 + grid.len() } else { 1 };
        let mut values = vec![0.0; images.len() * rows * self.embed_dim];
        let encode =
            |scratch: &mut Scratch, range: Range<usize>, out: &mut [f32], threads: usize| {
                self.last_maps(scratch, images, range.clone(), threads);
                if !with_positions {
                    pool.run(out, &scratch.x, threads);
                    return;
                }
                let mut features = vec![0.0; range.len() * self.embed_dim];
                pool.run(&mut features, &scratch.x, threads);
                let local = pool.values(&scratch.x, threads);
                join_images_and_patches(out, &features, &local, self.embed_dim);
            };
        par_map_chunks(
            &lengths,
            TARGET_CHUNK_POSITIONS,
            rows * self.embed_dim,
            &mut values,
            &SCRATCH,
            encode,
        );
        // What was computed before a change is right, and what came after it is not.
        self.check_unchanged()?;
        Ok((values, grid))
    }

    /// Runs the stem on one image, into `scratch.x`, and returns the size of the result.
    fn stem(
        &self,
        scratch: &mut Scratch,
        images: &ImageBatch<'_, f32>,
        index: usize,
        threads: usize,
    ) -> MapSize {
        let size = MapSize {
            height: images.height(),
            width: images.width(),
        };
        let Scratch { x, y, columns, .. } = scratch;
        let [conv1, conv2, conv3] = &self.stem;
        let planes = &images.pixels()[index * images.image_len()..][..images.image_len()];
        interleave(x, planes);
        conv1.conv3x3(y, x, size, 2, columns, threads);
        let size = size.strided();
        conv2.conv3x3(x, y, size, 1, columns, threads);
        conv3.conv3x3(y, x, size, 1, columns, threads);
        average_pool(x, y, size, conv3.out());
        size.halved()
    }
}

/// Converts one image from planar RGB, `[3, H, W]`, to interleaved RGB, `[H, W, 3]`.
fn interleave(out: &mut Vec<f32>, planes: &[f32]) {
    let area = planes.len() / 3;
    let (red, rest) = planes.split_at(area);
    let (green, blue) = rest.split_at(area);
    out.clear();
    out.extend(
        red.iter()
            .zip(green)
            .zip(blue)
            .flat_map(|((&r, &g), &b)| [r, g, b]),
    );
}

impl ImageTower<f32> for ResNetTower {
    fn embed_dim(&self) -> usize {
        self.embed_dim
    }

    fn image_size(&self) -> usize {
        self.config.image_size
    }

    fn encode(&self, images: ImageBatch<'_, f32>) -> Result<FeatureMatrix<f32>, ModelError> {
        let (values, _) = self.encode_rows(&images, false)?;
        Ok(FeatureMatrix::new(values, self.embed_dim))
    }

    fn has_local_features(&self) -> bool {
        true
    }

    fn encode_local(&self, images: ImageBatch<'_, f32>) -> Result<LocalFeatures<f32>, ModelError> {
        let (values, grid) = self.encode_rows(&images, true)?;
        Ok(LocalFeatures::from_rows(&values, self.embed_dim, grid))
    }
}
