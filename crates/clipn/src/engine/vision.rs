use std::borrow::Cow;
use std::ops::Range;

use super::block::{Scratch, Sequence, Transformer};
use super::chunks::for_each_chunk;
use super::kernels::{Matrix, MatrixMut, add_bias, layer_norm, product};
use crate::model::{
    Corners, Features, ImageTower, Images, ModelConfig, ModelError, Real, VisionConfig, VisionParams,
    Weights, resize_positions,
};

/// Positions that a chunk of images aims at: 16 images of ViT-B-32, 4 of ViT-B-16.
const CHUNK_POSITIONS: usize = 800;

/// The ViT image tower in f32.
#[derive(Debug, Clone)]
pub struct VisionTower {
    config: VisionConfig,
    embed_dim: usize,
    params: VisionParams<f32>,
    transformer: Transformer,
}

impl VisionTower {
    /// The tower of a config with its parameters.
    pub fn new(config: &ModelConfig, mut params: VisionParams<f32>) -> Self {
        let transformer = Transformer {
            blocks: std::mem::take(&mut params.blocks),
            width: config.vision.width,
            heads: config.vision.heads,
            activation: config.activation,
            causal: false,
        };
        Self { config: config.vision.clone(), embed_dim: config.embed_dim, params, transformer }
    }

    /// The tower of loaded weights.
    pub fn from_weights(weights: &Weights) -> Self {
        Self::new(weights.config(), weights.vision())
    }

    /// Embedded patches with positions, after the first norm: `[images · (1 + patches), width]`.
    fn embed(&self, pixels: &[f32], images: &Images<'_, f32>, positions: &[f32], threads: usize) -> Vec<f32> {
        let (width, patch) = (self.config.width, self.config.patch_size);
        let inner = 3 * patch * patch;
        let patches = unfold(pixels, images, patch);
        let count = pixels.len() / images.image_len();
        let per_image = positions.len() / width;
        let mut embedded = vec![0.0; patches.len() / inner * width];
        let weight = Matrix::packed(&self.params.conv1, inner).transposed();
        product(
            MatrixMut::packed(&mut embedded, width),
            Matrix::packed(&patches, inner),
            weight,
            1.0,
            false,
            threads,
        );
        let mut x = Vec::with_capacity(count * positions.len());
        for image in embedded.chunks_exact((per_image - 1) * width) {
            let start = x.len();
            x.extend_from_slice(&self.params.class_embedding);
            x.extend_from_slice(image);
            add_bias(&mut x[start..], positions);
        }
        let mut normed = embedded;
        normed.resize(x.len(), 0.0);
        layer_norm(&mut normed, &x, &self.params.ln_pre);
        normed
    }

    fn encode_chunk(
        &self,
        scratch: &mut Scratch,
        pixels: &[f32],
        images: &Images<'_, f32>,
        positions: &[f32],
        out: &mut [f32],
        threads: usize,
    ) {
        let width = self.config.width;
        let length = positions.len() / width;
        let mut x = self.embed(pixels, images, positions, threads);
        let sequences: Vec<Sequence> = (0..pixels.len() / images.image_len())
            .map(|i| Sequence { start: i * length, length, pooled: 0 })
            .collect();
        let pooled = self.transformer.run(&mut x, &sequences, scratch, threads);
        let mut normed = vec![0.0; pooled.len()];
        layer_norm(&mut normed, &pooled, &self.params.ln_post);
        let proj = Matrix::packed(&self.params.proj, self.embed_dim);
        product(
            MatrixMut::packed(out, self.embed_dim),
            Matrix::packed(&normed, width),
            proj,
            1.0,
            false,
            threads,
        );
    }
}

impl ImageTower<f32> for VisionTower {
    fn embed_dim(&self) -> usize {
        self.embed_dim
    }

    fn image_size(&self) -> usize {
        self.config.image_size
    }

    fn encode(&self, images: Images<'_, f32>) -> Result<Features<f32>, ModelError> {
        let grid = check_images(&images, &self.config)?;
        let positions = positions_for(&self.params.positional_embedding, &self.config, grid);
        let lengths = vec![positions.len() / self.config.width; images.len()];
        let mut values = vec![0.0; images.len() * self.embed_dim];
        let encode = |scratch: &mut Scratch, range: Range<usize>, out: &mut [f32], threads: usize| {
            let pixels = &images.pixels()[range.start * images.image_len()..range.end * images.image_len()];
            self.encode_chunk(scratch, pixels, &images, &positions, out, threads);
        };
        for_each_chunk(&lengths, CHUNK_POSITIONS, self.embed_dim, &mut values, encode);
        Ok(Features::new(values, self.embed_dim))
    }
}

/// The grid of patches (rows, columns) of a batch; pixels beyond the last whole patch are not looked at.
pub(super) fn check_images<T>(
    images: &Images<'_, T>,
    config: &VisionConfig,
) -> Result<(usize, usize), ModelError> {
    let patch = config.patch_size;
    match (images.height() / patch, images.width() / patch) {
        (0, _) | (_, 0) => Err(ModelError::Input(format!(
            "images of {}×{} pixels are smaller than one {patch}×{patch} patch of the model",
            images.height(),
            images.width()
        ))),
        grid => Ok(grid),
    }
}

/// Positional embeddings of a grid of patches: the weights' own, or interpolated.
pub(super) fn positions_for<'a, T: Real>(
    stored: &'a [T],
    config: &VisionConfig,
    grid: (usize, usize),
) -> Cow<'a, [T]> {
    let own = config.grid();
    if grid == (own, own) {
        Cow::Borrowed(stored)
    } else {
        Cow::Owned(resize_positions(stored, config.width, own, grid, Corners::HalfPixel))
    }
}

/// Patches as rows, `[images · patches, 3·patch²]`, in the order of the convolution's weights.
fn unfold(pixels: &[f32], images: &Images<'_, f32>, patch: usize) -> Vec<f32> {
    let (height, width) = (images.height(), images.width());
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
