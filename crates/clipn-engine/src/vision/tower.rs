use std::ops::Range;

use clipn_checkpoint::{Buffer, CheckpointError};
use clipn_model::{
    Activation, FeatureMatrix, ImageBatch, ImageTower, LocalFeatures, ModelConfig, ModelError,
    ModelWeights, PatchGrid, Precision, VisionConfig, VisionParams, patch_grid,
    positional_embedding_for,
};

use crate::block::{
    PackedBlock, PackedLinear, Scratch, Sequence, Transformer, UnpackedWeights, pack_blocks,
    quantize_blocks,
};
use crate::chunks::{SCRATCH, par_map_chunks};
use crate::head::Head;
use crate::kernels::{Epilogue, Matrix, MatrixMut, add_bias, gemm, layer_norm};
use crate::vision::join_images_and_patches;

/// Intended number of positions per chunk of images: 8 images of ViT-B-32, or 2 of ViT-B-16. Twice as many are no
/// faster, and take twice the memory in every thread.
pub(super) const TARGET_CHUNK_POSITIONS: usize = 400;

/// CLIP's ViT image tower in f32, for training and inference.
///
/// For inference only, [`VisionEncoder`] is faster.
#[derive(Debug, Clone)]
pub struct VisionTransformer {
    pub(super) config: VisionConfig,
    activation: Activation,
    pub(super) embed_dim: usize,
    pub(super) params: VisionParams<f32>,
    /// Packed weights, see [`VisionTransformer::with_packed_weights`].
    pub(super) packed: Option<PackedVision>,
}

/// Packed weights of an image tower.
#[derive(Debug, Clone)]
pub(super) struct PackedVision {
    blocks: Vec<PackedBlock>,
    patch_embedding: PackedLinear,
}

impl VisionTransformer {
    /// Creates a tower from a config and its parameters.
    pub fn new(config: &ModelConfig, params: VisionParams<f32>) -> Self {
        Self {
            config: config.vision.clone(),
            activation: config.activation,
            embed_dim: config.embed_dim,
            params,
            packed: None,
        }
    }

    /// Creates the tower of loaded weights.
    pub fn from_weights(weights: &ModelWeights) -> Self {
        Self::new(weights.config(), weights.vision_params())
    }

    /// Packs the weights for matrix products once instead of in each product, which is faster as
    /// long as they do not change.
    ///
    /// The unpacked weights stay in memory. Mutable access to the parameters drops the packed ones.
    #[must_use]
    pub fn with_packed_weights(mut self) -> Self {
        self.pack(UnpackedWeights::Keep);
        self
    }

    fn pack(&mut self, unpacked: UnpackedWeights) {
        let blocks = pack_blocks(&mut self.params.blocks, unpacked);
        self.set_packed(blocks, unpacked, Precision::F32);
    }

    fn set_packed(
        &mut self,
        blocks: Vec<PackedBlock>,
        unpacked: UnpackedWeights,
        precision: Precision,
    ) {
        let conv1 = &mut self.params.conv1;
        let patch_embedding = PackedLinear::pack(conv1, self.config.patch_len(), precision);
        conv1.release();
        if unpacked == UnpackedWeights::Drop {
            *conv1 = Buffer::default();
        }
        self.packed = Some(PackedVision {
            blocks,
            patch_embedding,
        });
    }

    /// Checks that the files of mapped parameters were not changed in place.
    fn check_unchanged(&self) -> Result<(), CheckpointError> {
        Ok(Buffer::check_all(self.params.buffers())?)
    }

    pub(super) fn transformer(&self) -> Transformer<'_> {
        Transformer {
            blocks: &self.params.blocks,
            packed_blocks: self.packed.as_ref().map(|packed| &packed.blocks[..]),
            width: self.config.width,
            heads: self.config.heads,
            activation: self.activation,
            causal: false,
        }
    }

    pub(super) fn head(&self) -> Head<'_> {
        Head {
            norm: &self.params.ln_post,
            projection: &self.params.proj,
            dim: self.embed_dim,
        }
    }

    /// Embeds patches, `[images · patches, 3·patch²]`, and adds class tokens and positional
    /// embeddings. Returns the input of ln_pre, `[images · (1 + patches), width]`.
    pub(super) fn embed(&self, patches: &[f32], positions: &[f32], threads: usize) -> Vec<f32> {
        let width = self.config.width;
        let inner = self.config.patch_len();
        let per_image = positions.len() / width;
        let mut embedded = vec![0.0; patches.len() / inner * width];
        match &self.packed {
            Some(packed) => packed
                .patch_embedding
                .multiply(&mut embedded, patches, threads),
            None => gemm(
                MatrixMut::row_major(&mut embedded, width),
                Matrix::row_major(patches, inner),
                Matrix::row_major(&self.params.conv1, inner).transposed(),
                Epilogue::default(),
                threads,
            ),
        }
        let images = embedded.chunks_exact((per_image - 1) * width);
        let mut x = Vec::with_capacity(images.len() * positions.len());
        for image in images {
            let start = x.len();
            x.extend_from_slice(&self.params.class_embedding);
            x.extend_from_slice(image);
            add_bias(&mut x[start..], positions);
        }
        x
    }

    /// Applies ln_pre, whose output is the input of the blocks.
    pub(super) fn apply_ln_pre(&self, x: &[f32]) -> Vec<f32> {
        let mut normed = vec![0.0; x.len()];
        layer_norm(&mut normed, x, &self.params.ln_pre);
        normed
    }

    /// Returns the row ranges of the images of a chunk.
    pub(super) fn sequences(&self, images: usize, positions: &[f32]) -> Vec<Sequence> {
        let length = positions.len() / self.config.width;
        let sequence = |start| Sequence {
            start,
            length,
            prefix: Vec::new(),
            pooled: start,
        };
        (0..images).map(|i| sequence(i * length)).collect()
    }

    /// Computes features of images `[N, D]`, or of each image and its patches, `[N·(1 + P), D]`.
    fn encode_rows(
        &self,
        images: &ImageBatch<'_, f32>,
        rows: Rows,
    ) -> Result<(Vec<f32>, PatchGrid), ModelError> {
        self.check_unchanged()?;
        let grid = patch_grid(images, &self.config)?;
        let positions =
            positional_embedding_for(&self.params.positional_embedding, &self.config, grid);
        let lengths = vec![positions.len() / self.config.width; images.len()];
        let rows_per_image = match rows {
            Rows::Images => 1,
            Rows::ImagesAndPatches => 1 + grid.len(),
        };
        let mut values = vec![0.0; images.len() * rows_per_image * self.embed_dim];
        let encode =
            |scratch: &mut Scratch, range: Range<usize>, out: &mut [f32], threads: usize| {
                let mut x = {
                    // As large as the images: freed before the blocks.
                    let patches = unfold(images, range.clone(), self.config.patch_size);
                    self.apply_ln_pre(&self.embed(&patches, &positions, threads))
                };
                let sequences = self.sequences(range.len(), &positions);
                let transformer = self.transformer();
                if rows == Rows::Images {
                    let pooled = transformer.run(&mut x, &sequences, scratch, threads);
                    self.head().project(out, &pooled, threads);
                    return;
                }
                let (pooled, patches) =
                    transformer.run_with_values(&mut x, &sequences, scratch, threads);
                let mut features = vec![0.0; range.len() * self.embed_dim];
                self.head().project(&mut features, &pooled, threads);
                let mut local = vec![0.0; features.len() * grid.len()];
                self.head().project(&mut local, &patches, threads);
                join_images_and_patches(out, &features, &local, self.embed_dim);
            };
        par_map_chunks(
            &lengths,
            TARGET_CHUNK_POSITIONS,
            rows_per_image * self.embed_dim,
            &mut values,
            &SCRATCH,
            encode,
        );
        // What was computed before a change is right, and what came after it is not.
        self.check_unchanged()?;
        Ok((values, grid))
    }
}

impl ImageTower<f32> for VisionTransformer {
    fn embed_dim(&self) -> usize {
        self.embed_dim
    }

    fn image_size(&self) -> usize {
        self.config.image_size
    }

    fn encode(&self, images: ImageBatch<'_, f32>) -> Result<FeatureMatrix<f32>, ModelError> {
        let (values, _) = self.encode_rows(&images, Rows::Images)?;
        Ok(FeatureMatrix::new(values, self.embed_dim))
    }

    fn has_local_features(&self) -> bool {
        true
    }

    fn encode_local(&self, images: ImageBatch<'_, f32>) -> Result<LocalFeatures<f32>, ModelError> {
        let (values, grid) = self.encode_rows(&images, Rows::ImagesAndPatches)?;
        Ok(LocalFeatures::from_rows(&values, self.embed_dim, grid))
    }
}

/// What features are computed of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rows {
    Images,
    ImagesAndPatches,
}

/// CLIP's ViT image tower for inference only: a [`VisionTransformer`] that holds its weights in packed
/// form only, in a [`Precision`].
///
/// The features of an image have the same bits whatever other images are in the batch.
#[derive(Debug, Clone)]
pub struct VisionEncoder {
    tower: VisionTransformer,
    precision: Precision,
}

impl VisionEncoder {
    /// Creates an encoder in f32 from a config and its parameters.
    pub fn new(config: &ModelConfig, params: VisionParams<f32>) -> Self {
        Self::with_precision(config, params, Precision::F32)
    }

    /// Creates an encoder from a config and its parameters.
    ///
    /// For [`Precision::Int8`], factors are moved between layer norms or attention and the weights
    /// after them, so that no channel needs a much larger range than the others, and the weights
    /// are quantized.
    pub fn with_precision(
        config: &ModelConfig,
        params: VisionParams<f32>,
        precision: Precision,
    ) -> Self {
        Self::build(config, params, precision, false)
    }

    /// Creates the encoder of loaded weights, in their [precision](ModelWeights::precision) if it is int8,
    /// else in f32. [`CpuFactory`](crate::CpuFactory) rejects weights in other precisions.
    pub fn from_weights(weights: &ModelWeights) -> Self {
        let (config, params) = (weights.config(), weights.vision_params());
        Self::build(config, params, weights.precision(), weights.is_quantized())
    }

    fn build(
        config: &ModelConfig,
        params: VisionParams<f32>,
        precision: Precision,
        are_balanced: bool,
    ) -> Self {
        let mut tower = VisionTransformer::new(config, params);
        let precision = match precision {
            Precision::Int8 => {
                let blocks = quantize_blocks(&mut tower.params.blocks, are_balanced);
                tower.set_packed(blocks, UnpackedWeights::Drop, precision);
                precision
            }
            _ => {
                tower.pack(UnpackedWeights::Drop);
                Precision::F32
            }
        };
        // What is left is small: without it, the encoder does not depend on its file.
        tower.params.buffers_mut().into_iter().for_each(Buffer::own);
        Self { tower, precision }
    }
}

impl ImageTower<f32> for VisionEncoder {
    fn embed_dim(&self) -> usize {
        self.tower.embed_dim()
    }

    fn image_size(&self) -> usize {
        self.tower.image_size()
    }

    fn precision(&self) -> Precision {
        self.precision
    }

    fn encode(&self, images: ImageBatch<'_, f32>) -> Result<FeatureMatrix<f32>, ModelError> {
        self.tower.encode(images)
    }

    fn has_local_features(&self) -> bool {
        true
    }

    fn encode_local(&self, images: ImageBatch<'_, f32>) -> Result<LocalFeatures<f32>, ModelError> {
        self.tower.encode_local(images)
    }
}

/// Copies the patches of some images into rows, `[images · patches, 3·patch²]`, in the order of the
/// convolution's weights (im2col).
pub(super) fn unfold(images: &ImageBatch<'_, f32>, which: Range<usize>, patch: usize) -> Vec<f32> {
    let (height, width) = (images.height(), images.width());
    let pixels = &images.pixels()[which.start * images.image_len()..which.end * images.image_len()];
    let (rows, columns) = (height / patch, width / patch);
    let mut out = Vec::with_capacity(pixels.len());
    for image in pixels.chunks_exact(images.image_len()) {
        for row in 0..rows {
            for column in 0..columns {
                for channel in 0..3 {
                    for y in 0..patch {
                        let first = (channel * height + row * patch + y) * width + column * patch;
                        out.extend_from_slice(&image[first..first + patch]);
                    }
                }
            }
        }
    }
    out
}
